//go:build linux

package shim

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// probes is how the directories begin in which is tried whether pods can run.
const probes = "probe-"

// ClearProbes removes what tries of a process that was killed have left in dir, while nobody tries.
func ClearProbes(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), probes) {
			// The kernel's own directory in it lets nobody in.
			_ = os.Chmod(filepath.Join(dir, e.Name(), "work", "work"), 0o700) //nolint:gosec // it is about to be removed
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// Probe tries, with a process of its own, whether pods can run on this machine, with all that a container needs; the
// error says what is missing. dir is where pods are to lie, groups are control groups that the process is to join.
func Probe(binary, dir string, groups []string) error {
	scratch, err := os.MkdirTemp(dir, probes)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	defer func() { _ = os.RemoveAll(scratch) }() // only directories that nobody else knows; ClearProbes has the rest
	args := append([]string{"belay-shim", verbProbe, scratch}, groups...)
	cmd := exec.Cmd{Path: binary, Args: args, Env: []string{}, SysProcAttr: attributes()}
	text, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if text = bytes.TrimSpace(text); len(text) > 0 {
		return fmt.Errorf("%s", text[:min(len(text), maxReason)])
	}
	return fmt.Errorf("make namespaces: %w", err)
}

func probe() int {
	if len(os.Args) < 3 {
		return fail(errors.New("probe: a directory expected"))
	}
	for _, try := range []func() error{
		func() error { return join(os.Args[3:]) },
		ownProc, networkUp,
		func() error { return unix.Sethostname([]byte("probe")) },
		func() error {
			c := Container{Rootfs: filepath.Join(os.Args[2], "lower"), Scratch: os.Args[2]}
			if err := os.Mkdir(c.Rootfs, 0o755); err != nil {
				return err
			}
			return c.enter()
		},
	} {
		if err := try(); err != nil {
			return fail(err)
		}
	}
	return 0
}
