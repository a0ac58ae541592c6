package kube

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/belay-dev/belay/cmd/belay/app"
	"github.com/belay-dev/belay/state"
	"github.com/belay-dev/belay/state/api"
)

var _ app.NewAPI = New

// New makes the Kubernetes API of a service.
func New(o app.APIOptions) (app.API, error) {
	return api.New(api.Options{
		Store: o.Store, Pods: o.Pods, Writer: refuser{o.Branch}, Listener: o.Listener, Dir: o.Dir, Paths: o.Paths, Now: o.Now, Log: o.Log,
	})
}

// refuser refuses every write to what Git manages, and says where it is written.
type refuser struct{ branch func(source string) string }

func (r refuser) Write(_ context.Context, w api.ManagedWrite) error {
	return apierrors.NewForbidden(resource(w.Managed.Key.Kind), w.Managed.Key.Name, fmt.Errorf("managed by git: %s", r.place(w.Managed)))
}

// place is where an object's manifest is: file, line, branch and commit.
func (r refuser) place(m state.Managed) string {
	file := m.File
	if m.Line > 0 {
		file = fmt.Sprintf("%s:%d", file, m.Line)
	}
	commit := m.Commit
	if len(commit) > 7 {
		commit = commit[:7]
	}
	return fmt.Sprintf("%s at %s@%s", file, r.branch(m.Source), commit)
}

// resource is how the API calls a kind that Git can manage.
func resource(kind state.Kind) schema.GroupResource {
	switch kind {
	case state.KindDeployment:
		return schema.GroupResource{Group: "apps", Resource: "deployments"}
	case state.KindReplicaSet:
		return schema.GroupResource{Group: "apps", Resource: "replicasets"}
	case state.KindService:
		return schema.GroupResource{Resource: "services"}
	case state.KindConfigMap:
		return schema.GroupResource{Resource: "configmaps"}
	case state.KindSecret:
		return schema.GroupResource{Resource: "secrets"}
	case state.KindNamespace:
		return schema.GroupResource{Resource: "namespaces"}
	case state.KindPod:
		return schema.GroupResource{Resource: "pods"}
	case state.KindEvent:
		return schema.GroupResource{Resource: "events"}
	case state.KindResourceQuota:
		return schema.GroupResource{Resource: "resourcequotas"}
	}
	return schema.GroupResource{Resource: string(kind)}
}
