package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

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

// writer refuses what belongs into Git.
type writer struct {
	branch func(source string) string
}

// Write sees to a write of a managed object. An error refuses it, and is one of the Kubernetes API.
func (w *writer) Write(_ context.Context, m ManagedWrite) (warnings []string, err error) {
	return nil, w.refuse(m, "")
}

// refuse says that an object is Git's, and where its manifest is.
func (w *writer) refuse(m ManagedWrite, why string) error {
	where := m.Managed
	file := where.File
	if where.Line > 0 {
		file = fmt.Sprintf("%s:%d", file, where.Line)
	}
	text := fmt.Sprintf("managed by git: %s at %s@%s", file, w.branch(where.Source), where.Commit[:min(7, len(where.Commit))])
	if why != "" {
		text += ": " + why
	}
	return apierrors.NewForbidden(resourceOf(where.Key.Kind), where.Key.Name, errors.New(text))
}

// resources are how the API calls the kinds that it serves.
var resources = map[state.Kind]schema.GroupResource{
	state.KindDeployment: {Group: "apps", Resource: "deployments"}, state.KindReplicaSet: {Group: "apps", Resource: "replicasets"},
	state.KindService: {Resource: "services"}, state.KindConfigMap: {Resource: "configmaps"}, state.KindSecret: {Resource: "secrets"},
	state.KindNamespace: {Resource: "namespaces"}, state.KindPod: {Resource: "pods"}, state.KindEvent: {Resource: "events"},
	state.KindResourceQuota: {Resource: "resourcequotas"},
}

func resourceOf(kind state.Kind) schema.GroupResource {
	r := resources[kind]
	r.Resource = cmp.Or(r.Resource, string(kind))
	return r
}
