package cli

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// envClock names a file that says how far the clock of every belay is ahead.
const envClock = "BELAY_TEST_CLOCK"

// clock is the clock of this process; nil: the system's.
func clock() func() time.Time {
	file := os.Getenv(envClock)
	if file == "" {
		return nil
	}
	return func() time.Time { return time.Now().Add(ahead(file)) }
}

// ahead is how far a file sets the clock forward. It is never written in place, so that no part of it is read.
func ahead(file string) time.Duration {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		panic(err)
	}
	d, err := time.ParseDuration(string(text))
	if err != nil {
		panic(err)
	}
	return d
}

// forward sets the clock forward: what is due by then is seen at the next look.
func forward(ts *testscript.TestScript, _ bool, args []string) {
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	file := ts.Getenv(envClock)
	ts.Check(os.WriteFile(file+".next", []byte((ahead(file) + d).String()), 0o600))
	ts.Check(os.Rename(file+".next", file))
}
