package rollout

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"
)

// simulation is a Deployment in a world where pods are numbers: each ReplicaSet has some, some of them available.
// Its own moves are those of a slow and unreliable cluster: ReplicaSets follow their size when they get around to it.
type simulation struct {
	d    *appsv1.Deployment
	sets []*appsv1.ReplicaSet
	now  time.Time
	made int
}

func drawSimulation(t *rapid.T) *simulation {
	s := &simulation{now: start}
	s.d = deployment(int32(rapid.IntRange(0, 12).Draw(t, "replicas")), "0", "1")
	s.drawBounds(t)
	s.d.Spec.Template = *template("web", "c", "A")
	if rapid.IntRange(0, 3).Draw(t, "recreate") == 0 {
		s.d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	}
	return s
}

func (s *simulation) drawBounds(t *rapid.T) {
	if s.d.Spec.Strategy.RollingUpdate == nil {
		return
	}
	amount := rapid.OneOf(rapid.Map(rapid.IntRange(0, 5), func(n int) string { return fmt.Sprint(n) }),
		rapid.Map(rapid.IntRange(0, 20), func(n int) string { return fmt.Sprintf("%d%%", 5*n) }))
	surge, unavailable := intstr.Parse(amount.Draw(t, "surge")), intstr.Parse(amount.Draw(t, "unavailable"))
	s.d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable}
}

func (s *simulation) input() Input {
	return Input{Deployment: s.d, ReplicaSets: slices.Clone(s.sets), Now: s.now}
}

// sync plans, checks the plan and carries it out. It reports whether there was anything to do.
func (s *simulation) sync(t *rapid.T) bool {
	in := s.input()
	before := deepCopy(in)
	r := Plan(in)
	if again := Plan(in); again.String() != r.String() || !cmp.Equal(again, r) {
		t.Fatalf("twice planned, twice different:\n%s\n%s", r, again)
	}
	if diff := cmp.Diff(before, in); diff != "" {
		t.Fatalf("Plan edited its input:\n%s", diff)
	}
	s.check(t, r)
	for _, a := range r.Actions {
		switch a.Kind {
		case Create:
			s.made++
			rs := a.ReplicaSet.DeepCopy()
			rs.UID, rs.Generation = types.UID(fmt.Sprint(s.made)), 1
			rs.CreationTimestamp = metav1.NewTime(s.now)
			s.sets = append(s.sets, rs)
		case Delete:
			s.sets = slices.DeleteFunc(s.sets, func(rs *appsv1.ReplicaSet) bool { return rs.UID == a.ReplicaSet.UID })
		case Adopt, Release, Annotate, Scale:
			for i, rs := range s.sets {
				if rs.UID == a.ReplicaSet.UID {
					s.sets[i] = a.ReplicaSet.DeepCopy()
					if sizeOf(rs) != sizeOf(a.ReplicaSet) {
						s.sets[i].Generation = rs.Generation + 1
					}
				}
			}
		case SetTemplate, WriteStatus:
			s.d = a.Deployment.DeepCopy()
		case Emit:
		}
	}
	return len(r.Actions) > 0
}

func deepCopy(in Input) Input {
	in.Deployment = in.Deployment.DeepCopy()
	in.ReplicaSets = slices.Clone(in.ReplicaSets)
	for i, rs := range in.ReplicaSets {
		in.ReplicaSets[i] = rs.DeepCopy()
	}
	return in
}

// check holds a plan against the bounds: what it grows stays below the ceiling, and what it shrinks leaves the floor
// standing on pods that are available or, in old ReplicaSets, still asked for. While a ReplicaSet still counts pods
// that are on their way out, Kubernetes may go below, and so does Plan.
func (s *simulation) check(t *rapid.T, r Result) {
	b := boundsOf(s.d)
	final := map[types.UID]*appsv1.ReplicaSet{}
	for _, rs := range s.sets {
		final[rs.UID] = rs
	}
	up, grown, shrunk, resized := false, false, false, false
	for _, a := range r.Actions {
		if a.Kind == Scale || a.Kind == Create {
			final[a.ReplicaSet.UID] = a.ReplicaSet
			grown = grown || a.To > a.From
			up = up || a.Kind == Scale && a.To > a.From
			shrunk = shrunk || a.To < a.From
			resized = resized || slices.Contains([]Reason{ReasonProportional, ReasonResized, ReasonSaturated, ReasonTooLarge, ReasonRecreate}, a.Reason)
		}
	}
	lagging := slices.ContainsFunc(s.sets, func(rs *appsv1.ReplicaSet) bool { return rs.Status.AvailableReplicas > sizeOf(rs) })
	if resized || lagging || s.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return
	}
	if up && shrunk {
		t.Fatalf("both directions in one sync:\n%s", r)
	}
	var total, serving int32
	current := currentOf(s.d, s.sets)
	for uid, rs := range final {
		total += sizeOf(rs)
		switch {
		case current != nil && uid == current.UID:
			serving += rs.Status.AvailableReplicas
		case uid != "":
			serving += sizeOf(rs)
		}
	}
	if grown && !shrunk && total > b.ceiling() {
		t.Fatalf("%d pods asked for, %d allowed:\n%s", total, b.ceiling(), r)
	}
	if shrunk && serving < b.floor() {
		t.Fatalf("%d available or old pods are left, %d must be:\n%s", serving, b.floor(), r)
	}
}

