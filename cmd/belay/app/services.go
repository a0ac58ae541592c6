package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/service"
	"github.com/belay-dev/belay/reconciler/service/network"
	"github.com/belay-dev/belay/state"
)

// ServicesConfig says where Services answer.
type ServicesConfig struct {
	// Listen is the IP address of this machine on which NodePort and LoadBalancer Services answer; empty: nowhere.
	Listen string `yaml:"listen"`
	// Range is where ClusterIPs come from, an IPv4 prefix.
	Range string `yaml:"range"`
}

// DefaultRange is where ClusterIPs come from as clusters are commonly set up.
const DefaultRange = "10.96.0.0/16"

// maxRangeBits leaves a range eight addresses.
const maxRangeBits = 29

// DefaultPodRange is where the addresses of pods come from as clusters are commonly set up.
const DefaultPodRange = "10.244.0.0/16"

// isRange says whether a text is an IPv4 network of eight addresses or more.
func isRange(text string) bool {
	p, err := netip.ParsePrefix(text)
	return err == nil && p.Addr().Is4() && p.Bits() <= maxRangeBits && p.Masked() == p
}

// podRange is the range of pods; the configuration is valid.
func (c Config) podRange() netip.Prefix {
	p, err := netip.ParsePrefix(c.PodRange)
	if err != nil {
		return netip.Prefix{} // they have no addresses
	}
	return p
}

func (v *validator) podRange(c Config) {
	switch {
	case !isRange(c.PodRange):
		v.add("podRange", "%q is not an IPv4 network of eight addresses or more", c.PodRange)
		v.hint("for example " + DefaultPodRange)
	case isRange(c.Services.Range) && c.podRange().Overlaps(c.Services.prefix()):
		v.add("podRange", "%s overlaps services.range, %s", c.PodRange, c.Services.Range)
	}
}

func (v *validator) services(s ServicesConfig) {
	if s.Listen != "" && net.ParseIP(s.Listen) == nil {
		v.add("services.listen", "%q is not an IP address", s.Listen)
	}
	if !isRange(s.Range) {
		v.add("services.range", "%q is not an IPv4 network of eight addresses or more", s.Range)
		v.hint("for example " + DefaultRange)
	}
}

// prefix is the range; the configuration is valid.
func (s ServicesConfig) prefix() netip.Prefix {
	p, err := netip.ParsePrefix(s.Range)
	if err != nil {
		return netip.Prefix{} // what state has by itself
	}
	return p
}

// door is what stands between the clients of Services and the pods.
type door interface {
	service.Doorkeeper
	drainer
	Run(ctx context.Context) error
}

// drainer lets pods end what they were given.
type drainer interface {
	// Drain gives a pod no new connection, and returns when it has begun to answer those that it has.
	Drain(ctx context.Context, uid string) error
	// Forget ends what Drain remembers.
	Forget(ctx context.Context, uid string) error
}

// processDir is where the process answers that carries the connections of Services.
const processDir = "network"

// reachable makes what stands before the pods. Those on a bridge of this machine, and those with a network of their own,
// reach ClusterIPs and names by it: names is where they ask. Where that is not allowed it says so, and they do not. With a command for it, it is a process of its own,
// which outlives this one.
func (a *App) reachable(ctx context.Context, engine chosen, r *podRuntime) (names netip.Addr, err error) {
	setup := network.Setup{Range: a.config.Services.Range}
	if engine.name == RuntimeEmbedded { // its pods are not on this machine's network
		setup = network.Setup{Pods: a.sandboxes()}
		if engine.addresses.IsValid() {
			setup.Range, setup.Addresses = a.config.Services.Range, engine.addresses.String()
		}
	}
	var refused error
	switch {
	case len(a.Network) > 0:
		setup.Build = build(a.Network[0])
		r.network, err = network.Open(ctx, network.Options{
			Dir: filepath.Join(a.dir, processDir), Command: a.Network, Log: a.log, Setup: setup,
		})
		if err != nil {
			return names, err
		}
		if names, refused = r.network.Names(); engine.carried != nil {
			engine.carried(r.network)
		}
	case setup.Range != "":
		if r.cluster, refused = network.Claim(a.config.Services.prefix()); refused == nil {
			names = r.cluster.Names
		}
	}
	switch {
	case refused != nil:
		a.log.Warn().Err(refused).Str("hint", rangeHint(refused, a.config.Services.Range)).Msg("pods reach no Service by address or name")
	case names.IsValid():
		a.log.Info().Str("clusterIPs", a.config.Services.Range).Stringer("names", names).Msg("pods reach Services by address and name")
	}
	return names, nil
}

