package cli

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/belay-dev/belay/cmd/belay/app"
)

// TestSecondSignalAborts stops a service while a client that says nothing keeps its stop waiting: the first signal is
// not enough at once, the second one ends the process. On a machine so busy that the stop ends first it is tried again.
func TestSecondSignalAborts(t *testing.T) {
	t.Parallel()
	for range 5 {
		if aborted(t, t.TempDir()) {
			return
		}
	}
	t.Error("the second signal does not end it")
}

// aborted sends two signals and reports whether the process ended by the second.
func aborted(t *testing.T, dir string) bool {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	belay := filepath.Join(dir, "belay")
	if err := os.Symlink(self, belay); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	cmd := exec.Command(belay, "serve", "--repo", dir, "--data-dir", data)
	cmd.Env = append(os.Environ(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var service app.Service
	for end := time.Now().Add(patience); ; <-tick.C {
		if service, err = app.ReadService(data); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(errors.Join(err, cmd.Process.Kill()))
		}
	}
	c, err := net.Dial("unix", service.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; <-tick.C { // the stop has begun when the announcement is withdrawn
		if _, err := app.ReadService(data); err != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the first signal is not taken")
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	return errors.As(cmd.Wait(), &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM
}
