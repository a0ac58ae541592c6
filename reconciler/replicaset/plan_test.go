package replicaset

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

var now = time.Date(2000, 1, 1, 12, 0, 0, 0, time.UTC)

func replicaSet(size int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "web", Generation: 1},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &size,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{
				Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"note": "x"}}},
		},
	}
}

// pod is one of the ReplicaSet, running and ready for an hour on a node, changed as said.
func pod(name string, changes ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name),
			Labels: map[string]string{"app": "web"}, CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)),
			OwnerReferences: []metav1.OwnerReference{controllerRef(replicaSet(0))}},
		Spec:   corev1.PodSpec{NodeName: "node"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	readyFor(time.Hour)(p)
	for _, change := range changes {
		change(p)
	}
	return p
}

func readyFor(d time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue,
			LastTransitionTime: metav1.NewTime(now.Add(-d))}}
	}
}

func unready(p *corev1.Pod)    { p.Status.Conditions = nil }
func unassigned(p *corev1.Pod) { p.Spec.NodeName = "" }
func deleted(p *corev1.Pod)    { t := metav1.NewTime(now); p.DeletionTimestamp = &t }
func orphan(p *corev1.Pod)     { p.OwnerReferences = nil }
func other(p *corev1.Pod) {
	p.OwnerReferences = []metav1.OwnerReference{controllerRef(replicaSet(0))}
	p.OwnerReferences[0].UID = "other"
}
func unlabelled(p *corev1.Pod) { p.Labels = map[string]string{"app": "other"} }
func phase(x corev1.PodPhase) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.Phase = x }
}
func cost(x string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: x} }
}
func on(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }
func created(ago time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(now.Add(-ago)) }
}
func restarted(n int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: n}} }
}
func sidecarRestarted(n int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		always := corev1.ContainerRestartPolicyAlways
		p.Spec.InitContainers = []corev1.Container{{Name: "s", RestartPolicy: &always}, {Name: "init"}}
		p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "s", RestartCount: n}, {Name: "init", RestartCount: 9}}
	}
}

// Each row is two pods of which the first is missed less: one criterion after the other.
func TestVictims(t *testing.T) {
	t.Parallel()
	crowd := []*corev1.Pod{pod("x", on("full")), pod("y", on("full")), pod("z", on("empty")), pod("gone", on("empty"), deleted)}
	for _, tt := range []struct {
		name          string
		first, second *corev1.Pod
	}{
		{"unassigned before assigned", pod("b", unassigned), pod("a", unready)},
		{"pending before unknown", pod("b", phase(corev1.PodPending)), pod("a", phase(corev1.PodUnknown))},
		{"unknown before running", pod("b", phase(corev1.PodUnknown)), pod("a", unready)},
		{"unready before ready", pod("b", unready), pod("a", cost("-5"))},
		{"lower cost", pod("b", cost("-1"), on("empty")), pod("a", on("full"))},
		{"a cost that is no number is 0", pod("a", cost("x")), pod("b", cost("1"))},
		{"a cost with a sign or zeros is 0", pod("b", cost("-1")), pod("a", cost("+7"))},
		{"crowded node", pod("b", on("full")), pod("a", on("empty"), readyFor(time.Minute))},
		{"ready for a shorter time", pod("b", readyFor(time.Minute)), pod("a", readyFor(time.Hour), restarted(9))},
		{"about as long: by uid", pod("a", readyFor(60*time.Minute)), pod("b", readyFor(59*time.Minute))},
		{"more restarts", pod("b", restarted(2)), pod("a", restarted(1), created(time.Minute))},
		{"more restarts of sidecars", pod("b", sidecarRestarted(2)), pod("a", sidecarRestarted(1), created(time.Minute))},
		{"younger", pod("b", created(time.Minute)), pod("a", created(time.Hour))},
		{"about as old: by uid", pod("a", created(60*time.Minute)), pod("b", created(59*time.Minute))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, order := range [][]*corev1.Pod{{tt.first, tt.second}, {tt.second, tt.first}} {
				r := Plan(Input{ReplicaSet: replicaSet(1), Pods: order, Related: crowd, Now: now})
				if len(r.Delete) != 1 || r.Delete[0] != tt.first {
					t.Errorf("got\n%s", r)
				}
			}
		})
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		size int32
		set  func(*appsv1.ReplicaSet)
		pods []*corev1.Pod
		want string
	}{
		{"nothing there", 3, nil, nil, "create 3 (TooFew)\n"},
		{"enough", 2, nil, []*corev1.Pod{pod("a"), pod("b")}, ""},
		{"those that ended or leave do not count", 3, nil, []*corev1.Pod{pod("a"), pod("b", phase(corev1.PodFailed)), pod("c", deleted)}, "create 2 (TooFew)\n"},
		{"500 at once", 1200, nil, nil, "create 500 (TooFew)\n"},
		{"adopt before creating", 2, nil, []*corev1.Pod{pod("a", orphan)}, "adopt a\ncreate 1 (TooFew)\n"},
		{"no adoption of what leaves, ended, or differs", 1, nil, []*corev1.Pod{pod("a", orphan, deleted), pod("b", orphan, phase(corev1.PodSucceeded)), pod("c", orphan, unlabelled)}, "create 1 (TooFew)\n"},
		{"another's", 1, nil, []*corev1.Pod{pod("a", other)}, "create 1 (TooFew)\n"},
		{"release", 1, nil, []*corev1.Pod{pod("a", unlabelled)}, "release a\ncreate 1 (TooFew)\n"},
		{"all go", 0, nil, []*corev1.Pod{pod("b"), pod("a")}, "delete b (TooMany)\ndelete a (TooMany)\n"},
		{"being deleted", 3, func(rs *appsv1.ReplicaSet) { t := metav1.NewTime(now); rs.DeletionTimestamp = &t }, []*corev1.Pod{pod("a", unlabelled), pod("b", orphan)}, ""},
		{"bad selector", 3, func(rs *appsv1.ReplicaSet) {
			rs.Spec.Selector.MatchExpressions = []metav1.LabelSelectorRequirement{{Operator: "?"}}
		}, nil, ""},
		{"no selector", 0, func(rs *appsv1.ReplicaSet) { rs.Spec.Selector = nil }, []*corev1.Pod{pod("a", orphan)}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rs := replicaSet(tt.size)
			if tt.set != nil {
				tt.set(rs)
			}
			r := Plan(Input{ReplicaSet: rs, Pods: tt.pods, Now: now})
			if got := r.String(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			for _, p := range r.Create {
				if p.GenerateName != rs.Name+"-" || p.Labels["app"] != "web" || p.Annotations["note"] != "x" || !metav1.IsControlledBy(p, rs) {
					t.Errorf("created %+v", p.ObjectMeta)
				}
			}
		})
	}
}

