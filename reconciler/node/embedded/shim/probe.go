//go:build linux

package shim

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Probe tries, with a process of its own, whether pods can run on this machine, with all that a container needs; the
// error says what is missing. dir is where pods are to lie, groups are control groups that the process is to join.
func Probe(binary, dir string, groups []string) error {
	scratch, err := os.MkdirTemp(dir, "probe-")
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	defer func() { _ = os.RemoveAll(scratch) }() // only directories that nobody else knows
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
