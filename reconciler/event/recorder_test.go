package event

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/state"
)

// clock is a time that a test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func open(t *testing.T, c *clock) *state.Store {
	t.Helper()
	store, err := state.OpenMemory(state.Options{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func deployment(name string) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: "u1", ResourceVersion: "7"}}
}

func list(store *state.Store) []string {
	var lines []string
	for _, e := range state.List[*corev1.Event](store, "") {
		lines = append(lines, fmt.Sprintf("%s/%s x%d %s-%s %s", e.Namespace, e.InvolvedObject.Name, e.Count,
			e.FirstTimestamp.UTC().Format(time.TimeOnly), e.LastTimestamp.UTC().Format(time.TimeOnly), e.Message))
	}
	return lines
}

func TestRecorderWrites(t *testing.T) {
	t.Parallel()
	c := &clock{start}
	store := open(t, c)
	r := NewRecorder(store, "kubelet", c.now, Host("belay"))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-1", UID: "u1", ResourceVersion: "7"}}
	r.EventField(pod, "spec.containers{web}", corev1.EventTypeWarning, "BackOff", "Back-off pulling image \"web:2\"")
	got := state.List[*corev1.Event](store, "")
	if len(got) != 1 {
		t.Fatalf("%d events, want 1", len(got))
	}
	e := got[0].DeepCopy()
	e.UID, e.ResourceVersion, e.CreationTimestamp = "", "", metav1.Time{}
	want := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("web-1.%x", start.UnixNano())},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: "default", Name: "web-1", UID: "u1",
			ResourceVersion: "7", FieldPath: "spec.containers{web}"},
		Type: "Warning", Reason: "BackOff", Message: "Back-off pulling image \"web:2\"", Count: 1,
		FirstTimestamp: metav1.NewTime(start), LastTimestamp: metav1.NewTime(start),
		Source:              corev1.EventSource{Component: "kubelet", Host: "belay"},
		ReportingController: "kubelet", ReportingInstance: "belay",
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	r.Event(deployment("web"), corev1.EventTypeNormal, "ScalingReplicaSet", "x")
	r.Event(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, corev1.EventTypeNormal, "Synced", "y")
	for _, e := range state.List[*corev1.Event](store, "default") {
		if want := map[string]string{"Deployment": "apps/v1", "Pod": "v1", "Namespace": "v1"}[e.InvolvedObject.Kind]; e.InvolvedObject.APIVersion != want {
			t.Errorf("%s has apiVersion %q, want %q", e.InvolvedObject.Kind, e.InvolvedObject.APIVersion, want)
		}
	}
	if n := len(state.List[*corev1.Event](store, "default")); n != 3 {
		t.Errorf("%d events in default, want 3: those of a Namespace live there", n)
	}
}

func TestRecorderCounts(t *testing.T) {
	t.Parallel()
	c := &clock{start}
	store := open(t, c)
	r := NewRecorder(store, "deployment-controller", c.now)
	say := func(r *Recorder, message string) {
		t.Helper()
		r.Event(deployment("web"), corev1.EventTypeNormal, "ScalingReplicaSet", message)
		c.at = c.at.Add(time.Minute)
	}
	expect := func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, list(store)); diff != "" {
			t.Fatalf("events (-want +got):\n%s", diff)
		}
	}
	say(r, "up")
	say(r, "up")
	say(r, "down")
	expect("default/web x2 12:00:00-12:01:00 up", "default/web x1 12:02:00-12:02:00 down")

	// A new process goes on counting what it finds.
	r = NewRecorder(store, "deployment-controller", c.now)
	say(r, "up")
	expect("default/web x3 12:00:00-12:03:00 up", "default/web x1 12:02:00-12:02:00 down")

	// Another component's Events are its own.
	say(NewRecorder(store, "kubelet", c.now), "up")
	expect("default/web x3 12:00:00-12:03:00 up", "default/web x1 12:02:00-12:02:00 down", "default/web x1 12:04:00-12:04:00 up")
	say(NewRecorder(store, "kubelet", c.now, Host("belay")), "up")
	expect("default/web x3 12:00:00-12:03:00 up", "default/web x1 12:02:00-12:02:00 down", "default/web x1 12:04:00-12:04:00 up",
		"default/web x1 12:05:00-12:05:00 up")

	// One that expired comes again, and its count goes on.
	for _, e := range state.List[*corev1.Event](store, "") {
		if _, err := store.Commit(state.Delete(state.KeyOf(e), state.DeleteOptions{})); err != nil {
			t.Fatal(err)
		}
	}
	say(r, "up")
	say(r, "up")
	expect("default/web x5 12:00:00-12:07:00 up")

	// The tenth distinct message, and each after it, is folded into one Event: up and down count.
	for i := range 9 {
		say(r, fmt.Sprint("m", i))
	}
	got := list(store)
	if want := "default/web x1 12:14:00-12:14:00 m6"; got[len(got)-2] != want {
		t.Errorf("got %q, want %q", got[len(got)-2], want)
	}
	if want := "default/web x2 12:15:00-12:16:00 (combined from similar events): m8"; got[len(got)-1] != want {
		t.Errorf("got %q, want %q", got[len(got)-1], want)
	}
	say(NewRecorder(store, "deployment-controller", c.now), "m9")
	got = list(store)
	if want := "default/web x3 12:15:00-12:17:00 (combined from similar events): m9"; got[len(got)-1] != want {
		t.Errorf("got %q, want %q", got[len(got)-1], want)
	}
}

