package kubectl

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestDemo has the demo tell its story, with what this machine has to run pods.
func TestDemo(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	for _, runtime := range []string{"", "simulated"} {
		t.Run("runtime "+runtime, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, "belay", "demo", "--exit", "--runtime", runtime)
			cmd.Cancel, cmd.WaitDelay = func() error { return cmd.Process.Signal(os.Interrupt) }, time.Minute // it leaves nothing behind
			cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
			text, err := cmd.CombinedOutput()
			out := string(text)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			want := []string{
				"ErrImagePull", "deployment.apps/mediawiki rolled back", `Belay: Revert "Tercer despliegue`, "2 (now 4)", "RolledBack(by 4, ",
				"\n1         Primer despliegue. Desplegamos versión 1.43.5\n3         Tercer despliegue. Actualizamos a la versión 2\n4         ",
			}
			if strings.Contains(out, "--runtime embedded") {
				want = append(want, " requests, 0 failed\n")
			}
			for _, w := range want {
				if !strings.Contains(out, w) {
					t.Errorf("nothing says %q:\n%s", w, out)
				}
			}
		})
	}
}
