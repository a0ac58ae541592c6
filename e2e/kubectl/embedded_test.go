//go:build linux

package kubectl

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/belay-dev/belay/reconciler/node/embedded/shim"
	_ "github.com/belay-dev/belay/reconciler/node/embedded/shim/takeover" // this binary is belay, and holds its pods
)

// TestEmbedded runs the script about pods on the driver that needs no engine, where this machine allows namespaces.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	belay, err := filepath.EvalSymlinks(service)
	if err != nil {
		t.Fatal(err)
	}
	beside := filepath.Join(filepath.Dir(belay), "belay-shim")
	build := exec.Command("go", "build", "-trimpath", "-o", beside, "github.com/belay-dev/belay/cmd/belay-shim")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := shim.Probe(beside, t.TempDir(), nil); err != nil {
		if os.Getenv("REQUIRE_NAMESPACES") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	really(t, "embedded", []string{filepath.Join("testdata", "docker", "pods.txtar")}, func(dataDir string) {
		all, err := filepath.Glob(filepath.Join(dataDir, "sandboxes", "*", "*", shim.Socket))
		if err != nil {
			t.Error(err)
		}
		for _, socket := range all { // of a script that failed
			if err := (shim.Client{Dir: filepath.Dir(socket)}).Shutdown(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		}
	})
}
