package engine

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/state"
)

// Key names one live object.
type Key = state.Key

// Phase says where the rollout of a Deployment's present pod template stands.
type Phase string

const (
	// PhaseNone: the object is no Deployment, or there is none.
	PhaseNone Phase = ""
	// PhasePending: the Deployment's controller has not observed the present spec yet.
	PhasePending Phase = "Pending"
	// PhaseProgressing: the rollout is under way.
	PhaseProgressing Phase = "Progressing"
	// PhaseComplete: every replica runs the present template and is available.
	PhaseComplete Phase = "Complete"
	// PhaseFailed: the progress deadline passed, or no ReplicaSet can be made.
	PhaseFailed Phase = "Failed"
	// PhasePaused: the Deployment is paused before its rollout ended.
	PhasePaused Phase = "Paused"
)

// Rollout is what an engine reports of a Deployment's present pod template.
type Rollout struct {
	Phase      Phase
	Reason     string // of the Progressing condition
	Message    string
	Waits      string // why a pod of the present template does not start or is not ready; empty: none says so
	Template   string // digest of the live pod template, as rollout.Digest gives it
	Revision   int64  // of the ReplicaSet that runs the template; 0 while there is none
	ReplicaSet string
}

// Live is what runs under one key. Object is nil when nothing does; it is shared and never to be modified.
type Live struct {
	Object  state.Object
	Rollout Rollout
	// Asked is the ReplicaSet whose pods say what a Deployment's rollout waits for; empty: none are asked.
	Asked types.UID
	// Serving are the names of a Deployment's ReplicaSets of which a pod is available now, sorted.
	Serving []string
	// Digests are what the images of a Deployment's containers are on the pods of its complete rollout, in their order:
	// empty where a pod does not say; nil when none does, or the rollout is not complete.
	Digests []string
}

// Deployment returns the live Deployment, or nil.
func (l Live) Deployment() *appsv1.Deployment {
	d, _ := l.Object.(*appsv1.Deployment)
	return d
}

// Change is one idempotent change of one live object, with the ledger writes that record it. An engine makes the
// ledger writes durable no later than the change itself.
type Change struct {
	Key Key
	// Desired is the object as Git wants it; nil deletes the live one.
	Desired state.Object
	// Template hands Desired's pod template to the rollout. Without it the live Deployment keeps its template and
	// the annotations that name the template's commit, and only the rest of the spec is applied.
	Template bool
	// KeepReplicas leaves the live scale alone: the manifest does not name one.
	KeepReplicas bool
	// Held sets, or takes away, the condition of a held Deployment; nil leaves it alone. One that is created gets none.
	Held *Held
	// Notes are annotations of what runs, to be set, or with an empty value taken away.
	Notes map[string]string
	// Ledger is recorded in the same transaction where the engine has one, before the change otherwise.
	Ledger []state.Write
}

// Unsupported is one thing of an object that an engine cannot honour.
type Unsupported struct {
	Field   string // path, as validation errors write it
	Message string
}
