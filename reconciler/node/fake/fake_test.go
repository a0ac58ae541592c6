package fake_test

import (
	"errors"
	"testing"
	"time"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/conformance"
	"github.com/belay-dev/belay/reconciler/node/conformance/program"
	"github.com/belay-dev/belay/reconciler/node/fake"
	"github.com/belay-dev/belay/reconciler/node/image"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, func(*testing.T) conformance.World {
		e := fake.NewEngine(time.Now)
		e.Serve("app", program.Run, true)
		e.Serve("served", program.Run, false)
		e.Serve("guarded", program.Run, false)
		key := node.Credential{Username: "belay", Password: "right"}
		e.Guard("guarded", key)
		e.Refuse("down", &image.PullError{Class: image.Network, Err: errors.New("connection refused")})
		return conformance.World{
			Open: func(*testing.T) node.Runtime { return e.Runtime() },
			App:  "app", Served: "served", Guarded: "guarded", Missing: "missing", Down: "down", Credential: key,
			NoTerminal:  "its containers are functions of this process",
			Kill:        func(_ *testing.T, id string) { e.KillRun(id) },
			KillSandbox: func(_ *testing.T, id string) { e.KillSandbox(id) },
		}
	})
}