func TestBatches(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "[]", 1: "[1]", 2: "[1 1]", 3: "[1 2]", 8: "[1 2 4 1]", 500: "[1 2 4 8 16 32 64 128 245]"} {
		if got := fmt.Sprint(batches(n)); got != want {
			t.Errorf("batches(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	rs := replicaSet(4)
	rs.Spec.MinReadySeconds = 10
	rs.Spec.Template.Labels["more"] = "x"
	pods := []*corev1.Pod{
		pod("long ready", readyFor(time.Hour)), pod("just enough", readyFor(10*time.Second)), pod("soon", readyFor(7*time.Second)),
		pod("later", readyFor(2*time.Second)), pod("unready", unready), pod("leaving", deleted), pod("ended", phase(corev1.PodFailed)),
		pod("labelled", unready, func(p *corev1.Pod) { p.Labels["more"] = "x" }),
	}
	status, wakeAt := Status(Input{ReplicaSet: rs, Pods: pods, Now: now}, "")
	one := int32(1)
	want := appsv1.ReplicaSetStatus{Replicas: 6, FullyLabeledReplicas: 1, ReadyReplicas: 4, AvailableReplicas: 2,
		TerminatingReplicas: &one, ObservedGeneration: 1}
	if diff := cmp.Diff(want, status); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if want := now.Add(3 * time.Second); !wakeAt.Equal(want) {
		t.Errorf("wake at %s, want %s", wakeAt, want)
	}
}

func TestStatusFailure(t *testing.T) {
	t.Parallel()
	rs := replicaSet(2)
	status := func(pods []*corev1.Pod, failure string) string {
		var out []string
		s, _ := Status(Input{ReplicaSet: rs, Pods: pods, Now: now}, failure)
		for _, c := range s.Conditions {
			out = append(out, fmt.Sprintf("%s %s %s %s", c.Type, c.Status, c.Reason, c.Message))
		}
		rs.Status = s
		return strings.Join(out, ",")
	}
	for _, tt := range []struct {
		pods          []*corev1.Pod
		failure, want string
	}{
		{nil, "", ""},
		{nil, "no room", "ReplicaFailure True FailedCreate no room"},
		{nil, "no time", "ReplicaFailure True FailedCreate no room"}, // not refreshed
		{nil, "", ""},
		{[]*corev1.Pod{pod("a"), pod("b"), pod("c")}, "stuck", "ReplicaFailure True FailedDelete stuck"},
	} {
		if got := status(tt.pods, tt.failure); got != tt.want {
			t.Errorf("after %q: got %q, want %q", tt.failure, got, tt.want)
		}
	}
}

// TestPlanPure: a plan edits nothing and depends on nothing else, and what it does leads to the right number of pods.
func TestPlanPure(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		changes := []func(*corev1.Pod){unready, unassigned, deleted, orphan, other, unlabelled, phase(corev1.PodPending),
			phase(corev1.PodFailed), cost("3"), on("full"), created(time.Minute), restarted(3), readyFor(time.Minute)}
		in := Input{ReplicaSet: replicaSet(int32(rapid.IntRange(0, 6).Draw(t, "size"))), Now: now}
		for i := range rapid.IntRange(0, 9).Draw(t, "pods") {
			in.Pods = append(in.Pods, pod(fmt.Sprint(i), rapid.SliceOfN(rapid.SampledFrom(changes), 0, 3).Draw(t, "changes")...))
		}
		in.Related = slices.Clone(in.Pods)
		before := Input{ReplicaSet: in.ReplicaSet.DeepCopy(), Now: now}
		for _, p := range in.Pods {
			before.Pods = append(before.Pods, p.DeepCopy())
		}
		before.Related = before.Pods
		r := Plan(in)
		if again := Plan(in); !cmp.Equal(r, again) {
			t.Fatalf("twice planned, twice different:\n%s\n%s", r, again)
		}
		if diff := cmp.Diff(before, in); diff != "" {
			t.Fatalf("Plan edited its input:\n%s", diff)
		}
		status, _ := Status(in, "")
		if got := int(status.Replicas) + len(r.Create) - len(r.Delete); got != int(*in.ReplicaSet.Spec.Replicas) {
			t.Fatalf("%d pods after\n%s", got, r)
		}
	})
}
