package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belay-dev/belay/reconciler/rollout/scenario"
	"github.com/belay-dev/belay/state"
)

const scenarios = "../reconciler/rollout/testdata/*.txt"

// TestOracleScenarios holds the scenario files, which say how Belay's controllers behave, against Kubernetes' own.
func TestOracleScenarios(t *testing.T) {
	files, err := filepath.Glob(scenarios)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			script := scenario.Parse(data)
			seen := runKubernetes(t, script)
			if diff := cmp.Diff(withoutTries(script), withoutTries(seen)); diff != "" {
				t.Errorf("-file +Kubernetes:\n%s", diff)
			}
		})
	}
}

// try is the Event of one refused try. How often and when a controller tries again is a matter of its back-off, so
// these are compared by what they are about, not by where they stand.
var try = regexp.MustCompile(`(?m)^event (\S+) Warning (FailedCreate|ReplicaSetCreateError): .*\n?`)

func withoutTries(script scenario.Script) string {
	text := string(script.Format())
	tries := try.FindAllString(text, -1)
	for i, line := range tries {
		tries[i] = try.ReplaceAllString(line, "$1 $2")
	}
	slices.Sort(tries)
	return try.ReplaceAllString(text, "") + strings.Join(slices.Compact(tries), "\n")
}

func runKubernetes(t *testing.T, script scenario.Script) (seen scenario.Script) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var engine *kubernetesEngine
		w, err := scenario.NewWorld(bubble, func(store *state.Store) (scenario.Engine, error) {
			var err error
			engine, err = newKubernetesEngine(store, bubble.Now)
			return engine, err
		})
		if err != nil {
			t.Fatal(err)
		}
		if seen, err = script.Run(t.Context(), w, false); err != nil {
			t.Error(err)
		}
		engine.stop()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return seen
}

// bubble is the clock of the synctest bubble that uses it.
var bubble = scenario.Clock{Now: time.Now, Sleep: func(d time.Duration) { <-time.After(d) }}
