//go:build linux

package embedded

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-dev/belay/reconciler/node"
)

// TestSettings: what is written for a container is what the kubelet asks for and runc writes.
func TestSettings(t *testing.T) {
	t.Parallel()
	const mi = 1 << 20
	for _, c := range []struct {
		name string
		node.Resources
		two, one string
	}{
		{
			"nothing", node.Resources{},
			"memory.swap.max=0 memory.oom.group=1 cpu.weight=1 pids.max=4096", "cpu.shares=2 pids.max=4096",
		},
		{
			"limits", node.Resources{MilliCPU: 500, MilliCPURequest: 500, Memory: 64 * mi},
			"memory.max=67108864 memory.swap.max=0 memory.oom.group=1 cpu.max=50000 100000 cpu.weight=59 pids.max=4096",
			"memory.limit_in_bytes=67108864 memory.memsw.limit_in_bytes=67108864 cpu.cfs_quota_us=50000 cpu.shares=512 pids.max=4096",
		},
		{
			"several cores", node.Resources{MilliCPU: 2500, MilliCPURequest: 100},
			"memory.swap.max=0 memory.oom.group=1 cpu.max=250000 100000 cpu.weight=17 pids.max=4096",
			"cpu.cfs_quota_us=250000 cpu.shares=102 pids.max=4096",
		},
		{
			"the least", node.Resources{MilliCPU: 1, MilliCPURequest: 1, Memory: 1},
			"memory.max=1 memory.swap.max=0 memory.oom.group=1 cpu.max=1000 100000 cpu.weight=1 pids.max=4096",
			"memory.limit_in_bytes=1 memory.memsw.limit_in_bytes=1 cpu.cfs_quota_us=1000 cpu.shares=2 pids.max=4096",
		},
		{
			"a core", node.Resources{MilliCPURequest: 1000},
			"memory.swap.max=0 memory.oom.group=1 cpu.weight=100 pids.max=4096", "cpu.shares=1024 pids.max=4096",
		},
		{
			"more than there can be", node.Resources{MilliCPURequest: 1 << 40},
			"memory.swap.max=0 memory.oom.group=1 cpu.weight=10000 pids.max=4096", "cpu.shares=262144 pids.max=4096",
		},
	} {
		for version, want := range map[bool]string{true: c.two, false: c.one} {
			var got []string
			all := settings(version, defaultProcesses, c.Resources)
			for _, controller := range controllers {
				for _, s := range all[controller] {
					if s.value != "" {
						got = append(got, s.file+"="+s.value)
					}
				}
			}
			if text := strings.Join(got, " "); text != want {
				t.Errorf("%s, version 2: %v:\n got %s\nwant %s", c.name, version, text, want)
			}
		}
	}
}

// TestGroups writes all bounds to the control groups of this machine, of whichever version they are, and reads what the kernel
// made of them.
func TestGroups(t *testing.T) {
	g := findGroups(123)
	if len(g.dirs) == 0 {
		t.Skip("the control groups are not this user's to make")
	}
	dirs, release, err := g.probe(t.Context())
	if err != nil {
		t.Skipf("the control groups cannot be had: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is left", dir)
		}
	}
	const mi = 1 << 20
	sandbox := fmt.Sprintf("test-%d", os.Getpid())
	t.Cleanup(func() {
		if err := g.remove(context.WithoutCancel(t.Context()), sandbox, "*"); err != nil {
			t.Error(err)
		}
	})
	if _, err := g.make(sandbox, "c", node.Resources{MilliCPU: 250, MilliCPURequest: 100, Memory: 64 * mi}); err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]string{
		"memory": {"memory.limit_in_bytes": "67108864"}, "pids": {"pids.max": "123"},
		"cpu": {"cpu.cfs_quota_us": "25000", "cpu.cfs_period_us": "100000", "cpu.shares": "102"},
	}
	if g.unified {
		want = map[string]map[string]string{
			"memory": {"memory.max": "67108864", "memory.oom.group": "1"}, "pids": {"pids.max": "123"},
			"cpu": {"cpu.max": "25000 100000", "cpu.weight": "17"},
		}
	}
	for _, c := range g.bounded() {
		for file, value := range want[c] {
			text, err := os.ReadFile(filepath.Join(g.dirs[c], sandbox+".c", file))
			if got := strings.TrimSpace(string(text)); err != nil || got != value {
				t.Errorf("%s is %q, %v, want %q", file, got, err, value)
			}
		}
	}
}

// TestGroupsOfTheKilled: the groups in which a process tried that was killed go with the next one that tries, and not while
// another one does.
func TestGroupsOfTheKilled(t *testing.T) {
	g := groups{dirs: map[string]string{}, processes: 10}
	for _, c := range controllers { // plain directories: they take what a group does
		g.dirs[c] = filepath.Join(t.TempDir(), c)
		if err := os.MkdirAll(filepath.Join(g.dirs[c], probed+"0000000100000000.try"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(g.dirs[c], "00000001deadbeef.c.0"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	left := func() string {
		t.Helper()
		var out []string
		for _, c := range controllers {
			entries, err := os.ReadDir(g.dirs[c])
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				out = append(out, c+"/"+e.Name())
			}
		}
		return strings.Join(out, " ")
	}
	before := left()
	other, err := os.Open(g.dirs[controllers[0]])
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(other.Fd()), unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	lock, err := g.alone(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if now := left(); now != before {
		t.Errorf("while another process tries, there is %s", now)
	}
	for _, f := range []*os.File{other, lock} {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if lock, err = g.alone(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	const want = "memory/00000001deadbeef.c.0 cpu/00000001deadbeef.c.0 pids/00000001deadbeef.c.0"
	if now := left(); now != want {
		t.Errorf("there is %s, want %s", now, want)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		t.Error(err)
	}
}
