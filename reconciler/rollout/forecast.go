package rollout

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// maxForecast bounds the syncs of a forecast; a rollout that can end takes a few per replica.
const maxForecast = 100_000

// Step is one change of size in a forecast, with the pods ready and asked for just after it.
type Step struct {
	Number             int
	ReplicaSet         string
	From, To           int32
	OldReady, OldTotal int32
	NewReady, NewTotal int32
}

// String prints `1. scale up web-6b7 0 → 1   (old 3/3, new 0/1)`: ready of all pods asked for.
func (s Step) String() string {
	return fmt.Sprintf("%d. %s %s %d → %d   (old %d/%d, new %d/%d)", s.Number, direction(s.From, s.To), s.ReplicaSet,
		s.From, s.To, s.OldReady, s.OldTotal, s.NewReady, s.NewTotal)
}

// Forecast returns the steps in which the rollout of d would go, by Plan on a made-up world in which every pod of the
// new ReplicaSet becomes ready, one of an old ReplicaSet if all it has now are, and every removed one is gone at once. d is the Deployment as it would be written: its identity and
// status are those of the stored one. The inputs are not edited. A paused Deployment is shown as if it were resumed.
// No steps: nothing would change its size.
func Forecast(d *appsv1.Deployment, replicaSets []*appsv1.ReplicaSet) []Step {
	f := forecast{d: d.DeepCopy(), healthy: map[types.UID]bool{}, now: d.CreationTimestamp.Add(time.Hour)}
	for _, rs := range replicaSets {
		if metav1.IsControlledBy(rs, d) {
			f.sets = append(f.sets, rs.DeepCopy())
			f.healthy[rs.UID] = rs.Status.Replicas > 0 && rs.Status.AvailableReplicas == rs.Status.Replicas
		}
		f.now = later(f.now, rs.CreationTimestamp.Time)
	}
	for _, c := range d.Status.Conditions {
		f.now = later(f.now, c.LastUpdateTime.Time)
	}
	f.d.Spec.Paused = false
	f.d.Generation++
	for range maxForecast {
		switch {
		case f.sync():
		case f.fillUp():
		case f.becomeReady():
		default:
			return f.steps
		}
	}
	return f.steps
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// forecast is a world of one Deployment in which only sizes and counters exist.
type forecast struct {
	d       *appsv1.Deployment
	sets    []*appsv1.ReplicaSet
	healthy map[types.UID]bool // all pods of the ReplicaSet were available at the start
	now     time.Time
	made    int
	steps   []Step
}

// sync does one Plan and reports whether it changed anything.
func (f *forecast) sync() bool {
	r := Plan(Input{Deployment: f.d, ReplicaSets: f.sets, Now: f.now})
	for _, a := range r.Actions {
		switch a.Kind {
		case Create:
			f.made++
			rs := a.ReplicaSet
			rs.UID = types.UID(fmt.Sprintf("forecast-%d", f.made))
			rs.Generation = 1
			f.now = f.now.Add(time.Second)
			rs.CreationTimestamp = metav1.NewTime(f.now)
			f.sets = append(f.sets, rs)
			if a.To > 0 {
				f.step(a)
			}
		case Scale:
			if a.From != a.To {
				f.step(a)
			}
			f.resize(a)
		case Adopt, Annotate:
			f.replace(a.ReplicaSet)
		case Release, Delete:
			f.remove(a.ReplicaSet.UID)
		case SetTemplate, WriteStatus:
			f.d = a.Deployment
		case Emit:
		}
	}
	return len(r.Actions) > 0
}

// step records a. Actions of one sync share their ReplicaSets, so sizes come from the world as it was and from a.
func (f *forecast) step(a Action) {
	s := Step{Number: len(f.steps) + 1, ReplicaSet: a.ReplicaSet.Name, From: a.From, To: a.To}
	current := currentOf(f.d, f.sets)
	for _, rs := range f.sets {
		size := sizeOf(rs)
		if rs.UID == a.ReplicaSet.UID {
			size = a.To
		}
		ready := min(size, rs.Status.ReadyReplicas)
		if rs == current {
			s.NewReady, s.NewTotal = ready, size
			continue
		}
		s.OldReady, s.OldTotal = s.OldReady+ready, s.OldTotal+size
	}
	f.steps = append(f.steps, s)
}

func (f *forecast) replace(rs *appsv1.ReplicaSet) {
	for i := range f.sets {
		if f.sets[i].UID == rs.UID {
			f.sets[i] = rs
		}
	}
}

// resize gives the world a's size only: a.ReplicaSet may be two sizes ahead.
func (f *forecast) resize(a Action) {
	rs, size := *a.ReplicaSet, a.To
	rs.Spec.Replicas = &size
	f.replace(&rs)
}

func (f *forecast) remove(uid types.UID) {
	for i := range f.sets {
		if f.sets[i].UID == uid {
			f.sets = append(f.sets[:i], f.sets[i+1:]...)
			return
		}
	}
}

// fillUp gives every ReplicaSet as many pods as it asks for; pods that are not ready go first.
func (f *forecast) fillUp() bool {
	changed := false
	for i, before := range f.sets {
		size := sizeOf(before)
		if before.Status.Replicas == size && before.Status.ObservedGeneration >= before.Generation {
			continue
		}
		rs := *before
		rs.Status.Replicas = size
		rs.Status.ReadyReplicas = min(size, before.Status.ReadyReplicas)
		rs.Status.AvailableReplicas = min(size, before.Status.AvailableReplicas)
		rs.Status.ObservedGeneration = rs.Generation
		rs.Status.TerminatingReplicas = nil
		f.sets[i], changed = &rs, true
	}
	return changed
}

// becomeReady makes every pod ready and available of which that is expected, and time pass.
func (f *forecast) becomeReady() bool {
	current := currentOf(f.d, f.sets)
	changed := false
	for i, before := range f.sets {
		if before != current && !f.healthy[before.UID] || before.Status.AvailableReplicas == before.Status.Replicas {
			continue
		}
		rs := *before
		rs.Status.ReadyReplicas, rs.Status.AvailableReplicas = rs.Status.Replicas, rs.Status.Replicas
		f.sets[i], changed = &rs, true
	}
	if changed {
		f.now = f.now.Add(time.Second)
	}
	return changed
}
