//go:build linux

package kubectl

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
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
	fresh := beside + ".new" // the demo may look for it meanwhile
	if err := errors.Join(duplicate(built(t, "belay-shim", "cmd/belay-shim"), fresh), os.Rename(fresh, beside)); err != nil {
		t.Fatal(err)
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
	shared := []string{"pods.txtar", "images.txtar"}
	if err := shim.ProbeDevice(beside, tunDevice); err == nil {
		shared = append(shared, guestbook, rollouts)
		if *rounds != fewRounds || os.Geteuid() != 0 {
			shared = append(shared, services) // TestEmbeddedUser runs it too
		}
	} else {
		t.Logf("without Services: pods have no network here: %v", err)
	}
	for _, name := range shared {
		files = append(files, filepath.Join("testdata", "docker", name))
	}
	if os.Getenv(binariesVariable) != "" { // what root has not tried
		files = slices.DeleteFunc(files, func(file string) bool {
			name := filepath.Base(file)
			return name != services && name != streams && (name != rollouts || *rounds == fewRounds)
		})
	}
	really(t, "embedded", files, func(dataDir string) { endPods(t, dataDir) })
}

// streams is the script about what flows into pods and out of them.
const streams = "streams.txtar"

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