// rangeHint says what to do where the range of ClusterIPs cannot be had. The error may have come from another process, as text.
func rangeHint(refused error, of string) string {
	if strings.Contains(refused.Error(), syscall.EADDRINUSE.Error()) {
		return "another service on this machine has " + of + ": give this one another services.range, for example 10.112.0.0/16"
	}
	return "run belay as root, or with the capabilities NET_ADMIN and NET_BIND_SERVICE"
}

// sandboxes is where the driver that needs no engine has its pods.
func (a *App) sandboxes() string { return filepath.Join(a.dir, "sandboxes") }

// build tells binaries apart.
func build(file string) string {
	info, err := os.Stat(file)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d %s", info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano))
}

// RunNetwork is the process that carries the connections of Services: see network.Main.
func RunNetwork(ctx context.Context, dir, setup string) error {
	return network.Main(ctx, dir, setup, func(s network.Setup) network.Pods {
		if s.Pods != "" {
			return reachSandboxes(s.Pods)
		}
		return network.Pods{Dial: network.Dial}
	})
}

// door makes what stands before the pods; nil when Services answer nowhere.
func (a *App) door(ctx context.Context, store *state.Store, pods podRuntime) (door, service.Reach, error) {
	reach := service.Reach{Host: a.config.Services.Listen, Cluster: pods.names.IsValid()}
	if pods.network != nil {
		return pods.network, reach, forgetServices(ctx, store, pods.network)
	}
	if pods.streams == nil || reach == (service.Reach{}) {
		return nil, reach, nil
	}
	return network.New(service.DialPods(store, pods.streams), pods.cluster), reach, nil
}

// forgetServices ends what a process has of Services that went while nobody told it.
func forgetServices(ctx context.Context, store *state.Store, c *network.Client) error {
	owners, err := c.Owners(ctx)
	if err != nil {
		return err
	}
	for _, owner := range owners {
		kind, namespace, name := service.Owner(owner)
		if _, ok := store.Get(state.Key{Kind: kind, Namespace: namespace, Name: name}); ok {
			continue
		}
		if _, err := c.Set(ctx, owner, service.Front{}); err != nil {
			return err
		}
	}
	return nil
}

// drainTime bounds how long a pod that is to stop may take to begin its answers.
const drainTime = 500 * time.Millisecond

// draining has a pod begin to answer what Services gave it before it is stopped, and gives it nothing more.
type draining struct {
	node.PodRunner
	door drainer

	mu    sync.Mutex // guards what follows
	waits map[types.UID]bool
}

// newDraining is a runner as a draining one, which is lively if the runner is.
func newDraining(pods node.PodRunner, door drainer) node.PodRunner {
	d := &draining{PodRunner: pods, door: door, waits: map[types.UID]bool{}}
	if lively, ok := pods.(node.Lively); ok {
		return livelyDraining{d, lively}
	}
	return d
}

type livelyDraining struct {
	*draining
	lively node.Lively
}

func (d livelyDraining) Run(ctx context.Context, changed func(types.NamespacedName)) {
	d.lively.Run(ctx, changed)
}

func (d *draining) Sync(ctx context.Context, pod *corev1.Pod, now time.Time) (node.Report, error) {
	if pod.DeletionTimestamp != nil && d.first(pod.UID) {
		wait, cancel := context.WithTimeout(ctx, drainTime)
		err := d.door.Drain(wait, string(pod.UID))
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) { // its time is over: it stops all the same
			return node.Report{}, err
		}
	}
	return d.PodRunner.Sync(ctx, pod, now)
}

// first reports whether a pod has not been waited for yet.
func (d *draining) first(uid types.UID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waits[uid] {
		return false
	}
	d.waits[uid] = true
	return true
}

func (d *draining) Remove(ctx context.Context, uid types.UID) error {
	if err := d.PodRunner.Remove(ctx, uid); err != nil {
		return err
	}
	if err := d.door.Forget(ctx, string(uid)); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.waits, uid)
	return nil
}
