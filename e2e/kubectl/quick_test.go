package kubectl

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// quick runs the tests with programs that start quickly. The race detector watches the services; a client that it watches
// takes ten times as long to start as to do its work, and there are many hundreds of them.
type quick struct{ *testing.M }

// binariesVariable names a directory with all that is built elsewhere, to a run by a user who cannot build it.
const binariesVariable = "BELAY_TEST_BINARIES"

// service is the path of belay as a test starts a service with it.
var service string

// Run puts this binary without the race detector before the one with it on the path, for all but services.
func (q quick) Run() int {
	var err error
	_, noGo := exec.LookPath("go") // then they are slow, and do the same
	if service, err = exec.LookPath("belay"); err == nil && raced && noGo == nil {
		var dir string
		if dir, err = os.MkdirTemp("", "quick"); err == nil {
			defer func() { _ = os.RemoveAll(dir) }() // it is among the temporary files
			err = clients(dir)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return q.M.Run()
}

// clients builds the programs into a directory. Nothing else runs yet.
func clients(dir string) error {
	twin := filepath.Join(dir, "twin", "belay")
	if binaries := os.Getenv(binariesVariable); binaries != "" {
		twin = filepath.Join(binaries, "twin", "belay")
	} else if out, err := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", twin, ".").CombinedOutput(); err != nil {
		return fmt.Errorf("build the clients: %w\n%s", err, out)
	}
	script := "#!/bin/sh\ncase $1 in serve|demo) exec '" + service + "' \"$@\" ;; esac\nexec '" + twin + "' \"$@\"\n"
	return errors.Join(
		os.Symlink(twin, filepath.Join(dir, "kubectl")),
		os.WriteFile(filepath.Join(dir, "belay"), []byte(script), 0o755),
		os.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH")),
	)
}
