//go:build linux

package shim

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// capabilityNames has the kernel's capabilities in the order of their numbers, without CAP_.
var capabilityNames = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
	LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
	SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE
	AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF
	CHECKPOINT_RESTORE`)

// DefaultCapabilities are what Docker leaves a container.
func DefaultCapabilities() []string {
	return strings.Fields(`CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT
		MKNOD AUDIT_WRITE SETFCAP`)
}

// AllCapabilities are what the kernel knows.
func AllCapabilities() []string { return append([]string(nil), capabilityNames...) }

// dropCapabilities takes every capability but those named out of the thread's bounding set. A program that is executed
// afterwards gets none beyond it, whoever its user is.
func dropCapabilities(keep []string) error {
	kept := map[string]bool{}
	for _, name := range keep {
		kept[strings.TrimPrefix(name, "CAP_")] = true
	}
	last, err := lastCapability()
	if err != nil {
		return err
	}
	for n := 0; n <= last; n++ {
		if n < len(capabilityNames) && kept[capabilityNames[n]] {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", n, err)
		}
	}
	return nil
}

// lastCapability is the greatest number that the kernel knows.
func lastCapability() (int, error) {
	text, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return 0, fmt.Errorf("read capabilities: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("read capabilities: %w", err)
	}
	return n, nil
}
