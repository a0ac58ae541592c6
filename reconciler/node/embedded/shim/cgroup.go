//go:build linux

package shim

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// join puts this process, and all that it starts, into control groups.
func join(dirs []string) error {
	for _, dir := range dirs {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil {
			return fmt.Errorf("join control group: %w", err)
		}
	}
	return nil
}

// killedForMemory reports whether the kernel killed a process of the groups because they were full.
func killedForMemory(dirs []string) bool {
	for _, dir := range dirs {
		for _, name := range []string{"memory.events", "memory.oom_control"} { // of version 2, and of version 1
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				continue // not a group that counts memory, or of the other version
			}
			for line := range bytes.Lines(text) {
				key, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte{' '})
				if n, err := strconv.Atoi(string(value)); err == nil && n > 0 && string(key) == "oom_kill" {
					return true
				}
			}
		}
	}
	return false
}
