package rollout_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belay-dev/belay/reconciler/rollout/scenario"
	"github.com/belay-dev/belay/state"
)

var rewrite = flag.Bool("rewrite", false, "write what was seen into the scenario files; commit only what you can explain")

// TestScenarios runs every file twice: as it is, and with a restart of the controllers after each verb.
func TestScenarios(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			script := scenario.Parse(data)
			seen := run(t, script, false)
			if *rewrite {
				if err := os.WriteFile(file, seen.Format(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(script.Format()), string(seen.Format())); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
			if diff := cmp.Diff(string(seen.Format()), string(run(t, script, true).Format())); diff != "" {
				t.Errorf("%s with restarts (-without +with):\n%s", file, diff)
			}
		})
	}
}

func run(t *testing.T, script scenario.Script, restart bool) (seen scenario.Script) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		clock := scenario.Clock{Now: time.Now, Sleep: func(d time.Duration) { <-time.After(d) }}
		w, err := scenario.NewWorld(clock, func(store *state.Store) (scenario.Engine, error) {
			return scenario.NewBelay(store, clock.Now)
		})
		if err != nil {
			t.Fatal(err)
		}
		seen, err = script.Run(t.Context(), w, restart)
		if err != nil {
			t.Errorf("after\n%s\n%v", seen.Format(), err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return seen
}
