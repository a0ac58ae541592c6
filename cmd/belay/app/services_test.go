package app

import (
	"context"
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/service/network"
)

type plainRunner struct{ node.PodRunner }

type livelyRunner struct {
	node.PodRunner
	ran bool
}

func (r *livelyRunner) Run(context.Context, func(types.NamespacedName)) { r.ran = true }

// TestDrainingKeepsALivelyRunnerLively: nothing else would bring news of its pods.
func TestDrainingKeepsALivelyRunnerLively(t *testing.T) {
	t.Parallel()
	door := network.New(nil, nil)
	inner := &livelyRunner{}
	lively, ok := newDraining(inner, door).(node.Lively)
	if !ok {
		t.Fatal("it is not lively any more")
	}
	if lively.Run(t.Context(), nil); !inner.ran {
		t.Error("the runner was not run")
	}
	if _, ok := newDraining(plainRunner{}, door).(node.Lively); ok {
		t.Error("a plain runner became lively")
	}
}

// Who collides with another service is told so, and not to become root.
func TestRangeHint(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"listen udp 10.96.0.1:53: bind: address already in use":                "another service on this machine has 10.96.0.0/16: ",
		"make 10.96.0.0/16 addresses of this machine: operation not permitted": "run belay as root, or ",
	} {
		if got := rangeHint(errors.New(text), "10.96.0.0/16"); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q…", text, got, want)
		}
	}
}
