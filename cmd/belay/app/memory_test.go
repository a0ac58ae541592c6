package app

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// TestStatusRemembers: whatever changes, a service that remembers what it showed last shows what one shows that does not.
func TestStatusRemembers(t *testing.T) {
	t.Parallel()
	r := readerOf(t, 3)
	deployment := func() *appsv1.Deployment {
		d, ok := state.Get[*appsv1.Deployment](r.store, "default", "web-1")
		if !ok {
			t.Fatal("web-1 is gone")
		}
		return d.DeepCopy()
	}
	named := deployment()
	named.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: "words"},
	}}}
	healthy := deployment()
	healthy.Status = appsv1.DeploymentStatus{ObservedGeneration: healthy.Generation, Replicas: 3, UpdatedReplicas: 3, ReadyReplicas: 3, AvailableReplicas: 3}
	sets := state.OwnedBy[*appsv1.ReplicaSet](r.store, healthy.UID)
	renumbered := sets[0].DeepCopy()
	renumbered.Annotations["deployment.kubernetes.io/revision"] = "101"
	pod := state.OwnedBy[*corev1.Pod](r.store, sets[0].UID)[0].DeepCopy()
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Image: "web:100", State: corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"},
	}}}
	for _, o := range []state.Object{named, healthy, renumbered, pod} {
		o.SetResourceVersion("") // whatever was written before
	}
	row := state.Row{ID: "next", Namespace: "default", Name: "web-1", Source: "shop", Commit: "c101", Images: []string{"web:101"}, Outcome: ledger.Waiting, Open: true}
	failed := row
	failed.Outcome, failed.Open, failed.Reason = ledger.Failed, false, "ProgressDeadlineExceeded"
	words := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "words"}}
	key := state.KeyOf(healthy)
	for _, c := range []struct {
		what   string
		writes []state.Write
	}{
		{"nothing", nil},
		{"its status", []state.Write{state.UpdateStatus(healthy)}},
		{"the number of its ReplicaSet", []state.Write{state.Update(renumbered)}},
		{"a pod that waits", []state.Write{state.UpdateStatus(pod)}},
		{"a row", []state.Write{state.PutRow(row)}},
		{"the outcome of a row", []state.Write{state.PutRow(failed)}},
		{"a hold", []state.Write{state.PutHold(state.Hold{ID: "h", Namespace: "default", Name: "web-1", By: "ann", Commit: "c99"})}},
		{"no hold", []state.Write{state.RemoveHold("default", "web-1")}},
		{"an override", []state.Write{state.PutOverride(state.Override{Namespace: "default", Name: "web-1", Field: "replicas", Value: "5", By: "ann"})}},
		{"a ConfigMap that it names", []state.Write{state.Update(named)}},
		{"the ConfigMap", []state.Write{state.Create(words)}},
		{"no ConfigMap", []state.Write{state.Delete(state.KeyOf(words), state.DeleteOptions{})}},
		{"its app", []state.Write{state.PutManaged(state.Managed{Key: key, Source: "shop", App: "old", File: "web-1.yaml"})}},
		{"its source", []state.Write{state.PutManaged(state.Managed{Key: key, Source: "gone", App: "old", File: "web-1.yaml"})}},
		{"no Deployment", []state.Write{state.Delete(key, state.DeleteOptions{})}},
		{"unmanaged", []state.Write{state.RemoveManaged(key)}},
	} {
		before := statusOf(t, r)
		if _, err := r.store.Commit(c.writes...); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		fresh := &reader{store: r.store, engine: r.engine, loop: r.loop, doing: r.doing, wrong: r.wrong, found: r.found}
		want, got := statusOf(t, fresh), statusOf(t, r)
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(control.Source{}, "NextPoll")); diff != "" {
			t.Errorf("%s: shown (-fresh +remembered):\n%s", c.what, diff)
		}
		if same := cmp.Equal(before.Deployments, got.Deployments) && cmp.Equal(before.Problems, got.Problems); same != (len(c.writes) == 0) {
			t.Errorf("%s: shown as before is %t: %+v", c.what, same, got)
		}
		if n := len(r.memory.last); n != len(got.Deployments) {
			t.Errorf("%s: %d are remembered of %d", c.what, n, len(got.Deployments))
		}
	}
}

// TestStatusRemembersSource: what a source says of its Deployments is remembered no longer than it says so.
func TestStatusRemembersSource(t *testing.T) {
	t.Parallel()
	r := readerOf(t, 1)
	show := func(r *reader, s reconciler.SourceStatus) control.Deployment {
		t.Helper()
		b := r.look()
		defer b.end()
		text, _, err := b.deployment(0, originOf(s))
		if err != nil {
			t.Fatal(err)
		}
		b.remember()
		var d control.Deployment
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	shop, other := []reconciler.AppStatus{{Name: "shop"}}, []reconciler.AppStatus{{Name: "other"}}
	for _, c := range []struct {
		what   string
		source reconciler.SourceStatus
		next   string
	}{
		{"follows", reconciler.SourceStatus{Head: "c100", Commit: "c100", Apps: shop}, ""},
		{"is behind", reconciler.SourceStatus{Head: "c101", Commit: "c100", Apps: shop}, ""},
		{"is suspended", reconciler.SourceStatus{Head: "c100", Commit: "c100", Suspended: true, Apps: shop}, ""},
		{"is suspended and behind", reconciler.SourceStatus{Head: "c101", Commit: "c100", Suspended: true, Apps: shop}, "belay resume shop"},
		{"follows again", reconciler.SourceStatus{Head: "c101", Commit: "c101", Apps: shop}, ""},
		{"has no app of it", reconciler.SourceStatus{Head: "c101", Commit: "c101", Apps: other}, "its app left the configuration; it keeps running"},
		{"has its app again", reconciler.SourceStatus{Head: "c101", Commit: "c101", Apps: append(other, shop...)}, ""},
	} {
		fresh := &reader{store: r.store, engine: r.engine, loop: r.loop, doing: r.doing, wrong: r.wrong, found: r.found}
		want, got := show(fresh, c.source), show(r, c.source)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the source %s: shown (-fresh +remembered):\n%s", c.what, diff)
		}
		if got.Next != c.next {
			t.Errorf("the source %s: next is %q, want %q", c.what, got.Next, c.next)
		}
	}
}

// fataler is a test.
type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Context() context.Context
}

func statusOf(t fataler, r *reader) control.Status {
	t.Helper()
	encoded, err := r.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := encoded.AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	var s control.Status
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return s
}
