package app

import (
	"maps"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

// intentKind is what a write to a managed Deployment means.
type intentKind string

const (
	intentNothing  intentKind = "nothing"  // nothing that is kept differs
	intentUndo     intentKind = "undo"     // back to a recorded revision, as kubectl rollout undo
	intentOverride intentKind = "override" // one field beside Git: restart, scale, pause, resume
	intentEdit     intentKind = "edit"     // other images, as kubectl set image
	intentAnnotate intentKind = "annotate" // notes that are never Git's
	intentRefused  intentKind = "refused"  // everything else belongs into Git
)

// intent is what somebody wants with a write, told by what it changes and not by who sends it.
type intent struct {
	kind     intentKind
	row      string // undo: ID of the row that is gone back to
	revision int64  // undo: its number, 0 when it has none
	commit   string // undo: of the row without a number
	field    string // override
	value    string
	notes    map[string]string // annotate: as they are to be; empty removes
}

// lastApplied is where kubectl apply keeps what it applied.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// intentOf tells what a write to a Deployment means. rows is its history, sets are its ReplicaSets. Pure.
func intentOf(before, after *appsv1.Deployment, rows []state.Row, sets []*appsv1.ReplicaSet) intent {
	b, a := bare(before), bare(after)
	switch {
	case apiequality.Semantic.DeepEqual(b, a):
		return intent{kind: intentNothing}
	case !rollout.Equal(&b.Spec.Template, &a.Spec.Template):
		return intentOfTemplate(b, a, rows, sets)
	}
	if in, ok := intentOfField(b, a); ok {
		return in
	}
	return intentOfNotes(b, a)
}

// bare is a Deployment without what the server and the controllers write.
func bare(d *appsv1.Deployment) *appsv1.Deployment {
	d = d.DeepCopy()
	d.TypeMeta, d.Status = metav1.TypeMeta{}, appsv1.DeploymentStatus{}
	d.ManagedFields, d.ResourceVersion, d.Generation = nil, "", 0
	return d
}

// same reports whether two Deployments are equal once what edit sets of the one is in the other.
func same(b, a *appsv1.Deployment, edit func(from, to *appsv1.Deployment)) bool {
	c := a.DeepCopy()
	edit(b, c)
	return apiequality.Semantic.DeepEqual(b, c)
}

// intentOfTemplate: a template that ran before is a rollback, one with another restartedAt a restart.
func intentOfTemplate(b, a *appsv1.Deployment, rows []state.Row, sets []*appsv1.ReplicaSet) intent {
	templateAndNotes := func(from, to *appsv1.Deployment) {
		to.Spec.Template, to.Annotations = *from.Spec.Template.DeepCopy(), from.Annotations
	}
	if !same(b, a, templateAndNotes) {
		return intent{kind: intentRefused}
	}
	if row, ok := recorded(rollout.Digest(&a.Spec.Template), b, rows); ok {
		if !undone(b, a, sets) {
			return intent{kind: intentRefused}
		}
		in := intent{kind: intentUndo, row: row.ID, revision: row.Revision}
		if row.Revision == 0 {
			in.commit = row.Commit
		}
		return in
	}
	if edited(b, a) {
		return intent{kind: intentEdit}
	}
	at := a.Spec.Template.Annotations[rollback.Restarted]
	if at == "" || rollback.Bare(&a.Spec.Template) != rollback.Bare(&b.Spec.Template) || !apiequality.Semantic.DeepEqual(a.Annotations, b.Annotations) {
		return intent{kind: intentRefused}
	}
	return intent{kind: intentOverride, field: rollback.FieldRestartedAt, value: at}
}

// recorded finds the newest row of the Deployment that has a template, and ran before or could.
func recorded(digest string, d *appsv1.Deployment, rows []state.Row) (state.Row, bool) {
	var found state.Row
	for _, r := range rows {
		if r.Template == digest && (r.UID == d.UID || r.UID == "") && r.Revision >= found.Revision {
			found = r
		}
	}
	return found, found.ID != ""
}

// undone reports whether the annotations are those that an undo to the template leaves: as they were, or the ones of the
// ReplicaSet, beside those that are never copied to one.
func undone(b, a *appsv1.Deployment, sets []*appsv1.ReplicaSet) bool {
	if maps.Equal(b.Annotations, a.Annotations) {
		return true
	}
	for _, rs := range sets {
		if !rollout.Equal(&rs.Spec.Template, &a.Spec.Template) {
			continue
		}
		want := map[string]string{}
		for k, v := range rs.Annotations {
			if !neverCopied(k) {
				want[k] = v
			}
		}
		for k, v := range b.Annotations {
			if neverCopied(k) {
				want[k] = v
			}
		}
		if maps.Equal(want, a.Annotations) {
			return true
		}
	}
	return false
}

// neverCopied reports whether an annotation stays where it is when a Deployment's go to a ReplicaSet or come back.
func neverCopied(key string) bool {
	switch key {
	case lastApplied, "deployment.kubernetes.io/revision", "deployment.kubernetes.io/revision-history",
		"deployment.kubernetes.io/desired-replicas", "deployment.kubernetes.io/max-replicas", "deprecated.deployment.rollback.to":
		return true
	}
	return false
}

// intentOfField: one of the fields that can be set beside Git, and nothing else.
func intentOfField(b, a *appsv1.Deployment) (intent, bool) {
	switch {
	case same(b, a, func(from, to *appsv1.Deployment) { to.Spec.Replicas = from.Spec.Replicas }):
		return intent{kind: intentOverride, field: rollback.FieldReplicas, value: strconv.Itoa(int(*a.Spec.Replicas))}, true
	case same(b, a, func(from, to *appsv1.Deployment) { to.Spec.Paused = from.Spec.Paused }):
		return intent{kind: intentOverride, field: rollback.FieldPaused, value: strconv.FormatBool(a.Spec.Paused)}, true
	}
	return intent{}, false
}

// intentOfNotes: the change-cause, and what kubectl apply remembers.
func intentOfNotes(b, a *appsv1.Deployment) intent {
	if !same(b, a, func(from, to *appsv1.Deployment) { to.Annotations = from.Annotations }) {
		return intent{kind: intentRefused}
	}
	notes := map[string]string{}
	for _, key := range []string{engine.ChangeCause, lastApplied} {
		if b.Annotations[key] != a.Annotations[key] {
			notes[key] = a.Annotations[key]
		}
	}
	same := func(m map[string]string) map[string]string {
		m = maps.Clone(m)
		delete(m, engine.ChangeCause)
		delete(m, lastApplied)
		return m
	}
	if !maps.Equal(same(b.Annotations), same(a.Annotations)) {
		return intent{kind: intentRefused}
	}
	return intent{kind: intentAnnotate, notes: notes}
}
