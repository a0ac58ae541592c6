package app

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestAwaitService: a verb waits for a service that is just starting, also behind the announcement of a killed one, and for
// none that is not there.
func TestAwaitService(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "belay-") //nolint:usetesting // its path is short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	none := func(what string) {
		t.Helper()
		_, err := awaitService(t.Context(), dir, 0, time.Hour)
		if _, ok := errors.AsType[*NotRunningError](err); !ok {
			t.Errorf("%s: %v", what, err)
		}
	}
	none("nobody was there")
	owner := exec.CommandContext(t.Context(), "cat")
	stdin, err := owner.StdinPipe()
	if err == nil {
		err = owner.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, lockFile), fmt.Appendln(nil, owner.Process.Pid), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeService(dir, Service{PID: 1, Socket: filepath.Join(dir, "of a killed one")}, nil); err != nil {
		t.Fatal(err)
	}
	found := make(chan Service, 1)
	go func() {
		s, err := awaitService(t.Context(), dir, 0, time.Hour)
		if err != nil {
			t.Error(err)
		}
		found <- s
	}()
	want := Service{PID: owner.Process.Pid, Socket: filepath.Join(dir, "s")}
	l, err := net.Listen("unix", want.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	select {
	case s := <-found:
		t.Fatalf("found before it was announced: %+v", s)
	default:
	}
	if err := writeService(dir, want, nil); err != nil {
		t.Fatal(err)
	}
	if got := <-found; got != want {
		t.Errorf("found %+v, want %+v", got, want)
	}
	if err := errors.Join(l.Close(), stdin.Close(), owner.Wait(), removeService(dir, nil)); err != nil {
		t.Fatal(err)
	}
	none("it ended")
}
