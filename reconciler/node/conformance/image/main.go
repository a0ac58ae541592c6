// Command image is the program of the conformance suite's images. It owns the way from a process to package program, and
// never adds to what that does.
package main

import (
	"context"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/belay-dev/belay/reconciler/node/conformance/program"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	dir, err := os.Getwd()
	if err != nil {
		dir = "/"
	}
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) == "tar" { // kubectl cp asks for it
		args = append([]string{"tar"}, args...)
	}
	os.Exit(program.Run(ctx, program.Process{
		Args: args, Env: os.Environ(), Dir: dir, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Size: func() (rows, columns int, ok bool) {
			size, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ)
			if err != nil {
				return 0, 0, false
			}
			return int(size.Row), int(size.Col), true
		},
		Listen: func(port string) (net.Listener, error) {
			var c net.ListenConfig
			return c.Listen(ctx, "tcp", ":"+port)
		},
	}))
}
