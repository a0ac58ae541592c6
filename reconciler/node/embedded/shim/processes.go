//go:build linux

package shim

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// limitProcesses bounds how many processes and threads the user of this process may have, in the user namespace of the pod and so
// in the pod. 0: no more than before.
func limitProcesses(n int) error {
	if n <= 0 {
		return nil
	}
	var now unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NPROC, &now)
	if most := min(uint64(n), now.Max); err == nil {
		err = unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: most, Max: most})
	}
	if err != nil {
		return fmt.Errorf("limit processes: %w", err)
	}
	return nil
}

// ProbeProcesses tries, with a process of its own, whether Container.Processes holds on this machine; the error says why not.
func ProbeProcesses(binary string) error {
	cmd := exec.Cmd{Path: binary, Args: []string{"belay-shim", verbProcesses}, Env: []string{}, SysProcAttr: attributes()}
	text, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if text = bytes.TrimSpace(text); len(text) > 0 {
		return fmt.Errorf("%s", text[:min(len(text), maxReason)])
	}
	return fmt.Errorf("make namespaces: %w", err)
}

// probeProcesses makes a process beyond a limit. Meanwhile nothing else happens in this one, which then could go no further.
func probeProcesses() int {
	runtime.LockOSThread()
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &now); err != nil {
		return fail(err)
	}
	set := func(limit *unix.Rlimit) error {
		_, _, number := unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NPROC, uintptr(unsafe.Pointer(limit)), 0, 0, 0) //nolint:gosec // a system call
		if number != 0 {
			return number
		}
		return nil
	}
	one := unix.Rlimit{Cur: 1, Max: now.Max}
	if err := set(&one); err != nil {
		return fail(err)
	}
	pid, _, number := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if number == 0 && pid == 0 {
		for {
			_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	err := set(&now)
	switch {
	case err != nil:
		return fail(err)
	case number == 0:
		return fail(errors.New("the kernel does not hold this user to a number of processes"))
	case number != unix.EAGAIN:
		return fail(fmt.Errorf("make a process: %w", number))
	}
	return 0
}
