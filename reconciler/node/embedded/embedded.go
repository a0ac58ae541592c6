//go:build linux

package embedded

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/embedded/shim"
	"github.com/belay-dev/belay/reconciler/node/image"
)

// Options say where the driver works.
type Options struct {
	Pods      string // directory of pods; nobody else writes there
	Images    string // directory of images; nobody else writes there
	Shim      string // binary that calls shim.Main
	Limits    image.Limits
	Processes int // that a container may have at a time, or a pod where Machine says so, threads counted; 0: 4096
	// Beacons are directories outside of any data directory, in which drivers of this user find each other's pods: the
	// first that can be used, and whose parent exists, is where those of this one are told of. None: nowhere.
	Beacons []string
	Network Network
}

// Runtime is the driver.
type Runtime struct {
	dir     string
	shim    string
	images  *image.Store
	groups  groups
	network Network // the zero value: pods do not leave theirs
	machine Machine
	beacons []string // see beacon

	reaping sync.WaitGroup // of the shims that this process started
	making  sync.RWMutex   // read-locked while a container is made from an image, locked while one is taken away

	mu        sync.Mutex // guards what follows
	locks     map[types.UID]*sync.Mutex
	addresses map[types.UID]netip.Addr // of pods; nil: nobody has asked yet
	news      chan struct{}            // closed, and replaced, when a pod is made or removed
}

var _ node.Runtime = (*Runtime)(nil)

// defaultProcesses is what a fork bomb ends at.
const defaultProcesses = 4096

// Open makes the driver over its directories, after it has tried that pods can run here; the error says what is missing.
func Open(ctx context.Context, o Options) (*Runtime, error) {
	pods := o.Pods
	// Nobody else may pass: a set-user-ID program of an image is one for the machine's users too.
	if err := errors.Join(os.MkdirAll(pods, 0o700), os.Chmod(pods, 0o700)); err != nil {
		return nil, fmt.Errorf("open pods: %w", err)
	}
	if err := shim.ClearProbes(pods); err != nil {
		return nil, fmt.Errorf("open pods: %w", err)
	}
	if err := shim.Probe(o.Shim, pods, nil); err != nil {
		return nil, fmt.Errorf("pods cannot run in namespaces here: %w", err)
	}
	images, err := image.OpenStore(o.Images, o.Limits)
	if err != nil {
		return nil, err
	}
	r := &Runtime{
		dir: pods, shim: o.Shim, images: images, groups: findGroups(cmp.Or(o.Processes, defaultProcesses)),
		beacons: usableBeacons(o.Beacons), locks: map[types.UID]*sync.Mutex{}, news: make(chan struct{}),
	}
	r.machine = Machine{User: os.Geteuid(), Unbounded: r.tryGroups(ctx), Findable: len(r.beacons) > 0}
	r.machine.Bounded = r.groups.bounded()
	r.tryProcesses(cmp.Or(o.Processes, defaultProcesses))
	_ = r.sweep() // what a pod's files do not tell now, they may later
	r.tryNetwork(o.Network)
	return r, nil
}

// Wait returns when every shim that this process started has ended. It is for tests: pods outlive their driver.
func (r *Runtime) Wait() { r.reaping.Wait() }

// alone is held while a pod's sandboxes and containers are made and removed.
func (r *Runtime) alone(uid types.UID) (unlock func()) {
	r.mu.Lock()
	l := r.locks[uid]
	if l == nil {
		l = &sync.Mutex{}
		r.locks[uid] = l
	}
	r.mu.Unlock()
	l.Lock()
	return l.Unlock
}

// tell wakes those who watch.
func (r *Runtime) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.news)
	r.news = make(chan struct{})
}

const recordFile = "pod.json"

// pod is the directory of a pod. A UID is a name that somebody gave: it must be one.
func (r *Runtime) pod(uid types.UID) (string, error) { return podDir(r.dir, uid) }

