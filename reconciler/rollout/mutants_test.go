package rollout_test

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var mutate = flag.Bool("mutants", false, "break the formulas one by one and see a test fail for each; takes minutes")

// mutants are one-line mistakes in the formulas, each with the test that must notice it.
var mutants = []struct{ file, old, new, test string }{
	// Bounds of a rolling update.
	{"bounds.go", "resolve(surge, b.replicas, true)", "resolve(surge, b.replicas, false)", "TestBounds"},
	{"bounds.go", "resolve(unavailable, b.replicas, false)", "resolve(unavailable, b.replicas, true)", "TestBounds"},
	{"bounds.go", "b.unavailable = 1", "b.surge = 1", "TestBounds"},
	{"bounds.go", "min(b.unavailable, b.replicas)", "b.unavailable", "TestBounds"},
	{"bounds.go", "total >= b.ceiling()", "total < 0", "TestScenarios"},
	{"bounds.go", "min(b.ceiling()-total, b.replicas-current)", "b.replicas - current", "TestPlanProperties"},
	{"bounds.go", "total - b.floor() - (newReplicas - newAvailable)", "total - b.floor()", "TestPlanProperties"},
	{"bounds.go", "total - b.floor() - (newReplicas - newAvailable)", "total - b.replicas - (newReplicas - newAvailable)", "TestScenarios"},
	// Shares of a change of size.
	{"bounds.go", "math.Round(size)", "math.Floor(size)", "TestResizeInProportion"},
	{"bounds.go", "case left == 0:", "case left == 1<<30:", "TestResizeInProportion"},
	{"bounds.go", "return min(fraction, left)", "return fraction", "TestScenarios"},
	{"bounds.go", "fraction = -current", "fraction = 0", "TestResizeInProportion"},
	{"rolling.go", "sizes[0] = max(0, sizes[0]+left)", "sizes[0] = max(0, sizes[0])", "TestResizeInProportion"},
	{"rolling.go", "cmp.Or(bySize(a, b), byAge(b, a))", "cmp.Or(bySize(a, b), byAge(a, b))", "TestResizeInProportion"},
	{"rolling.go", "return cmp.Compare(sizeOf(b.ReplicaSet), sizeOf(a.ReplicaSet))", "return cmp.Compare(sizeOf(a.ReplicaSet), sizeOf(b.ReplicaSet))", "TestResizeInProportion"},
	{"rolling.go", "s.scale(m, sizes[i], ReasonProportional, true)", "s.scale(m, sizes[i], ReasonProportional, false)", "TestScenarios"},
	{"rolling.go", "s.saturated():", "false:", "TestScenarios"},
	// The rolling update itself.
	{"rolling.go", "n := min(removable, size-available)", "n := size - available", "TestScenarios"},
	{"rolling.go", "removable -= n\n", "\n", "TestPlanTwoUnhealthy"},
	{"rolling.go", "spare := s.new.Status.AvailableReplicas - s.b.floor()", "spare := s.new.Status.AvailableReplicas - s.b.replicas", "TestScenarios"},
	{"rolling.go", "spare -= n\n", "\n", "TestPlanTwoOld"},
	{"rolling.go", "if !s.resizeNew() && !s.shrinkOld() &&", "if a, b := s.resizeNew(), s.shrinkOld(); !a && !b &&", "TestPlanProperties"},
	{"rolling.go", "if m.Status.Replicas > 0 {", "if m.Status.Replicas > 1<<30 {", "TestPlanRecreateWaits"},
	{"rolling.go", "if pod.Status.Phase == corev1.PodFailed ||", "if pod.DeletionTimestamp != nil ||", "TestScenarios"},
	{"rolling.go", "if available > size {", "if available > 1<<30 {", "TestPlanLaggingStatus"},
	// History.
	{"rolling.go", "kept[:excess]", "kept[:min(len(kept), excess+1)]", "TestScenarios"},
	{"rolling.go", "return cmp.Compare(x, y)", "return cmp.Compare(y, x)", "TestScenarios"},
	// Revisions.
	{"newset.go", "newAnnotations(s.d, s.new.ReplicaSet, maxRevision(s.old)+1)", "newAnnotations(s.d, s.new.ReplicaSet, maxRevision(s.old))", "TestScenarios"},
	{"revision.go", "if number >= target {", "if number > target {", "TestScenarios"},
	{"revision.go", "if had {", "if had && false {", "TestScenarios"},
	{"revision.go", "case n >= highest:", "case n == highest:", "TestScenarios"},
	{"newset.go", "count = *c + 1", "count = *c", "TestPlanRefused"},
	{"newset.go", "count := int32(1)", "count := int32(0)", "TestScenarios"},
	// Status and conditions.
	{"status.go", "asked-status.AvailableReplicas", "status.Replicas-status.AvailableReplicas", "TestScenarios"},
	{"status.go", "status.AvailableReplicas >= s.b.floor()", "status.AvailableReplicas >= s.b.replicas", "TestScenarios"},
	{"status.go", "if before.Status == c.Status && before.Reason == c.Reason {", "if false {", "TestScenarios"},
	{"status.go", "after.Replicas-after.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||", "false ||", "TestScenarios"},
	{"status.go", "after.UpdatedReplicas > before.UpdatedReplicas ||", "false ||", "TestScenarios"},
	{"status.go", "status.Replicas == status.UpdatedReplicas {", "status.Replicas >= 0 {", "TestScenarios"},
	{"status.go", "case reason == progressDeadlineExceeded:", "case reason == \"\":", "TestScenarios"},
	{"newset.go", "if hasDeadline(s.d) && !told {", "if hasDeadline(s.d) && (!told || true) {", "TestScenarios"},
	{"status.go", "deadline(s.d, c).Add(time.Second)", "deadline(s.d, c).Add(time.Hour)", "TestScenarios"},
}

// TestMutants runs this package's own tests on a copy of one file at a time, put in place by the compiler's overlay.
func TestMutants(t *testing.T) {
	if !*mutate {
		t.Skip("only with -mutants")
	}
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		t.Run(m.file+": "+m.new, func(t *testing.T) {
			source, err := os.ReadFile(m.file)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(source), m.old); n != 1 {
				t.Fatalf("%q is there %d times", m.old, n)
			}
			dir := t.TempDir()
			mutant := filepath.Join(dir, m.file)
			overlay, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(here, m.file): mutant}})
			if err != nil {
				t.Fatal(err)
			}
			overlayFile := filepath.Join(dir, "overlay.json")
			for name, data := range map[string][]byte{mutant: []byte(strings.Replace(string(source), m.old, m.new, 1)), overlayFile: overlay} {
				if err := os.WriteFile(name, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			out, err := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-overlay="+overlayFile, "-run="+m.test, //nolint:gosec // the table above
				".", "-rapid.nofailfile", "-rapid.shrinktime=0s").CombinedOutput()
			switch {
			case err == nil:
				t.Error("no test notices")
			case strings.Contains(string(out), "[build failed]"):
				t.Errorf("does not compile:\n%s", out)
			}
		})
	}
}
