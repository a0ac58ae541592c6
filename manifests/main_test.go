package manifests

import (
	"os"
	"testing"
	"time"
)

// TestMain lifts the time limit of kustomize runs: what a test expects must not depend on how busy the machine is. The
// test of the limit itself sets one of its own.
func TestMain(m *testing.M) {
	kustomizeRuns.limit = 10 * time.Minute
	os.Exit(m.Run())
}
