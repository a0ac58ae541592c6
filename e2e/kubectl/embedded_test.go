//go:build linux

package kubectl

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/belay-dev/belay/reconciler/node/embedded/shim"
	_ "github.com/belay-dev/belay/reconciler/node/embedded/shim/takeover" // this binary is belay, and holds its pods
)

// TestEmbedded runs scripts about pods on the driver that needs no engine, where this machine allows namespaces.
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
	files, err := filepath.Glob(filepath.Join("testdata", "embedded", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pods", "images"} {
		files = append(files, filepath.Join("testdata", "docker", name+".txtar"))
	}
	if err := shim.ProbeDevice(beside, "/dev/net/tun"); err == nil {
		files = append(files, filepath.Join("testdata", "docker", guestbook))
	} else {
		t.Logf("without %s: pods have no network here: %v", guestbook, err)
	}
	really(t, "embedded", files, func(dataDir string) { endPods(t, dataDir) })
}

// endPods kills what a script that failed has left: what holds a pod below the data directory, be that lost or not.
func endPods(t *testing.T, dataDir string) {
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil || !strings.HasPrefix(string(text), "belay-shim\x00__shim\x00"+dataDir+"/") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Error(err)
		}
	}
}
