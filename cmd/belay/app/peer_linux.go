package app

import (
	"context"
	"net"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// knowPeer tells who is at the other end of a unix socket, as the kernel has it. Whoever can connect may do
// everything: the socket's mode keeps others out.
func knowPeer(ctx context.Context, c net.Conn) context.Context {
	socket, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return ctx
	}
	var who *unix.Ucred
	if raw.Control(func(fd uintptr) { who, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }) != nil || err != nil {
		return ctx
	}
	return control.WithCaller(ctx, control.Caller{Name: userName(who.Uid), Role: control.RoleEdit})
}

// userName is the name of a user of this system, or the number of one that has none.
func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "uid " + id
}
