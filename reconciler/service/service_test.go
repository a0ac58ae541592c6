package service_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/service"
	"github.com/belay-dev/belay/state"
)

// desk is a proxy that opens nothing, below a controller over a store.
type desk struct {
	t     *testing.T
	store *state.Store

	mu    sync.Mutex
	taken map[string]bool // addresses that cannot be listened on
	doors map[string]string
	sets  int
}

func (d *desk) Set(_ context.Context, owner string, front service.Front) (map[string]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sets++
	want := front.Listeners
	bound, lines := map[string]string{}, []string{}
	var err error
	for _, l := range want {
		if d.taken[l.Address] {
			err = fmt.Errorf("listen tcp %s: address already in use", l.Address)
			continue
		}
		bound[l.Address] = l.Address
		line := l.Address + " →"
		for _, b := range l.Backends {
			line += fmt.Sprintf(" %s:%d", b.Name, b.Port)
		}
		lines = append(lines, line)
	}
	if n := front.Name; n != nil {
		lines = append(lines, fmt.Sprint(n.Name, " is ", n.Addresses, n.Alias))
	}
	if d.doors[owner] = strings.Join(lines, "; "); len(lines) == 0 {
		delete(d.doors, owner)
	}
	return bound, err
}

// expect waits for everything of this instant and compares the listeners.
func (d *desk) expect(when, want string) {
	d.t.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	var lines []string
	for owner, l := range d.doors {
		lines = append(lines, owner+": "+l)
	}
	slices.Sort(lines)
	if got := strings.Join(lines, "\n"); got != want {
		d.t.Errorf("%s:\n%s\nwant\n%s", when, got, want)
	}
}

func (d *desk) commit(ws ...state.Write) {
	d.t.Helper()
	if _, err := d.store.Commit(ws...); err != nil {
		d.t.Fatal(err)
	}
}

// beside runs a controller until it is stopped.
func beside(t *testing.T, store *state.Store, c controller.Config) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- controller.Run(ctx, store, c) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// inBubble runs f beside a working controller.
func inBubble(t *testing.T, reach service.Reach, f func(*desk)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, err := state.OpenMemory(state.Options{Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		d := &desk{t: t, store: store, taken: map[string]bool{}, doors: map[string]string{}}
		stop := beside(t, store, service.New(store, d, reach, zerolog.Nop(), time.Now))
		f(d)
		stop()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
}

func web(kind corev1.ServiceType) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.ServiceSpec{
		Type: kind, Selector: map[string]string{"app": "web"},
		Ports: []corev1.ServicePort{{Port: 80, NodePort: 30080, TargetPort: intstr.FromString("http"), Protocol: corev1.ProtocolTCP}},
	}}
}

var onHost = service.Reach{Host: "127.0.0.1"}

// bare is a pod as it is created: state gives it its UID, and its status comes with an update of it.
func bare(words string) *corev1.Pod {
	p := pod(words)
	p.UID, p.DeletionTimestamp = "", nil
	return p
}

func TestFollowsPods(t *testing.T) {
	inBubble(t, onHost, func(d *desk) {
		d.commit(state.Create(web(corev1.ServiceTypeNodePort)), state.Create(bare("a")), state.Create(bare("b")), state.Create(bare("o other")))
		for _, words := range []string{"a", "b unready", "o other"} {
			d.commit(state.UpdateStatus(bare(words)))
		}
		d.expect("one is ready", "default/web: 127.0.0.1:30080 → a:8080")
		d.commit(state.UpdateStatus(bare("b")))
		d.expect("two are", "default/web: 127.0.0.1:30080 → a:8080 b:8080")

		before := d.sets
		noise := bare("b")
		noise.Status.Message = "nothing that a Service cares for"
		d.commit(state.UpdateStatus(noise))
		d.expect("noise", "default/web: 127.0.0.1:30080 → a:8080 b:8080")
		if d.sets != before {
			t.Errorf("%d sets for a change that is none", d.sets-before)
		}

		zero := int64(0)
		d.commit(state.Delete(state.Key{Kind: state.KindPod, Namespace: "default", Name: "a"}, state.DeleteOptions{GracePeriodSeconds: &zero}))
		d.expect("one went", "default/web: 127.0.0.1:30080 → b:8080")
		back := bare("o")
		back.Labels["app"] = "web"
		d.commit(state.Update(back))
		d.expect("another was relabelled", "default/web: 127.0.0.1:30080 → b:8080 o:8080")
		d.commit(state.Delete(state.KeyOf(web("")), state.DeleteOptions{}))
		d.expect("the Service went", "")
	})
}