func podDir(pods string, uid types.UID) (string, error) {
	if uid == "" || strings.ContainsAny(string(uid), "/.\x00") {
		return "", fmt.Errorf("pod %q: not a UID", uid)
	}
	return filepath.Join(pods, string(uid)), nil
}

// place is one sandbox: its ID and the directory of its shim.
type place struct {
	id  string
	dir string
}

func (p place) client() shim.Client { return shim.Client{Dir: p.dir} }

// sandboxes lists the sandboxes that a pod has had, oldest first: their names begin with their number.
func sandboxes(dir string) ([]place, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []place
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, place{e.Name(), filepath.Join(dir, e.Name())})
		}
	}
	return out, nil
}

// numberDigits is how long the number at the beginning of a sandbox's name is.
const numberDigits = 8

// newID names the sandbox that comes after others of its pod. It is like no other on the machine, and does not depend on the
// clock, which may be set back.
func newID(after []place) (string, error) {
	var last uint64
	if n := len(after); n > 0 && len(after[n-1].id) > numberDigits {
		var err error
		if last, err = strconv.ParseUint(after[n-1].id[:numberDigits], 16, 32); err != nil {
			return "", fmt.Errorf("sandbox %q: %w", after[n-1].id, err)
		}
	}
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return fmt.Sprintf("%0*x%s", numberDigits, last+1, hex.EncodeToString(b[:])), nil
}

// created is when a sandbox was.
func (p place) created() time.Time {
	info, err := os.Stat(filepath.Join(p.dir, shim.PodFile))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime().UTC()
}

// loopback is the loopback address that stands for a pod: every address of 127.0.0.0/8 is the pod's own inside of it.
func loopback(uid types.UID) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(uid)) // a hash takes everything
	n := h.Sum32()
	return fmt.Sprintf("127.%d.%d.%d", 64+n>>16&63, n>>8&255, 1+n&253)
}

