//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/belay-dev/belay/reconciler/node"
)

// groups are the control groups that bound containers. Without any, nothing is bound.
type groups struct {
	unified   bool              // version 2: one directory for all controllers
	dirs      map[string]string // by controller: the directory below which groups are made
	processes int               // how many processes and threads a container may have
}

// groupName is the group of everything that runs here.
const groupName = "belay"

// controllers are those that bound something, in the order in which they are spoken of.
var controllers = []string{"memory", "cpu", "pids"}

// findGroups looks for what this process may use. Where the kernel has version 2 for these controllers, version 1 is not
// looked at.
func findGroups(processes int) groups {
	const top = "/sys/fs/cgroup"
	g := groups{dirs: map[string]string{}, processes: processes}
	if known, err := os.ReadFile(filepath.Join(top, "cgroup.controllers")); err == nil && strings.Contains(string(known), "memory") {
		g.unified = true
		g.enable(unifiedTop(top))
		return g
	}
	for _, c := range controllers {
		if dir := filepath.Join(top, c, groupName); usable(dir) {
			g.dirs[c] = dir
		}
	}
	return g
}

// unifiedTop is the group below which that of Belay is made: the machine's for root; else the one beside that of this
// process, which is the user's own where a session manager has handed a part of the tree over.
func unifiedTop(top string) string {
	if os.Geteuid() == 0 {
		return top
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return top
	}
	for line := range strings.Lines(string(own)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return filepath.Join(top, filepath.Dir(filepath.Clean("/"+name)))
		}
	}
	return top
}

// enable makes the group of Belay, and has the controllers that can be had count in the groups below it.
func (g groups) enable(top string) {
	dir := filepath.Join(top, groupName)
	for _, c := range controllers { // it may count there already, or be another's to say
		_ = os.WriteFile(filepath.Join(top, "cgroup.subtree_control"), []byte("+"+c), 0)
	}
	if !usable(dir) {
		return
	}
	for _, c := range controllers {
		if os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0) == nil {
			g.dirs[c] = dir
		}
	}
}

func usable(dir string) bool {
	err := os.Mkdir(dir, 0o755)
	return (err == nil || errors.Is(err, fs.ErrExist)) && unix.Access(dir, unix.W_OK) == nil
}

// bounded are the resources that can be, in order.
func (g groups) bounded() []string {
	return slices.DeleteFunc(slices.Clone(controllers), func(c string) bool { return g.dirs[c] == "" })
}

// setting is a file of a group and what is written to it; empty: nothing is.
type setting struct{ file, value string }

// settings are those of each controller, in the order in which the kernel takes them.
func (g groups) settings(r node.Resources) map[string][]setting {
	const period = 100_000 // microseconds
	quota := max(r.MilliCPU*period/1000, min(r.MilliCPU, 1)*1000)
	shares := max(r.MilliCPURequest*1024/1000, min(r.MilliCPURequest, 1)*2)
	processes := []setting{{"pids.max", strconv.Itoa(g.processes)}}
	if g.unified {
		weight := int64(0)
		if shares > 0 { // as container runtimes convert them
			weight = 1 + (min(shares, 262_144)-2)*9999/262_142
		}
		noSwap := ""
		if r.Memory > 0 {
			noSwap = "0"
		}
		return map[string][]setting{
			"memory": {{"memory.max", bound(r.Memory)}, {"memory.swap.max", noSwap}},
			"cpu":    {{"cpu.max", bound(quota)}, {"cpu.weight", bound(weight)}}, "pids": processes,
		}
	}
	return map[string][]setting{
		"memory": {{"memory.limit_in_bytes", bound(r.Memory)}, {"memory.memsw.limit_in_bytes", bound(r.Memory)}},
		"cpu":    {{"cpu.cfs_quota_us", bound(quota)}, {"cpu.shares", bound(shares)}}, "pids": processes,
	}
}

// make makes the groups of one run and returns the directories to join.
func (g groups) make(sandbox, run string, limits node.Resources) ([]string, error) {
	var dirs []string
	settings := g.settings(limits)
	for _, c := range g.bounded() {
		dir := filepath.Join(g.dirs[c], sandbox+"."+run)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make control group: %w", err)
		}
		for _, s := range settings[c] {
			if err := write(dir, s); err != nil {
				return nil, err
			}
		}
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}

// write sets a bound. One that the kernel does not have, as that of swap where it counts none, is none.
func write(dir string, s setting) error {
	if s.value == "" {
		return nil
	}
	err := os.WriteFile(filepath.Join(dir, s.file), []byte(s.value), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("set %s: %w", s.file, err)
	}
	return nil
}

func bound(n int64) string {
	if n <= 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// busyPause is between two tries to remove a group whose last process is just going.
const busyPause = 10 * time.Millisecond

// remove removes the groups of one run of a sandbox, or with "*" of all.
func (g groups) remove(ctx context.Context, sandbox, run string) error {
	for _, top := range g.dirs {
		found, err := filepath.Glob(filepath.Join(top, sandbox+"."+run))
		if err != nil {
			return err
		}
		for _, dir := range found {
			if err := removeGroup(ctx, dir); err != nil {
				return err
			}
		}
	}
	return nil
}

func removeGroup(ctx context.Context, dir string) error {
	for {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("remove control group: %w", err)
		}
		select {
		case <-time.After(busyPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