func TestLoadBalancer(t *testing.T) {
	inBubble(t, onHost, func(d *desk) {
		d.taken["127.0.0.1:80"] = true
		d.commit(state.Create(web(corev1.ServiceTypeLoadBalancer)))
		d.expect("the port is taken", "default/web: 127.0.0.1:30080 →")
		stored := func() *corev1.Service {
			s, _ := state.Get[*corev1.Service](d.store, "default", "web")
			return s
		}
		if in := stored().Status.LoadBalancer.Ingress; len(in) != 0 {
			t.Errorf("ingress %v", in)
		}
		d.mu.Lock()
		d.taken = nil
		d.mu.Unlock()
		<-time.After(time.Minute) // it tries again by itself
		d.expect("the port is free", "default/web: 127.0.0.1:30080 →; 127.0.0.1:80 →")
		if in := stored().Status.LoadBalancer.Ingress; len(in) != 1 || in[0].IP != "127.0.0.1" {
			t.Errorf("ingress %v", in)
		}
		var events []string
		for _, e := range state.List[*corev1.Event](d.store, "default") {
			events = append(events, e.Type+" "+e.Reason+" "+e.Message)
		}
		slices.Sort(events)
		want := "Normal EnsuredLoadBalancer Ensured load balancer\n" +
			"Warning SyncLoadBalancerFailed Error syncing load balancer: listen tcp 127.0.0.1:80: address already in use"
		if got := strings.Join(events, "\n"); got != want {
			t.Errorf("events\n%s\nwant\n%s", got, want)
		}

		plain := web(corev1.ServiceTypeClusterIP)
		plain.Spec.Ports[0].NodePort = 0
		d.commit(state.Update(plain))
		d.expect("a ClusterIP has no address on the host", "")
		if in := stored().Status.LoadBalancer.Ingress; len(in) != 0 {
			t.Errorf("ingress %v", in)
		}
	})
}

type dialer func(*corev1.Pod, int32) error

func (f dialer) Dial(_ context.Context, p *corev1.Pod, port int32) (net.Conn, error) {
	return nil, f(p, port)
}

func TestDialFindsThePod(t *testing.T) {
	t.Parallel()
	store, err := state.OpenMemory(state.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	receipt, err := store.Commit(state.Create(bare("a")))
	if err != nil {
		t.Fatal(err)
	}
	reached := errors.New("reached")
	dial := service.DialPods(store, dialer(func(p *corev1.Pod, port int32) error {
		if p.Name != "a" || port != 8080 {
			t.Errorf("dials %s:%d", p.Name, port)
		}
		return reached
	}))
	b := service.Backend{Pod: string(receipt.Objects[0].GetUID()), Namespace: "default", Name: "a", Port: 8080}
	if _, err := dial(t.Context(), b); !errors.Is(err, reached) {
		t.Errorf("got %v", err)
	}
	b.Pod = "an earlier one of that name"
	if _, err := dial(t.Context(), b); err == nil || errors.Is(err, reached) {
		t.Errorf("got %v", err)
	}
}

// TestCluster: Services answer on their ClusterIPs and have names, whatever their type.
func TestCluster(t *testing.T) {
	inBubble(t, service.Reach{Cluster: true}, func(d *desk) {
		plain := web(corev1.ServiceTypeClusterIP)
		plain.Spec.ClusterIP, plain.Spec.Ports[0].NodePort, plain.Spec.Ports[0].Name = "10.96.0.7", 0, "http"
		headless := plain.DeepCopy()
		headless.Name, headless.Spec.ClusterIP = "each", corev1.ClusterIPNone
		outside := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "out"}, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeExternalName, ExternalName: "www.example.org",
		}}
		d.commit(state.Create(plain), state.Create(headless), state.Create(outside), state.Create(bare("a")))
		none := "default/each: each is []\ndefault/out: out is []www.example.org\ndefault/web: 10.96.0.7:80 →; web is [10.96.0.7]"
		d.expect("no pod is ready", none)
		ready := bare("a")
		ready.Status.PodIP = "10.244.0.2"
		d.commit(state.UpdateStatus(ready))
		d.expect("one is", "default/each: each is [10.244.0.2]\ndefault/out: out is []www.example.org\n"+
			"default/web: 10.96.0.7:80 → a:8080; web is [10.96.0.7]")
		moved := ready.DeepCopy()
		moved.Status.PodIP = "10.244.0.3"
		d.commit(state.UpdateStatus(moved))
		d.expect("it has another address", "default/each: each is [10.244.0.3]\ndefault/out: out is []www.example.org\n"+
			"default/web: 10.96.0.7:80 → a:8080; web is [10.96.0.7]")
		d.commit(state.UpdateStatus(bare("a unready")))
		d.expect("it is ready no more", none)
		d.commit(state.Delete(state.KeyOf(plain), state.DeleteOptions{}), state.Delete(state.KeyOf(outside), state.DeleteOptions{}))
		d.expect("two went", "default/each: each is []")
	})
}

// TestCanary: two Deployments behind one Service share its clients, pod by pod.
func TestCanary(t *testing.T) {
	inBubble(t, onHost, func(d *desk) {
		d.commit(state.Create(web(corev1.ServiceTypeNodePort)))
		for _, words := range []string{"stable-1", "stable-2", "canary-1"} {
			p := bare(words)
			p.Labels["v"], _, _ = strings.Cut(words, "-")
			d.commit(state.Create(p))
			d.commit(state.UpdateStatus(p))
		}
		d.expect("both", "default/web: 127.0.0.1:30080 → canary-1:8080 stable-1:8080 stable-2:8080")
		d.commit(state.UpdateStatus(bare("canary-1 unready")))
		d.expect("the canary fails", "default/web: 127.0.0.1:30080 → stable-1:8080 stable-2:8080")
	})
}
