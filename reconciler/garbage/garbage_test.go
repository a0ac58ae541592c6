package garbage

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/state"
)

// world is a store with a garbage collector at work.
type world struct {
	t      *testing.T
	store  *state.Store
	rounds int // calls of Reconcile for Events
}

func newWorld(t *testing.T) *world {
	t.Helper()
	store, err := state.OpenMemory(state.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, store: store}
}

func (w *world) start() {
	w.t.Helper()
	config := New(w.store, zerolog.Nop(), time.Now)
	reconcile := config.Reconcile
	config.Reconcile = func(ctx context.Context, key state.Key, now time.Time) (time.Time, error) {
		if key == expiry {
			w.rounds++
		}
		wakeAt, err := reconcile(ctx, key, now)
		if err != nil {
			w.t.Errorf("reconcile %s: %v", key, err)
		}
		return wakeAt, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- controller.Run(ctx, w.store, config) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run: %v", err)
		}
	})
	synctest.Wait()
}

// create stores a copy of o, owned by the owners, and returns it as stored.
func (w *world) create(o state.Object, owners ...state.Object) state.Object {
	w.t.Helper()
	for _, owner := range owners {
		key, yes := state.KeyOf(owner), true
		apiVersion := "apps/v1"
		if key.Kind != state.KindDeployment && key.Kind != state.KindReplicaSet {
			apiVersion = "v1"
		}
		o.SetOwnerReferences(append(o.GetOwnerReferences(), metav1.OwnerReference{
			APIVersion: apiVersion, Kind: string(key.Kind), Name: key.Name, UID: owner.GetUID(), BlockOwnerDeletion: &yes}))
	}
	return w.commit(state.Create(o))
}

func (w *world) commit(writes ...state.Write) state.Object {
	w.t.Helper()
	receipt, err := w.store.Commit(writes...)
	if err != nil {
		w.t.Fatal(err)
	}
	return receipt.Objects[len(receipt.Objects)-1]
}

// deleteWith deletes o in the way that a finalizer stands for; "" is in the background.
func (w *world) deleteWith(o state.Object, finalizer string) {
	w.t.Helper()
	var writes []state.Write
	if finalizer != "" {
		o = o.DeepCopyObject().(state.Object)
		o.SetFinalizers([]string{finalizer})
		writes = append(writes, state.Update(o))
	}
	w.commit(append(writes, state.Delete(state.KeyOf(o), state.DeleteOptions{UID: o.GetUID()}))...)
	synctest.Wait()
}

// expect compares all objects that may have owners; one being deleted has a cross, one with owners their names.
func (w *world) expect(want string) {
	w.t.Helper()
	synctest.Wait()
	var got []string
	for _, kind := range kinds {
		for _, o := range w.store.List(kind, "") {
			text := o.GetName()
			for _, ref := range o.GetOwnerReferences() {
				text += "<" + ref.Name
			}
			if o.GetDeletionTimestamp() != nil {
				text += "†"
			}
			got = append(got, text)
		}
	}
	if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
		w.t.Errorf("objects (-want +got):\n%s", diff)
	}
}

func meta(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "default", Name: name} }

// shop has a Deployment web with a ReplicaSet rs and two pods, on a node.
func (w *world) shop() (d, rs, a, b state.Object) {
	d = w.create(&appsv1.Deployment{ObjectMeta: meta("web")})
	rs = w.create(&appsv1.ReplicaSet{ObjectMeta: meta("rs")}, d)
	grace := int64(30)
	spec := corev1.PodSpec{NodeName: "belay", TerminationGracePeriodSeconds: &grace}
	a = w.create(&corev1.Pod{ObjectMeta: meta("a"), Spec: spec}, rs)
	b = w.create(&corev1.Pod{ObjectMeta: meta("b"), Spec: spec}, rs)
	return d, rs, a, b
}

// stop removes a pod, as the node does once it has stopped.
func (w *world) stop(pod state.Object) {
	w.t.Helper()
	now := int64(0)
	w.commit(state.Delete(state.KeyOf(pod), state.DeleteOptions{GracePeriodSeconds: &now}))
}

func TestBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d, _, a, b := w.shop()
		w.start()
		w.expect("web a<rs b<rs rs<web")
		w.deleteWith(d, "")
		w.expect("a<rs† b<rs†")
		w.stop(a)
		w.stop(b)
		w.expect("")
	})
}

