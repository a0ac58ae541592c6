package garbage

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/state"
)

// Standing says what is known of one owner of an object.
type Standing string

// The standings of an owner.
const (
	Alive   Standing = "Alive"
	Gone    Standing = "Gone"    // no object of that kind, name and uid
	Waiting Standing = "Waiting" // being deleted, and waits for what it owns
	Unknown Standing = "Unknown" // of a kind that is not kept; taken for alive
)

// Input is what a plan for one object depends on.
type Input struct {
	Object state.Object
	// Owners has the standing of each owner reference of Object, in their order.
	Owners []Standing
	// Dependents are the objects with an owner reference to Object.
	Dependents []state.Object
}

// Reason says why something is done, or not.
type Reason string

// The reasons of a plan.
const (
	NoOwner          Reason = "NoOwner"
	OwnerAlive       Reason = "OwnerAlive"
	OwnerPartlyGone  Reason = "OwnerPartlyGone"  // an owner is alive: only the references to the others go
	OwnersGone       Reason = "OwnersGone"       // deleted
	OwnerWaits       Reason = "OwnerWaits"       // deleted, because its owner waits for that
	BeingDeleted     Reason = "BeingDeleted"     // nothing more to do for it here
	DependentsRemain Reason = "DependentsRemain" // a foreground deletion that has to wait
	DependentsGone   Reason = "DependentsGone"   // a foreground deletion that can end
	Orphaned         Reason = "Orphaned"         // its dependents are let go
)

// Verb says what an action does.
type Verb string

// The verbs of actions.
const (
	Delete        Verb = "Delete"
	AddFinalizer  Verb = "AddFinalizer"
	DropFinalizer Verb = "DropFinalizer"
	DropOwners    Verb = "DropOwners"
)

// Action is one write to one object.
type Action struct {
	Verb      Verb
	Object    state.Object
	Finalizer string      // of AddFinalizer and DropFinalizer
	Owners    []types.UID // of DropOwners: the references to take away
}

// Result is what to do for an object: all actions in one transaction, or none.
type Result struct {
	Reason  Reason
	Actions []Action
}

// Plan decides what becomes of one object, given its owners and what it owns. It keeps to Kubernetes' garbage
// collector: an object goes when its last owner is gone; one that is being deleted in the foreground waits until
// every dependent that blocks it is gone; one that is being deleted as an orphan-maker first lets its dependents go.
func Plan(in Input) Result {
	o := in.Object
	if o.GetDeletionTimestamp() != nil {
		return planDeleting(in)
	}
	refs := o.GetOwnerReferences()
	if len(refs) == 0 {
		return Result{Reason: NoOwner}
	}
	var lost []types.UID
	alive, waiting := false, false
	for i, standing := range in.Owners {
		switch standing {
		case Alive, Unknown:
			alive = true
		case Waiting:
			waiting = true
			lost = append(lost, refs[i].UID)
		case Gone:
			lost = append(lost, refs[i].UID)
		}
	}
	switch {
	case alive && len(lost) == 0:
		return Result{Reason: OwnerAlive}
	case alive:
		return Result{Reason: OwnerPartlyGone, Actions: []Action{{Verb: DropOwners, Object: o, Owners: lost}}}
	case waiting:
		return Result{Reason: OwnerWaits, Actions: deleteWaited(in)}
	default:
		return Result{Reason: OwnersGone, Actions: []Action{{Verb: Delete, Object: o}}}
	}
}

// deleteWaited hands the waiting on: the owner waits until the object is gone, so the object has to wait until what
// it owns is.
func deleteWaited(in Input) []Action {
	deletion := Action{Verb: Delete, Object: in.Object}
	finalizers := in.Object.GetFinalizers()
	if len(in.Dependents) == 0 || slices.Contains(finalizers, metav1.FinalizerDeleteDependents) ||
		slices.Contains(finalizers, metav1.FinalizerOrphanDependents) {
		return []Action{deletion}
	}
	return []Action{{Verb: AddFinalizer, Object: in.Object, Finalizer: metav1.FinalizerDeleteDependents}, deletion}
}

func planDeleting(in Input) Result {
	o := in.Object
	switch {
	case slices.Contains(o.GetFinalizers(), metav1.FinalizerOrphanDependents):
		var actions []Action
		for _, dependent := range in.Dependents {
			actions = append(actions, Action{Verb: DropOwners, Object: dependent, Owners: []types.UID{o.GetUID()}})
		}
		actions = append(actions, Action{Verb: DropFinalizer, Object: o, Finalizer: metav1.FinalizerOrphanDependents})
		return Result{Reason: Orphaned, Actions: actions}
	case slices.Contains(o.GetFinalizers(), metav1.FinalizerDeleteDependents):
		for _, dependent := range in.Dependents {
			if blocks(dependent, o.GetUID()) {
				return Result{Reason: DependentsRemain}
			}
		}
		return Result{Reason: DependentsGone, Actions: []Action{
			{Verb: DropFinalizer, Object: o, Finalizer: metav1.FinalizerDeleteDependents}}}
	default:
		return Result{Reason: BeingDeleted}
	}
}

// blocks says whether owner, deleted in the foreground, waits for the dependent.
func blocks(dependent state.Object, owner types.UID) bool {
	return slices.ContainsFunc(dependent.GetOwnerReferences(), func(ref metav1.OwnerReference) bool {
		return ref.UID == owner && ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion
	})
}

// waits says whether an object is being deleted in the foreground.
func waits(o state.Object) bool {
	return o.GetDeletionTimestamp() != nil && slices.Contains(o.GetFinalizers(), metav1.FinalizerDeleteDependents)
}