// TestRecorderNames has many Events about one object at the same time: every name must be free.
// TestRecorderAnnotates: an Event that is equal to an earlier one has the annotations of the newest.
func TestRecorderAnnotates(t *testing.T) {
	t.Parallel()
	c := &clock{start}
	store := open(t, c)
	r := NewRecorder(store, "belay", c.now)
	for _, id := range []string{"first", "second"} {
		r.AnnotatedEvent(deployment("web"), map[string]string{"belay.dev/operation": id}, corev1.EventTypeNormal, "DeploymentRollback", "Rolled back")
		c.at = c.at.Add(time.Minute)
	}
	got := state.List[*corev1.Event](store, "")
	if len(got) != 1 || got[0].Count != 2 || got[0].Annotations["belay.dev/operation"] != "second" {
		t.Errorf("%+v", got)
	}
}

func TestRecorderNames(t *testing.T) {
	t.Parallel()
	c := &clock{start}
	store := open(t, c)
	var all sync.WaitGroup
	for _, component := range []string{"kubelet", "default-scheduler", "replicaset-controller"} {
		r := NewRecorder(store, component, c.now)
		for i := range 5 {
			all.Go(func() {
				r.Event(deployment("web"), corev1.EventTypeNormal, fmt.Sprint("Reason", i), "a")
				r.Event(deployment("web"), corev1.EventTypeNormal, fmt.Sprint("Reason", i), "a")
			})
		}
	}
	all.Wait()
	events := state.List[*corev1.Event](store, "")
	if len(events) != 15 {
		t.Errorf("%d events, want 15", len(events))
	}
	for _, e := range events {
		if e.Count != 2 {
			t.Errorf("%s %s x%d, want 2", e.Source.Component, e.Reason, e.Count)
		}
	}
}

func TestRecorderDrops(t *testing.T) {
	t.Parallel()
	c := &clock{start}
	store := open(t, c)
	var out bytes.Buffer
	r := NewRecorder(store, "deployment-controller", c.now, Log(zerolog.New(&out)))
	lost := deployment("web")
	lost.Namespace = "nowhere"
	r.Event(lost, corev1.EventTypeNormal, "ScalingReplicaSet", "up")
	const want = `{"level":"warn","key":"Deployment nowhere/web","reason":"ScalingReplicaSet",` +
		`"error":"namespaces \"nowhere\" not found","message":"event dropped"}` + "\n"
	if out.String() != want {
		t.Errorf("log %s, want %s", out.String(), want)
	}

	// A namespace that goes is no news.
	out.Reset()
	shop := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	if _, err := store.Commit(state.Create(shop), state.Delete(state.KeyOf(shop), state.DeleteOptions{})); err != nil {
		t.Fatal(err)
	}
	lost.Namespace = "shop"
	r.Event(lost, corev1.EventTypeNormal, "ScalingReplicaSet", "up")
	if out.Len() > 0 {
		t.Errorf("log: %s", out.String())
	}
	if got := list(store); got != nil {
		t.Errorf("events %v", got)
	}

	// What was dropped does not count.
	if _, err := store.Commit(state.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "nowhere"}})); err != nil {
		t.Fatal(err)
	}
	lost.Namespace = "nowhere"
	r.Event(lost, corev1.EventTypeNormal, "ScalingReplicaSet", "up")
	if got := list(store); len(got) != 1 || got[0] != "nowhere/web x1 12:00:00-12:00:00 up" {
		t.Errorf("events %v", got)
	}
}

// On a full disk what is said of a held Deployment is written with the reserve, and nothing else.
func TestRecorderOnFullDisk(t *testing.T) {
	t.Parallel()
	var full atomic.Bool
	store, err := state.Open(t.TempDir(), state.Options{Now: time.Now, RetryDisk: time.Millisecond, Disk: func(state.DiskPoint) error {
		if full.Load() {
			return syscall.ENOSPC
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	receipt, err := store.Commit(state.PutHold(state.Hold{ID: "h", Namespace: "default", Name: "held"}))
	if err == nil {
		err = store.WaitDurable(t.Context(), receipt.Version)
	}
	if err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	if receipt, err = store.Commit(state.PutCursor(state.Cursor{Source: "other"})); err == nil { // so that it is known
		err = store.WaitDurable(t.Context(), receipt.Version)
	}
	if !errors.Is(err, state.ErrDisk) {
		t.Fatalf("on a full disk: %v", err)
	}
	var log bytes.Buffer
	r := NewRecorder(store, "belay", time.Now, Log(zerolog.New(&log)))
	for range 2 {
		r.Event(deployment("held"), corev1.EventTypeNormal, "DeploymentRollback", "Rolled back")
		r.Event(deployment("free"), corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled up")
	}
	events := state.List[*corev1.Event](store, "")
	if len(events) != 1 || events[0].InvolvedObject.Name != "held" || events[0].Count != 2 {
		t.Errorf("%v", list(store))
	}
	if n := strings.Count(log.String(), "event dropped"); n != 2 {
		t.Errorf("%d Events are said to be dropped: %s", n, &log)
	}
	full.Store(false)
}
