package app

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/manifests/schema"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/embedded"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/node/kubelet"
	"github.com/belay-dev/belay/state"
)

// surveyBy finds what of objects an engine whose pods a runtime runs cannot honour.
func surveyBy(e reconciler.Engine, name Runtime, hostPaths []string) manifests.Survey {
	return manifests.Survey{
		By: fmt.Sprintf("%s %q", name, hostPaths),
		Of: func(o schema.Object) []manifests.Finding { return findings(e.Supports(o)) },
	}
}

// surveyOf finds what the runner of pods cannot honour.
func surveyOf(pods embedded.Pods) manifests.Survey {
	return manifests.Survey{Of: func(o schema.Object) []manifests.Finding { return findings(embedded.Unsupported(pods, o)) }}
}

func findings(found []engine.Unsupported) []manifests.Finding {
	var out []manifests.Finding
	for _, u := range found {
		out = append(out, manifests.Finding(u))
	}
	return out
}

// realPods are those of any runtime but the simulated one, on a machine whose configuration is not known: every path of it
// may be mounted.
type realPods struct{}

var _ embedded.Pods = realPods{}

func (realPods) Supports(spec *corev1.PodSpec) []engine.Unsupported {
	return kubelet.Supports(spec, []string{"/"})
}

// unhonoured says what of the pods of an object that is written past Git is not honoured, a line each: of what the write
// leaves as it is nothing is said.
func unhonoured(pods embedded.Pods, before, after state.Object) []string {
	said := map[engine.Unsupported]bool{}
	if before != nil {
		for _, u := range embedded.Unsupported(pods, before) {
			said[u] = true
		}
	}
	var out []string
	if after != nil {
		for _, u := range embedded.Unsupported(pods, after) {
			if !said[u] {
				out = append(out, u.Field+": "+u.Message)
			}
		}
	}
	return out
}