// RunPod implements node.Sandboxes.
func (r *Runtime) RunPod(ctx context.Context, pod node.Sandbox) (node.SandboxState, error) {
	if pod.HostNetwork {
		return node.SandboxState{}, errors.New("a pod on the machine's network: the embedded runtime has none")
	}
	dir, err := r.pod(pod.UID)
	if err == nil {
		err = checkMemory(pod)
	}
	if err != nil {
		return node.SandboxState{}, err
	}
	defer r.alone(pod.UID)()
	all, err := sandboxes(dir)
	if err != nil {
		return node.SandboxState{}, err
	}
	if n := len(all); n > 0 {
		if err := settle(ctx, all[n-1]); err != nil {
			return node.SandboxState{}, err
		}
		if state := r.state(ctx, pod.UID, all[n-1]); state.Running {
			return state, r.carry(ctx, pod.UID, all[n-1])
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return node.SandboxState{}, err
	}
	if err := writeJSON(filepath.Join(dir, recordFile), pod); err != nil {
		return node.SandboxState{}, err
	}
	id, err := newID(all)
	if err != nil {
		return node.SandboxState{}, err
	}
	at := place{id, filepath.Join(dir, id)}
	if err := os.Mkdir(at.dir, 0o700); err != nil {
		return node.SandboxState{}, err
	}
	if err := r.launch(at, pod); err != nil {
		return node.SandboxState{}, errors.Join(err, os.RemoveAll(at.dir), r.dark(pod.UID, at.id))
	}
	r.tell()
	return r.state(ctx, pod.UID, at), r.carry(ctx, pod.UID, at)
}

// launch starts the shim of a sandbox. It is waited for as long as this process lives, so that it leaves no zombie.
func (r *Runtime) launch(at place, pod node.Sandbox) error {
	address, err := r.reserve(pod.UID)
	if err != nil {
		return err
	}
	told := shim.Pod{Hostname: pod.Hostname, Sysctls: pod.Sysctls, Beacon: r.light(at, pod), Memory: memoryOf(pod)}
	if address.IsValid() {
		told.Network = shim.Network{Address: address, Device: r.network.Device, MTU: r.network.MTU}
	}
	if err := writeJSON(filepath.Join(at.dir, shim.PodFile), told); err != nil {
		return err
	}
	if err := writeNames(at.dir, pod, at.ip(pod.UID)); err != nil {
		return err
	}
	process, err := shim.Launch(r.shim, at.dir)
	if err != nil {
		return err
	}
	r.reaping.Go(func() { _, _ = process.Wait() }) // its end is seen by its socket
	return nil
}

// settle waits until the shim of a sandbox answers, or is dead. A process that was killed while it started one has left it
// to come up by itself: it must neither be taken for dead, nor come up when all else of its pod has gone.
func settle(ctx context.Context, at place) error {
	for {
		lives, err := shim.Launched(at.dir)
		if err != nil || !lives {
			return err
		}
		if _, err := at.client().States(ctx); err == nil {
			return nil
		}
		select {
		case <-time.After(busyPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// end ends a sandbox, and returns when nothing of it lives.
func end(ctx context.Context, at place) error {
	for {
		if err := at.client().Shutdown(ctx); err != nil {
			return err
		}
		lives, err := shim.Launched(at.dir)
		if err != nil || !lives {
			return err
		}
		select {
		case <-time.After(busyPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// state is how a sandbox is.
func (r *Runtime) state(ctx context.Context, uid types.UID, at place) node.SandboxState {
	_, err := at.client().States(ctx)
	return node.SandboxState{ID: at.id, IP: at.ip(uid), Running: err == nil, Created: at.created()}
}

// RemovePod implements node.Sandboxes.
func (r *Runtime) RemovePod(ctx context.Context, uid types.UID) error {
	dir, err := r.pod(uid)
	if err != nil {
		return err
	}
	defer r.alone(uid)()
	if f, ok := r.foreign(uid); ok {
		if err := r.removeForeign(ctx, f); err != nil {
			return fmt.Errorf("remove pod: %w", err)
		}
	}
	all, err := sandboxes(dir)
	if err != nil {
		return err
	}
	for _, at := range all {
		if err := end(ctx, at); err != nil {
			return err
		}
		if err := r.groups.remove(ctx, at.id, "*"); err != nil {
			return err
		}
	}
	if err := errors.Join(image.RemoveTree(dir), r.dark(uid)); err != nil {
		return fmt.Errorf("remove pod: %w", err)
	}
	r.release(uid)
	r.tell()
	return nil
}

// writeJSON replaces a file as a whole.
func writeJSON(file string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// writeNames writes what tells a pod's containers who they are and whom to ask for names.
func writeNames(dir string, pod node.Sandbox, ip string) error {
	var hosts, resolv strings.Builder
	fmt.Fprintf(&hosts, "127.0.0.1\tlocalhost\n::1\tlocalhost\n%s\t%s\n", ip, pod.Hostname)
	for _, h := range pod.Hosts {
		fmt.Fprintf(&hosts, "%s\t%s\n", h.IP, strings.Join(h.Names, "\t"))
	}
	for _, s := range pod.DNS.Servers {
		fmt.Fprintf(&resolv, "nameserver %s\n", s)
	}
	for key, values := range map[string][]string{"search": pod.DNS.Searches, "options": pod.DNS.Options} {
		if len(values) > 0 {
			fmt.Fprintf(&resolv, "%s %s\n", key, strings.Join(values, " "))
		}
	}
	for name, text := range map[string]string{"hosts": hosts.String(), "resolv.conf": resolv.String(), "hostname": pod.Hostname + "\n"} {
		file := filepath.Join(dir, name)
		err := os.WriteFile(file, []byte(text), 0o644)
		if err == nil {
			err = os.Chmod(file, 0o644) // whatever this process's umask is, every user of a container reads it
		}
		if err != nil {
			return err
		}
	}
	return nil
}
