package app

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/service"
	"github.com/belay-dev/belay/state"
)

// ServicesConfig says where Services answer.
type ServicesConfig struct {
	// Listen is the IP address of this machine on which NodePort and LoadBalancer Services answer; empty: nowhere.
	Listen string `yaml:"listen"`
}

func (v *validator) services(s ServicesConfig) {
	if s.Listen != "" && net.ParseIP(s.Listen) == nil {
		v.add("services.listen", "%q is not an IP address", s.Listen)
	}
}

// proxy carries the connections of Services; nil when they answer nowhere.
func (a *App) proxy(store *state.Store, streams node.Streamer) *service.Proxy {
	if a.config.Services.Listen == "" || streams == nil {
		return nil
	}
	return service.NewProxy(service.DialPods(store, streams))
}

// serviceController keeps the proxy's listeners as Services ask for.
func (a *App) serviceController(store *state.Store, proxy *service.Proxy) controller.Config {
	return service.New(store, proxy, a.config.Services.Listen, a.log, a.now)
}

// drainTime bounds how long a pod that is to stop may take to begin its answers.
const drainTime = 500 * time.Millisecond

// draining has a pod begin to answer what Services gave it before it is stopped, and gives it nothing more.
type draining struct {
	node.PodRunner
	proxy *service.Proxy

	mu    sync.Mutex // guards what follows
	waits map[types.UID]bool
}

// newDraining is a runner as a draining one, which is lively if the runner is.
func newDraining(pods node.PodRunner, proxy *service.Proxy) node.PodRunner {
	d := &draining{PodRunner: pods, proxy: proxy, waits: map[types.UID]bool{}}
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
		err := d.proxy.Drain(wait, string(pod.UID))
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
	d.proxy.Forget(string(uid))
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.waits, uid)
	return nil
}
