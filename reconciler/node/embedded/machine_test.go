//go:build linux

package embedded

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/belay-dev/belay/reconciler/node"
)

// TestMachine: what pods get, and what they do not, is said in full, and the limits that do not hold are told of each container
// that asks for them.
func TestMachine(t *testing.T) {
	t.Parallel()
	const none = "the control groups are not this user's to make"
	for _, c := range []struct {
		name string
		Machine
		says       []string
		unenforced string // of a container with a limit of memory and one of CPU
		processes  string // of one without limits
	}{
		{
			"root with all", Machine{Bounded: controllers, Findable: true, Addresses: netip.MustParsePrefix("10.244.0.0/16")},
			[]string{"namespaces and Docker's default capabilities, no seccomp", "with an address of 10.244.0.0/16", "; limits of memory, cpu, pids hold"}, "", "",
		},
		{
			"root without groups", Machine{Unbounded: none + "; root is held to no number of processes", Findable: true},
			[]string{"with no way out", "; limits of memory, cpu, pids do not: " + none, "; nothing bounds how many processes a pod has"},
			"no limit of memory, cpu, pids holds: " + none + "; root is held to no number of processes",
			"no limit of pids holds: " + none + "; root is held to no number of processes",
		},
		{
			"a user without groups", Machine{User: 1000, Unbounded: none, Processes: 4096, Alone: "open /dev/net/tun: permission denied"},
			[]string{
				"with no way out (open /dev/net/tun: permission denied)", "containers run as user 1000, and set-user-ID programs as who runs them",
				"limits of memory, cpu, pids do not: " + none, "; a pod has at most 4096 processes", "this user has no runtime directory",
			},
			"no limit of memory, cpu holds: " + none, "",
		},
		{
			"a user with a part of them", Machine{User: 1000, Bounded: []string{"memory", "pids"}, Unbounded: none, Findable: true},
			[]string{"; limits of memory, pids hold; other limits do not: " + none}, "no limit of cpu holds: " + none, "",
		},
	} {
		said := c.Machine.String()
		for _, s := range c.says {
			if !strings.Contains(said, s) {
				t.Errorf("%s: %q is not in\n%s", c.name, s, said)
			}
		}
		if got := c.Machine.unenforced(node.Resources{Memory: 1, MilliCPU: 1}); got != c.unenforced {
			t.Errorf("%s: %q, want %q", c.name, got, c.unenforced)
		}
		if got := c.Machine.unenforced(node.Resources{}); got != c.processes {
			t.Errorf("%s: %q, want %q", c.name, got, c.processes)
		}
	}
}
