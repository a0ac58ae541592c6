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

// make makes the groups of one run and returns the directories to join.
func (g groups) make(sandbox, run string, limits node.Resources) ([]string, error) {
	var dirs []string
	all := settings(g.unified, g.processes, limits)
	for _, c := range g.bounded() {
		dir := filepath.Join(g.dirs[c], sandbox+"."+run)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make control group: %w", err)
		}
		for _, s := range all[c] {
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

// write sets a bound.
func write(dir string, s setting) error {
	if s.value == "" {
		return nil
	}
	err := os.WriteFile(filepath.Join(dir, s.file), []byte(s.value), 0)
	if err != nil && (!s.spare || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission)) {
		return fmt.Errorf("set %s: %w", s.file, err)
	}
	return nil
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

// probed begins the names of groups in which is tried whether there can be any.
const probed = "probe-"

// probe makes groups with all bounds, and removes those that processes which were killed have left. release removes them.
func (g groups) probe(ctx context.Context) (dirs []string, release func() error, err error) {
	id, err := newID(nil)
	if err != nil {
		return nil, nil, err
	}
	lock, err := g.alone(ctx)
	if err != nil {
		return nil, nil, err
	}
	release = func() error { return errors.Join(g.remove(ctx, probed+id, "*"), lock.Close()) }
	const much = 1 << 40 // bytes: who tries takes less
	dirs, err = g.make(probed+id, "try", node.Resources{MilliCPU: 1000, MilliCPURequest: 1000, Memory: much})
	if err != nil {
		return nil, nil, errors.Join(err, release())
	}
	return dirs, release, nil
}

// alone locks out who would remove the groups that this process tries, until the file is closed. The lock is no secret: where
// somebody does not give it back, it is done without.
func (g groups) alone(ctx context.Context) (*os.File, error) {
	lock, err := os.Open(g.dirs[g.bounded()[0]])
	if err != nil {
		return nil, err
	}
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil { // nobody tries
		_ = g.remove(ctx, probed+"*", "*") // what is left is in nobody's way
	}
	const tries = 100
	for range tries {
		if unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
			break
		}
		select {
		case <-time.After(busyPause):
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), lock.Close())
		}
	}
	return lock, nil
}
