//go:build !linux

package app

import (
	"context"
	"errors"
	"net"

	"github.com/belay-dev/belay/reconciler/service"
	"github.com/belay-dev/belay/reconciler/service/network"
)

// reachSandboxes reaches none.
func reachSandboxes(string) network.Pods {
	return network.Pods{Dial: func(context.Context, service.Backend) (net.Conn, error) { return nil, errors.ErrUnsupported }}
}

// openEmbedded says that there is none.
func (a *App) openEmbedded(context.Context) (chosen, error) {
	return chosen{}, &hinted{errors.New("runtime embedded: it takes Linux"), "start a Docker engine, or choose --runtime simulated"}
}

// Embeddable says why the embedded runtime cannot run pods on this machine.
func Embeddable(string) error { return errors.New("it takes Linux") }
