package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"unicode"

	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// ManagedWrite is a request over the Kubernetes API to change what Git manages.
type ManagedWrite struct {
	Managed  state.Managed
	Caller   Caller
	AuditID  string
	DryRun   bool
	Old, New state.Object // nil: there is none, or none is to be left
}

// writer obeys what people do beside Git with stock kubectl, and refuses what belongs into Git.
type writer struct {
	store  *state.Store
	loop   *reconciler.Loop
	branch func(source string) string
	writes func() Writes
	log    zerolog.Logger
}

// Write sees to a write of a managed object. What it does is durable when it returns. An error refuses the write, and is
// one of the Kubernetes API.
func (w *writer) Write(ctx context.Context, m ManagedWrite) (warnings []string, err error) {
	before, isDeployment := m.Old.(*appsv1.Deployment)
	after, asked := m.New.(*appsv1.Deployment)
	if !isDeployment || !asked {
		return nil, w.refuse(m, "")
	}
	key := m.Managed.Key
	in := intentOf(before, after, w.store.Rows(key.Namespace, key.Name), state.OwnedBy[*appsv1.ReplicaSet](w.store, before.UID))
	if in.kind != intentUndo && in.kind != intentNothing && !m.Caller.May(control.RoleEdit) {
		return nil, w.refuse(m, "the role rollback may go back to stable revisions, and nothing else")
	}
	id := "" // of a rollback
	switch in.kind {
	case intentNothing:
		return nil, nil
	case intentUndo:
		id, warnings, err = w.undo(ctx, m, in)
	case intentOverride:
		err = w.override(ctx, m, in)
	case intentEdit:
		warnings, err = w.edit(ctx, m)
	case intentAnnotate:
		err = w.annotate(ctx, m, in)
	case intentRefused:
		return nil, w.refuse(m, "")
	}
	if err == nil && !m.DryRun {
		line := w.log.Info().Str("user", m.Caller.Name).Str("audit", m.AuditID).Stringer("object", key).Str("intent", string(in.kind))
		if id != "" {
			line = line.Str("rollback", id)
		}
		line.Msg("obeyed")
	}
	return warnings, w.status(m, err)
}

// undo goes back, as kubectl rollout undo asks, and returns the ID of the rollback.
func (w *writer) undo(ctx context.Context, m ManagedWrite, in intent) (id string, warnings []string, err error) {
	key := m.Managed.Key
	do := w.loop.Rollback
	if m.DryRun {
		do = w.loop.PreviewRollback
	}
	res, err := do(ctx, rollback.Request{
		Namespace: key.Namespace, Name: key.Name, ToRevision: in.revision, ToCommit: in.commit, By: m.Caller.Name, Door: rollback.DoorUndo,
		StableOnly: !m.Caller.May(control.RoleEdit),
	})
	if err != nil {
		return "", nil, err
	}
	warnings = slices.Clone(res.Warnings)
	if res.NotDurable != "" {
		warnings = append(warnings, res.NotDurable)
	}
	for _, name := range res.Changed {
		warnings = append(warnings, name+" changed since that revision ran, and stays as it is")
	}
	if !res.Skipped && res.Hold.ID != "" {
		warnings = append(warnings, fmt.Sprintf("git still wants something else: held until it agrees, or until belay release deploy/%s -n %s", key.Name, key.Namespace))
	}
	return res.ID, warnings, nil
}

// override sets one field beside Git.
func (w *writer) override(ctx context.Context, m ManagedWrite, in intent) error {
	if m.DryRun {
		return nil
	}
	key := m.Managed.Key
	_, err := w.loop.Override(ctx, rollback.OverrideRequest{
		Namespace: key.Namespace, Name: key.Name, Field: in.field, Value: in.value, By: m.Caller.Name,
	})
	return err
}

// maxNote bounds the change-cause of a revision that is given afterwards.
const maxNote = 4096

// annotate notes what is never Git's.
func (w *writer) annotate(ctx context.Context, m ManagedWrite, in intent) error {
	for key, text := range in.notes {
		if key != lastApplied && (len(text) > maxNote || slices.ContainsFunc([]rune(text), unicode.IsControl)) {
			return &rollback.Refusal{Reason: rollback.InvalidValue, Message: fmt.Sprintf("%s is one line of at most %d bytes", key, maxNote)}
		}
	}
	if m.DryRun {
		return nil
	}
	return w.loop.Note(ctx, m.Managed.Key.Namespace, m.Managed.Key.Name, in.notes)
}

// refuse says that an object is Git's, and where its manifest is.
func (w *writer) refuse(m ManagedWrite, why string) error {
	text := "managed by git: " + w.where(m)
	if why != "" {
		text += ": " + why
	}
	return apierrors.NewForbidden(resourceOf(m.Managed.Key.Kind), m.Managed.Key.Name, errors.New(text))
}

// where is the place of an object's manifest: its file with the line, its branch and commit.
func (w *writer) where(m ManagedWrite) string {
	file := m.Managed.File
	if m.Managed.Line > 0 {
		file = fmt.Sprintf("%s:%d", file, m.Managed.Line)
	}
	return fmt.Sprintf("%s at %s@%s", file, w.branch(m.Managed.Source), m.Managed.Commit[:min(7, len(m.Managed.Commit))])
}

// status makes an error one of the Kubernetes API. A conflict is none: it would be tried again and again.
func (w *writer) status(m ManagedWrite, err error) error {
	if err == nil || errors.As(err, new(apierrors.APIStatus)) {
		return err
	}
	if errors.Is(err, state.ErrDisk) || errors.Is(err, state.ErrClosed) || errors.Is(err, context.Canceled) {
		return apierrors.NewServiceUnavailable(err.Error())
	}
	r, ok := errors.AsType[*rollback.Refusal](err)
	if !ok {
		return apierrors.NewInternalError(err)
	}
	text := r.Message
	if r.HintText != "" {
		text += ": " + r.HintText
	}
	if r.Reason == rollback.InvalidValue {
		return apierrors.NewBadRequest(text)
	}
	return apierrors.NewForbidden(resourceOf(m.Managed.Key.Kind), m.Managed.Key.Name, errors.New(text))
}

// resources are how the API calls the kinds whose resource is not simply their lower-case plural in the core group.
var resources = map[state.Kind]schema.GroupResource{
	state.KindDeployment: {Group: "apps", Resource: "deployments"}, state.KindReplicaSet: {Group: "apps", Resource: "replicasets"},
	state.KindService: {Resource: "services"}, state.KindConfigMap: {Resource: "configmaps"}, state.KindSecret: {Resource: "secrets"},
	state.KindNamespace: {Resource: "namespaces"}, state.KindPod: {Resource: "pods"}, state.KindEvent: {Resource: "events"},
	state.KindResourceQuota: {Resource: "resourcequotas"}, state.KindEndpoints: {Resource: "endpoints"},
	state.KindHorizontalPodAutoscaler: {Group: "autoscaling", Resource: "horizontalpodautoscalers"},
	state.KindEndpointSlice:           {Group: "discovery.k8s.io", Resource: "endpointslices"},
}

func resourceOf(kind state.Kind) schema.GroupResource {
	r := resources[kind]
	r.Resource = cmp.Or(r.Resource, string(kind))
	return r
}