// follow lets one ReplicaSet do what its size says, the pods that are not available first, as far as it gets.
func (s *simulation) follow(i int, most int32) bool {
	rs := s.sets[i].DeepCopy()
	before := rs.Status
	rs.Status.ObservedGeneration = rs.Generation
	step := max(-most, min(most, sizeOf(rs)-rs.Status.Replicas))
	rs.Status.Replicas += step
	rs.Status.AvailableReplicas = min(rs.Status.AvailableReplicas, rs.Status.Replicas)
	rs.Status.ReadyReplicas = rs.Status.AvailableReplicas
	s.sets[i] = rs
	return !cmp.Equal(before, rs.Status)
}

// serve makes pods of one ReplicaSet available, or with a negative number unavailable.
func (s *simulation) serve(i int, pods int32) bool {
	rs := s.sets[i].DeepCopy()
	before := rs.Status.AvailableReplicas
	rs.Status.AvailableReplicas = max(0, min(rs.Status.Replicas, before+pods))
	rs.Status.ReadyReplicas = rs.Status.AvailableReplicas
	s.sets[i] = rs
	return rs.Status.AvailableReplicas != before
}

// edit is a write of a user.
func (s *simulation) edit(change func(*appsv1.Deployment)) {
	d := s.d.DeepCopy()
	change(d)
	d.Generation++
	s.d = d
}

// disturb is one move of the cluster or a user.
func (s *simulation) disturb(t *rapid.T) {
	s.now = s.now.Add(time.Duration(rapid.IntRange(1, 400).Draw(t, "seconds")) * time.Second)
	if len(s.sets) > 0 {
		i := rapid.IntRange(0, len(s.sets)-1).Draw(t, "which")
		n := int32(rapid.IntRange(-3, 5).Draw(t, "pods"))
		s.follow(i, max(n, -n))
		s.serve(i, n)
	}
	switch rapid.IntRange(0, 12).Draw(t, "edit") {
	case 0:
		image := rapid.SampledFrom([]string{"A", "B", "C"}).Draw(t, "image")
		s.edit(func(d *appsv1.Deployment) { d.Spec.Template = *template("web", "c", image) })
	case 1:
		n := int32(rapid.IntRange(0, 12).Draw(t, "size"))
		s.edit(func(d *appsv1.Deployment) { d.Spec.Replicas = &n })
	case 2:
		s.edit(func(d *appsv1.Deployment) { d.Spec.Paused = !d.Spec.Paused })
	case 3:
		s.edit(func(*appsv1.Deployment) { s.drawBounds(t) })
	}
}

// TestPlanProperties: pure, within bounds at every step, and, once nobody interferes and pods become available, at
// the goal within a bounded number of syncs and then at rest.
func TestPlanProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := drawSimulation(t)
		for range rapid.IntRange(0, 25).Draw(t, "moves") {
			s.sync(t)
			s.disturb(t)
		}
		s.edit(func(d *appsv1.Deployment) { d.Spec.Paused = false })
		s.finish(t)
	})
}

func (s *simulation) finish(t *rapid.T) {
	rounds := 60 + 6*int(replicasOf(s.d)) + 6*int(total(members(s.sets)))
	for range rounds {
		s.now = s.now.Add(time.Second)
		worked := s.sync(t)
		for i := range s.sets {
			worked = s.follow(i, 100) || worked
			worked = s.serve(i, 100) || worked
		}
		if worked {
			continue
		}
		r := Plan(s.input())
		if slices.Contains(r.Waits, ReasonSizeNoted) {
			return // where Kubernetes stands still, too
		}
		if !complete(s.d, s.d.Status) {
			t.Fatalf("at rest and not complete: %+v\n%s", s.d.Status, r)
		}
		if len(r.Actions) > 0 || !slices.Contains(r.Waits, ReasonComplete) {
			t.Fatalf("complete, and yet:\n%s", r)
		}
		if p := State(s.d, s.sets); p.Phase != PhaseComplete {
			t.Fatalf("complete, and yet %+v", p)
		}
		return
	}
	t.Fatalf("not at rest after %d rounds: %s", rounds, Plan(s.input()))
}

func members(sets []*appsv1.ReplicaSet) []*member {
	var list []*member
	for _, rs := range sets {
		list = append(list, &member{ReplicaSet: rs})
	}
	return list
}
