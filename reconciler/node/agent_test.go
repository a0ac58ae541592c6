package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/state"
)

// fake is a runner whose pods are as the test says.
type fake struct {
	report func(*corev1.Pod, time.Time) (Report, error)

	mu    sync.Mutex
	calls []string
}

var _ PodRunner = (*fake)(nil)

func (f *fake) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

func (f *fake) Adopt(pods []*corev1.Pod) {
	for _, pod := range pods {
		f.note("adopt %s", pod.Name)
	}
}

func (f *fake) Sync(_ context.Context, pod *corev1.Pod, now time.Time) (Report, error) {
	f.note("sync %s on %s", pod.Name, pod.Spec.NodeName)
	return f.report(pod, now)
}

func (f *fake) Remove(_ context.Context, uid types.UID) error {
	f.note("remove %s", uid)
	return nil
}

// desk is an agent over a store, with a fake runner.
type desk struct {
	*fake
	t     *testing.T
	store *state.Store
	uids  map[types.UID]string // short for what state chose
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	store, err := state.OpenMemory(state.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, store: store, fake: &fake{}, uids: map[types.UID]string{}}
	d.report = func(*corev1.Pod, time.Time) (Report, error) { return Report{Status: up}, nil }
	return d
}

var up = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.64.0.1"}

func (d *desk) start() {
	d.t.Helper()
	config := New(d.store, d.fake, zerolog.Nop(), time.Now)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- controller.Run(ctx, d.store, config) }()
	d.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			d.t.Errorf("run: %v", err)
		}
	})
	synctest.Wait()
}

func (d *desk) create(name, on string) *corev1.Pod {
	d.t.Helper()
	grace := int64(30)
	pod := d.commit(state.Create(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PodSpec{NodeName: on, TerminationGracePeriodSeconds: &grace, Containers: []corev1.Container{{Name: "c"}}},
	})).(*corev1.Pod)
	d.uids[pod.UID] = fmt.Sprint(name, "#", len(d.uids)+1)
	return pod
}

func (d *desk) commit(writes ...state.Write) state.Object {
	d.t.Helper()
	receipt, err := d.store.Commit(writes...)
	if err != nil {
		d.t.Fatal(err)
	}
	synctest.Wait()
	return receipt.Objects[0]
}

func (d *desk) delete(name string, grace int64) {
	d.t.Helper()
	d.commit(state.Delete(state.Key{Kind: state.KindPod, Namespace: "default", Name: name}, state.DeleteOptions{GracePeriodSeconds: &grace}))
}

// expect compares what the runner was asked for since the last time. The same twice in a row counts once: whether the
// agent sees its two writes about a pod together is a matter of timing.
func (d *desk) expect(want ...string) {
	d.t.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, call := range d.calls {
		if uid, ok := strings.CutPrefix(call, "remove "); ok {
			d.calls[i] = "remove " + d.uids[types.UID(uid)]
		}
	}
	if diff := cmp.Diff(want, slices.Compact(slices.Clone(d.calls))); diff != "" {
		d.t.Errorf("calls (-want +got):\n%s", diff)
	}
	d.calls = nil
}

func TestAgentRunsPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.report = func(pod *corev1.Pod, _ time.Time) (Report, error) {
			report := Report{Status: up}
			if pod.Status.Phase == corev1.PodPending {
				report.Events = []Event{{corev1.EventTypeNormal, "Started", "Container started", "spec.containers{c}"}}
			}
			return report, nil
		}
		d.start()
		d.create("a", "")
		d.create("b", "elsewhere")
		d.expect("sync a on belay")
		pod, _ := state.Get[*corev1.Pod](d.store, "default", "a")
		if pod.Spec.NodeName != Name || pod.Status.Phase != corev1.PodRunning || pod.Status.PodIP != "10.64.0.1" {
			t.Errorf("pod is on %q, %s, %s", pod.Spec.NodeName, pod.Status.Phase, pod.Status.PodIP)
		}
		var got []string
		for _, e := range state.List[*corev1.Event](d.store, "") {
			got = append(got, fmt.Sprintf("%s@%s %s %s: %s (%s)", e.Source.Component, e.Source.Host, e.InvolvedObject.Name, e.Reason, e.Message, e.InvolvedObject.FieldPath))
		}
		want := []string{
			"default-scheduler@ a Scheduled: Successfully assigned default/a to belay ()",
			"kubelet@belay a Started: Container started (spec.containers{c})",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		version := d.store.Version()
		<-time.After(time.Hour)
		if d.store.Version() != version {
			t.Errorf("something was written about a pod that is as it was")
		}
	})
}

func TestAgentWakesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		ready := time.Now().Add(time.Minute)
		d.report = func(_ *corev1.Pod, now time.Time) (Report, error) {
			if now.Before(ready) {
				return Report{Status: corev1.PodStatus{Phase: corev1.PodPending}, WakeAt: ready}, nil
			}
			return Report{Status: up}, nil
		}
		d.start()
		d.create("a", Name)
		<-time.After(time.Minute)
		synctest.Wait()
		if pod, _ := state.Get[*corev1.Pod](d.store, "default", "a"); pod.Status.Phase != corev1.PodRunning {
			t.Errorf("pod is %s after its time", pod.Status.Phase)
		}
	})
}

func TestAgentStopsPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		stopped := false
		d.report = func(pod *corev1.Pod, _ time.Time) (Report, error) {
			return Report{Status: pod.Status, Gone: pod.DeletionTimestamp != nil && stopped}, nil
		}
		d.start()
		d.create("a", Name)
		d.expect("sync a on belay")
		d.delete("a", 30)
		d.expect("sync a on belay")
		stopped = true
		pod, _ := state.Get[*corev1.Pod](d.store, "default", "a")
		touched := pod.DeepCopy()
		touched.Labels = map[string]string{"touched": "yes"}
		d.commit(state.Update(touched))
		d.expect("sync a on belay", "remove a#1")
		if _, ok := state.Get[*corev1.Pod](d.store, "default", "a"); ok {
			t.Errorf("the object of the stopped pod is there")
		}

		// Without grace there is nothing to wait for; the name comes again at once.
		d.create("b", Name)
		d.delete("b", 0)
		d.create("b", Name)
		d.expect("sync b on belay", "remove b#2", "sync b on belay")
	})
}

func TestAgentAdopts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.create("a", Name)
		d.create("b", Name)
		d.create("c", "")
		d.create("d", "elsewhere")
		config := New(d.store, d.fake, zerolog.Nop(), time.Now)
		d.expect("adopt a", "adopt b")
		// Both a and b go before the agent watches; another b comes.
		d.delete("a", 0)
		d.delete("b", 0)
		d.create("b", Name)
		config.Workers = 1
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- controller.Run(ctx, d.store, config) }()
		synctest.Wait()
		d.mu.Lock()
		slices.Sort(d.calls)
		d.calls = slices.Compact(d.calls)
		d.mu.Unlock()
		got := map[string]bool{}
		for _, call := range d.calls {
			if uid, ok := strings.CutPrefix(call, "remove "); ok {
				call = "remove " + d.uids[types.UID(uid)]
			}
			got[call] = true
		}
		want := map[string]bool{"remove a#1": true, "remove b#2": true, "sync b on belay": true, "sync c on belay": true}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAgentRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		fails := 2
		d.report = func(*corev1.Pod, time.Time) (Report, error) {
			if fails--; fails >= 0 {
				return Report{}, errors.New("engine does not answer")
			}
			return Report{Status: up}, nil
		}
		d.start()
		d.create("a", Name)
		<-time.After(time.Minute)
		synctest.Wait()
		if pod, _ := state.Get[*corev1.Pod](d.store, "default", "a"); pod.Status.Phase != corev1.PodRunning {
			t.Errorf("pod is %s", pod.Status.Phase)
		}
	})
}
