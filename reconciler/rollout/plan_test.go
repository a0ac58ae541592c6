package rollout

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
)

// planned returns the sizes a plan sets, and the reasons why it does no more.
func planned(r Result) string {
	var parts []string
	for _, a := range r.Actions {
		if a.Kind == Scale || a.Kind == Create {
			parts = append(parts, a.String())
		}
	}
	for _, w := range r.Waits {
		parts = append(parts, string(w))
	}
	return strings.Join(parts, ", ")
}

func available(rs *appsv1.ReplicaSet, n int32) *appsv1.ReplicaSet {
	rs.Status.AvailableReplicas, rs.Status.ReadyReplicas = n, n
	rs.Annotations[DesiredAnnotation] = "4"
	return rs
}

// The budget for available pods is one for all old ReplicaSets: the second gets what the first leaves.
func TestPlanTwoOld(t *testing.T) {
	t.Parallel()
	d := deployment(4, "2", "1")
	r := Plan(Input{Deployment: d, Now: start.Add(time.Hour), ReplicaSets: []*appsv1.ReplicaSet{
		available(replicaSet(d, "A", 3, 1), 3), available(replicaSet(d, "X", 3, 2), 3), available(replicaSet(d, "B", 0, 3), 0)}})
	if got, want := planned(r), "scale down web-A 3 → 0 (AboveFloor)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// So is the budget for pods that serve nobody.
func TestPlanTwoUnhealthy(t *testing.T) {
	t.Parallel()
	d := deployment(4, "2", "1")
	r := Plan(Input{Deployment: d, Now: start.Add(time.Hour), ReplicaSets: []*appsv1.ReplicaSet{
		available(replicaSet(d, "A", 3, 1), 1), available(replicaSet(d, "X", 3, 2), 1), available(replicaSet(d, "B", 0, 3), 0)}})
	if got, want := planned(r), "scale down web-A 3 → 1 (Unhealthy), scale down web-X 3 → 2 (Unhealthy)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// An old ReplicaSet that counts more available pods than it asks for has not observed its last shrinking.
func TestPlanLaggingStatus(t *testing.T) {
	t.Parallel()
	d := deployment(4, "2", "1")
	r := Plan(Input{Deployment: d, Now: start.Add(time.Hour), ReplicaSets: []*appsv1.ReplicaSet{
		available(replicaSet(d, "A", 2, 1), 4), available(replicaSet(d, "B", 4, 2), 4)}})
	if got, want := planned(r), "StatusLags"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPlanRecreateWaits(t *testing.T) {
	t.Parallel()
	d := deployment(2, "1", "1")
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	old := replicaSet(d, "A", 0, 1)
	old.Status.Replicas = 1 // counted, though no pod is given
	in := Input{Deployment: d, Now: start.Add(time.Hour), ReplicaSets: []*appsv1.ReplicaSet{old}}
	if got, want := planned(Plan(in)), "OldPodsRemain"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	old.Status.Replicas = 0
	if got := planned(Plan(in)); !strings.HasPrefix(got, "create web-") {
		t.Errorf("got %s", got)
	}
}

// What follows when the new ReplicaSet cannot be created.
func TestPlanRefused(t *testing.T) {
	t.Parallel()
	d := deployment(2, "1", "1")
	in := Input{Deployment: d, Now: start.Add(time.Hour)}
	first := Plan(in)
	made := first.Actions[0].ReplicaSet.DeepCopy()
	made.UID = "made"

	squatter := made.DeepCopy()
	squatter.OwnerReferences = nil
	squatter.Labels = map[string]string{"app": "other"}
	changed := made.DeepCopy()
	changed.Spec.Template.Spec.Containers[0].Image = "other"
	for _, existing := range []*appsv1.ReplicaSet{squatter, changed} {
		collided := in
		collided.Refused = &Refusal{Existing: existing}
		for want := int32(1); want <= 3; want++ {
			r := Plan(collided)
			i := slices.IndexFunc(r.Actions, func(a Action) bool { return a.Kind == WriteStatus })
			if i < 0 || r.Actions[i].Reason != ReasonHashCollision || *r.Actions[i].Deployment.Status.CollisionCount != want {
				t.Fatalf("collision %d: got\n%s", want, r)
			}
			collided.Deployment = r.Actions[i].Deployment
			next := collided
			next.Refused = nil
			if name := Plan(next).Actions[0].ReplicaSet.Name; name == made.Name {
				t.Errorf("the next try is called %s again", name)
			}
		}
	}

	found := in
	found.Refused = &Refusal{Existing: made}
	if got := Plan(found).String(); strings.Contains(got, "create") || strings.Contains(got, "Collision") {
		t.Errorf("its own ReplicaSet under that name: got\n%s", got)
	}

	refused := in
	refused.Refused = &Refusal{Message: "no room"}
	r := Plan(refused)
	if got, want := r.String(), `event Warning ReplicaSetCreateError Failed to create new replica set "`+made.Name+`": no room
write status (CreateRefused)
`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	status := r.Actions[1].Deployment.Status
	c := conditionOf(status, appsv1.DeploymentProgressing)
	if status.ObservedGeneration != 0 || c == nil || c.Status != "False" || c.Reason != replicaSetCreateError {
		t.Errorf("got %+v", status)
	}
}
