package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/embedded"
	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/kubelet"
	"github.com/belay-dev/belay/reconciler/node/simulated"
	"github.com/belay-dev/belay/reconciler/reserve"
	"github.com/belay-dev/belay/reconciler/service/network"
	"github.com/belay-dev/belay/source"
	"github.com/belay-dev/belay/state"
)

// Seams are where a test stands in for the world, or around it. The zero value is the world.
type Seams struct {
	// Disk is called around every write of the state's file: see state.Options.
	Disk func(state.DiskPoint) error
	// Files is told of what becomes durable beside that file, Mirror of what does in the copies of repositories and by a push.
	Files  state.Files
	Mirror func(p source.Point, done bool)
	// Now is the clock; nil: the system's.
	Now func() time.Time
	// Runner runs the pods; nil: the configured runtime does.
	Runner node.PodRunner
}

// podRuntime is what runs the pods.
type podRuntime struct {
	name    Runtime
	reason  string
	about   string // what pods get and what they do not; empty: what the engine gives
	runner  node.PodRunner
	streams node.Streamer    // reaches into them; nil: nothing does
	fields  embedded.Pods    // says what of them is not honoured; nil: all is
	names   netip.Addr       // where they ask for names, if they reach Services; the zero value: they do not
	cluster *network.Cluster // by which they do, in this process
	network *network.Client  // or in one of its own
	origins *origins
	close   func() error
}

// podRuntime makes what runs the pods, as it is configured. One whose pods are outside of this process acts only on what is
// durable.
func (a *App) podRuntime(ctx context.Context, store *state.Store) (podRuntime, error) {
	r := podRuntime{close: func() error { return nil }, origins: &origins{store: store}}
	if given := a.Seams.Runner; given != nil {
		r.name, r.reason = "test", "given"
		r.streams, _ = given.(node.Streamer)
		r.fields, _ = given.(embedded.Pods)
		r.runner = lasting(given, store)
		return r, nil
	}
	engine, err := a.resolve(ctx)
	r.name, r.reason, r.about = engine.name, engine.reason, engine.about
	if err != nil {
		return r, err
	}
	if engine.Runtime != nil {
		if r.names, err = a.reachable(ctx, engine, &r); err != nil {
			return r, errors.Join(err, engine.close())
		}
		k := kubelet.New(kubelet.Options{
			Runtime: engine.Runtime, Type: string(engine.name), Names: r.names, Objects: kubelet.Stored(store), Dir: filepath.Join(a.dir, "pods"), HostPaths: a.config.HostPaths,
			Instance: store.Instance(), Origin: r.origins.of(a.dir), DockerConfig: dockerConfig,
			Keep: r.origins.images, Ran: r.origins.ran,
			Held: func(dir string) bool { return dir != a.dir && held(dir) }, Now: a.now, Log: a.log,
		})
		r.runner, r.streams, r.fields = lasting(k, store), k, k
		r.close = func() error { return errors.Join(r.cluster.Close(), r.network.Close(), engine.close()) }
		return r, nil
	}
	options, err := simulated.Parse(a.config.Simulate)
	if err != nil {
		return r, fmt.Errorf("simulate: %w", err)
	}
	s := simulated.New(options)
	r.runner, r.streams, r.fields = s, s.Streams(a.now), s
	return r, nil
}

// origins tells where pods come from.
type origins struct {
	store     *state.Store
	following *following // set once there is one, before there are pods
}

// of is where a pod comes from, as its driver writes it down.
func (o *origins) of(dir string) func(*corev1.Pod) node.Origin {
	return func(pod *corev1.Pod) node.Origin {
		out := node.Origin{Directory: dir, Hash: pod.Labels["pod-template-hash"]}
		for _, c := range pod.Spec.Containers {
			out.Images = append(out.Images, c.Image)
		}
		made, ok := o.made(pod)
		if !ok {
			return out
		}
		out.Deployment, out.Commit = made.Key.Name, made.Commit
		for _, s := range o.following.current() {
			if s.config.Name != made.Source {
				continue
			}
			out.Source = s.config.URL
			for _, app := range s.config.Apps {
				if app.Name == made.App {
					out.Path = app.Path
				}
			}
		}
		return out
	}
}

// made is the Deployment that a pod is of, when Git manages it.
func (o *origins) made(pod *corev1.Pod) (state.Managed, bool) {
	set := owner(pod, state.KindReplicaSet)
	if set == "" || o.following == nil {
		return state.Managed{}, false
	}
	rs, ok := o.store.Get(state.Key{Kind: state.KindReplicaSet, Namespace: pod.Namespace, Name: set})
	if !ok {
		return state.Managed{}, false
	}
	return o.store.Managed(state.Key{Kind: state.KindDeployment, Namespace: pod.Namespace, Name: owner(rs, state.KindDeployment)})
}

// owner is the name of an object's controller of a kind; empty: it has none.
func owner(o state.Object, kind state.Kind) string {
	for _, r := range o.GetOwnerReferences() {
		if r.Controller != nil && *r.Controller && r.Kind == string(kind) {
			return r.Name
		}
	}
	return ""
}

// dockerConfig reads what the machine's registries are shown; nil: there is nothing.
func dockerConfig() ([]byte, error) {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		dir = filepath.Join(os.Getenv("HOME"), ".docker")
	}
	data, err := readLimited(filepath.Join(dir, "config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// held says whether a process holds a data directory. One that cannot be looked at may be held.
func held(dir string) bool {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err != nil {
		return true
	}
	defer f.Close() // gives the lock back
	return errors.Is(flock(f), syscall.EWOULDBLOCK)
}

// durable has a runner act on a pod only once what it acts on is on disk: a crash forgets no container. The pods of a held
// Deployment begin and end although the disk refuses: a hold acts, and whoever asked for it was told that a crash would
// forget it.
type durable struct {
	node.PodRunner
	store *state.Store
}

// lasting is a runner as a durable one, which is lively if the runner is.
func lasting(r node.PodRunner, store *state.Store) node.PodRunner {
	d := durable{r, store}
	if l, ok := r.(node.Lively); ok {
		return lively{d, l}
	}
	return d
}

type lively struct {
	durable
	runner node.Lively
}

var _ node.Lively = lively{}

// Run runs the runner.
func (l lively) Run(ctx context.Context, changed func(types.NamespacedName)) {
	l.runner.Run(ctx, changed)
}

// Sync waits until the pod is durable, or as durable as it gets.
func (d durable) Sync(ctx context.Context, pod *corev1.Pod, now time.Time) (node.Report, error) {
	version, err := strconv.ParseInt(pod.ResourceVersion, 10, 64)
	if err != nil {
		return node.Report{}, fmt.Errorf("version of pod %s: %w", pod.Name, err)
	}
	err = d.store.WaitDurable(ctx, version)
	if err != nil && !(errors.Is(err, state.ErrDisk) && len(reserve.For(d.store, state.KeyOf(pod), pod)) > 0) {
		return node.Report{}, fmt.Errorf("make pod %s durable: %w", pod.Name, err)
	}
	return d.PodRunner.Sync(ctx, pod, now)
}

// Remove waits until the end of the pod is durable.
func (d durable) Remove(ctx context.Context, uid types.UID) error {
	if err := d.store.WaitDurable(ctx, d.store.Version()); err != nil {
		return fmt.Errorf("make the end of pod %s durable: %w", uid, err)
	}
	return d.PodRunner.Remove(ctx, uid)
}
