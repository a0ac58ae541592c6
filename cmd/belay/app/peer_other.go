//go:build !linux

package app

import (
	"context"
	"net"
	"os"
	"os/user"
	"strconv"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// knowPeer takes whoever connects for the service's own user: the socket's mode keeps others out.
func knowPeer(ctx context.Context, _ net.Conn) context.Context {
	name := "uid " + strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return control.WithCaller(ctx, control.Caller{Name: name, Role: control.RoleEdit})
}
