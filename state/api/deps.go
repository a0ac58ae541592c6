//go:build deps

package api

// The module graph of k8s.io/kubernetes does not tidy when these are added later (its requirements name
// versions that are no modules), so they are required from the first commit on. The build tag keeps them
// out of the binary until the API server uses them.
import (
	_ "k8s.io/apiserver/pkg/server"
	_ "k8s.io/apiserver/pkg/server/options"
	_ "k8s.io/apiserver/pkg/storage/testing"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/authorization/install"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/generated/openapi"
	_ "k8s.io/kubernetes/pkg/printers/internalversion"
	_ "k8s.io/kubernetes/pkg/registry/apps/deployment/storage"
	_ "k8s.io/kubernetes/pkg/registry/apps/replicaset/storage"
	_ "k8s.io/kubernetes/pkg/registry/authorization/selfsubjectaccessreview"
	_ "k8s.io/kubernetes/pkg/registry/authorization/selfsubjectrulesreview"
	_ "k8s.io/kubernetes/pkg/registry/core/configmap/storage"
	_ "k8s.io/kubernetes/pkg/registry/core/event/storage"
	_ "k8s.io/kubernetes/pkg/registry/core/namespace/storage"
	_ "k8s.io/kubernetes/pkg/registry/core/pod"
	_ "k8s.io/kubernetes/pkg/registry/core/resourcequota/storage"
	_ "k8s.io/kubernetes/pkg/registry/core/secret/storage"
	_ "k8s.io/kubernetes/pkg/registry/core/service"
)
