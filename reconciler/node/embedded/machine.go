//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/embedded/shim"
)

// Machine is what pods get on this machine, which not all of them give.
type Machine struct {
	User      int      // whom root of a container is, on the machine: 0, or who runs this process
	Bounded   []string // which of memory, cpu and pids (the number of processes) is bounded
	Unbounded string   // why one is not; empty: all are
	// Processes are those that a pod may have at a time, threads counted, where no control group bounds those of a container;
	// 0: as many as they like, or those are bounded.
	Processes int
	Findable  bool // pods are found also when their data directory is lost
	// Addresses are those of pods, by which they reach each other and what is outside; the zero value: they reach nothing.
	Addresses netip.Prefix
	Alone     string // why they do not, where they were to; empty: they were not to
}

// String tells it to people.
func (m Machine) String() string {
	var out strings.Builder
	out.WriteString("namespaces and Docker's default capabilities, no seccomp; a network of its own for each pod, ")
	switch {
	case m.Addresses.IsValid():
		fmt.Fprintf(&out, "with an address of %s and a way to other pods, Services and outside", m.Addresses)
	case m.Alone != "":
		fmt.Fprintf(&out, "with no way out (%s)", m.Alone)
	default:
		out.WriteString("with no way out")
	}
	if m.User != 0 {
		fmt.Fprintf(&out, "; containers run as user %d, and set-user-ID programs as who runs them", m.User)
	}
	if len(m.Bounded) > 0 {
		fmt.Fprintf(&out, "; limits of %s hold", strings.Join(m.Bounded, ", "))
	}
	if m.Unbounded != "" {
		others := "other limits do"
		if len(m.Bounded) == 0 {
			others = "limits of " + strings.Join(controllers, ", ") + " do"
		}
		fmt.Fprintf(&out, "; %s not: %s", others, m.Unbounded)
	}
	switch {
	case m.Processes > 0:
		fmt.Fprintf(&out, "; a pod has at most %d processes", m.Processes)
	case !slices.Contains(m.Bounded, "pids"):
		out.WriteString("; nothing bounds how many processes a pod has")
	}
	if !m.Findable {
		out.WriteString("; with a lost data directory its pods are lost from sight: this user has no runtime directory")
	}
	return out.String()
}

// Machine is what pods get on this machine.
func (r *Runtime) Machine() Machine { return r.machine }

// tryGroups has a process join control groups with all bounds, as each container may, and says why limits do not hold. Those
// that cannot be had are not used.
func (r *Runtime) tryGroups(ctx context.Context) (unbounded string) {
	if len(r.groups.dirs) > 0 {
		dirs, release, err := r.groups.probe(ctx)
		if err == nil {
			err = errors.Join(shim.Probe(r.shim, r.dir, dirs), release())
		}
		if err != nil {
			clear(r.groups.dirs)
			return err.Error()
		}
	}
	if len(r.groups.dirs) < len(controllers) {
		return "the control groups are not this user's to make"
	}
	return ""
}

// tryProcesses finds another bound of how many processes a pod has, where no control group is one. It binds no root.
func (r *Runtime) tryProcesses(most int) {
	if slices.Contains(r.machine.Bounded, "pids") {
		return
	}
	err := errors.New("root is held to no number of processes")
	if os.Geteuid() != 0 {
		err = shim.ProbeProcesses(r.shim)
	}
	if err != nil {
		r.machine.Unbounded += "; " + err.Error()
		return
	}
	r.machine.Processes = most
}

var _ node.Limiter = (*Runtime)(nil)

// unenforced says which limits do not hold here, and why.
func (m Machine) unenforced(limits node.Resources) string {
	var not []string
	for _, l := range []struct {
		controller string
		asked      bool
	}{{"memory", limits.Memory > 0}, {"cpu", limits.MilliCPU > 0}, {"pids", m.Processes == 0}} {
		if l.asked && !slices.Contains(m.Bounded, l.controller) {
			not = append(not, l.controller)
		}
	}
	if len(not) == 0 {
		return ""
	}
	return fmt.Sprintf("no limit of %s holds: %s", strings.Join(not, ", "), m.Unbounded)
}

// Unenforced implements node.Limiter.
func (r *Runtime) Unenforced(limits node.Resources) string { return r.machine.unenforced(limits) }