func TestForeground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d, _, a, b := w.shop()
		w.start()
		w.deleteWith(d, metav1.FinalizerDeleteDependents)
		w.expect("web† a<rs† b<rs† rs<web†")
		w.stop(a)
		w.expect("web† b<rs† rs<web†")
		w.stop(b)
		w.expect("")
	})
}

func TestOrphan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d, rs, _, _ := w.shop()
		w.start()
		w.deleteWith(d, metav1.FinalizerOrphanDependents)
		w.expect("a<rs b<rs rs")
		rs, _ = w.store.Get(state.KeyOf(rs))
		w.deleteWith(rs, metav1.FinalizerOrphanDependents)
		w.expect("a b")
	})
}

// TestWhileNobodyWatched has owners go before the collector starts.
func TestWhileNobodyWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d, _, a, b := w.shop()
		w.deleteWith(d, metav1.FinalizerDeleteDependents)
		w.stop(a)
		w.stop(b)
		d2 := w.create(&appsv1.Deployment{ObjectMeta: meta("shop")})
		w.create(&corev1.ConfigMap{ObjectMeta: meta("cm")}, d2)
		w.deleteWith(d2, "")
		w.deleteWith(w.create(&corev1.Secret{ObjectMeta: meta("alone")}), metav1.FinalizerOrphanDependents)
		w.expect("cm<shop web† rs<web alone†")
		w.start()
		w.expect("")
	})
}

func TestOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		d := w.create(&appsv1.Deployment{ObjectMeta: meta("web")})
		other := w.create(&corev1.ConfigMap{ObjectMeta: meta("other")})
		w.create(&corev1.Secret{ObjectMeta: meta("both")}, d, other)
		foreign := &corev1.Secret{ObjectMeta: meta("foreign")}
		foreign.OwnerReferences = []metav1.OwnerReference{
			{APIVersion: "batch/v1", Kind: "Job", Name: "j", UID: "1"}, {APIVersion: "example.com/v1", Kind: "Deployment", Name: "web", UID: "2"}}
		w.create(foreign)
		late := &corev1.Secret{ObjectMeta: meta("late")}
		late.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", UID: "an earlier web"}}
		w.create(late)
		w.expect("other web both<web<other foreign<j<web")
		w.deleteWith(d, "")
		w.expect("other both<other foreign<j<web")

		// The name comes again; the object is another.
		w.create(&appsv1.Deployment{ObjectMeta: meta("web")})
		w.deleteWith(other, "")
		w.expect("web foreign<j<web")
	})
}

// TestAdopted has a dependent lose its last owner by a change of its own.
func TestAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d, rs, _, _ := w.shop()
		w.start()
		w.deleteWith(d, metav1.FinalizerDeleteDependents)
		w.expect("web† a<rs† b<rs† rs<web†")
		free, _ := w.store.Get(state.KeyOf(rs))
		free = free.DeepCopyObject().(state.Object)
		free.SetOwnerReferences(nil)
		w.commit(state.Update(free))
		w.expect("a<rs† b<rs† rs†")
	})
}

func TestEventsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		from := time.Now()
		for i := range 1200 {
			e := &corev1.Event{ObjectMeta: meta(fmt.Sprint("e", i)), LastTimestamp: metav1.Now(), Count: 1}
			if i == 0 {
				e.LastTimestamp = metav1.NewTime(from.Add(-time.Hour))
			}
			w.create(e)
			<-time.After(time.Second)
		}
		events := func() int { return len(w.store.List(state.KindEvent, "")) }
		if n := events(); n != 1200 {
			t.Errorf("%d events after 20 minutes, want 1200", n)
		}
		<-time.After(time.Until(from.Add(time.Hour + 10*time.Minute + 30*time.Second)))
		// Each lives an hour, and a minute more at most.
		if n := events(); n < 1200-630-1 || n > 1200-570 {
			t.Errorf("%d events after 70.5 minutes, want about 570", n)
		}
		<-time.After(time.Hour)
		synctest.Wait()
		if n := events(); n != 0 {
			t.Errorf("%d events are left", n)
		}
		// One timer for all of them: once at the start, once an hour, and once a minute while there is something to do.
		if w.rounds > 30 {
			t.Errorf("%d rounds, want at most 30", w.rounds)
		}
	})
}
