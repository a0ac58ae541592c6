package app

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// startGrace is how long a service that was started just now may take until its process is seen in the data directory.
	startGrace = 500 * time.Millisecond
	// startPatience is how long the process that has the data directory may take until it answers.
	startPatience = 10 * time.Second
)

// AwaitService finds the service of a data directory as ReadService does, and waits, for a bounded time, for one that is just
// starting: `belay serve &` and a verb on the next line are one paste.
func AwaitService(ctx context.Context, dir string) (Service, error) {
	return awaitService(ctx, dir, startGrace, startPatience)
}

func awaitService(ctx context.Context, dir string, grace, patience time.Duration) (Service, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); ; {
		s, err := ReadService(dir)
		if err == nil && answers(s) {
			return s, nil
		}
		waited := time.Since(begun)
		if _, none := errors.AsType[*NotRunningError](err); err != nil && !none || waited > patience || waited > grace && !owned(dir) {
			return s, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return Service{}, ctx.Err()
		}
	}
}

// answers tells whether somebody takes connections where a service is announced: one that was killed still is.
func answers(s Service) bool {
	c, err := net.Dial("unix", s.Socket)
	return err == nil && c.Close() == nil
}

// owned tells whether the process that took the lock of a data directory last is another one and still there. It takes no lock
// itself: that would keep a service from starting.
func owned(dir string) bool {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if err != nil {
		return false
	}
	defer f.Close()
	pid := holder(f)
	if pid == 0 || pid == os.Getpid() {
		return false
	}
	err = syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
