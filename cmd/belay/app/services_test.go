package app

import (
	"context"
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
