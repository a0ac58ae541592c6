package rollout_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/reconciler/rollout/scenario"
	"github.com/belay-dev/belay/state"
)

var withoutEvents = regexp.MustCompile(`(?m)^event .*\n`)

// after gives the world that some verbs lead to.
func after(t *testing.T, verbs []string, look func(*state.Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		clock := scenario.Clock{Now: time.Now, Sleep: func(d time.Duration) { <-time.After(d) }}
		w, err := scenario.NewWorld(clock, func(store *state.Store) (scenario.Engine, error) {
			return scenario.NewBelay(store, time.Now)
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, verb := range verbs {
			if _, err := w.Do(t.Context(), verb); err != nil {
				t.Fatalf("%s: %v", verb, err)
			}
		}
		look(w.Store)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestState(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ verbs, want string }{
		{"hush; create", "Pending"},
		{"create replicas=2", "Progressing r1 ReplicaSetUpdated"},
		{"boot", "Complete r1 NewReplicaSetAvailable"},
		{"boot; unready all", "Complete r1 NewReplicaSetAvailable"},
		{"boot; scale 4", "Complete r1 NewReplicaSetAvailable"},
		{"boot; hush; image B", "Pending NewReplicaSetAvailable"},
		{"boot; image B", "Progressing r2 ReplicaSetUpdated"},
		{"boot; image B; pause", "Paused r2 DeploymentPaused"},
		{"boot; pause", "Complete r1 DeploymentPaused"},
		{"boot; pause; image B", "Paused DeploymentPaused"},
		{"boot deadline=60; image B; tick 61s", "Failed r2 ProgressDeadlineExceeded"},
		{"boot deadline=60; image B; tick 61s; image C", "Progressing r3 ReplicaSetUpdated"},
		{"boot deadline=60; image B; tick 61s; undo", "Complete r3 NewReplicaSetAvailable"},
		{"boot deadline=60; image B; tick 61s; ready all", "Complete r2 NewReplicaSetAvailable"},
		{"boot deadline=2147483647; image B; tick 10000s", "Progressing r2"},
		{"boot deadline=2147483647; image B; ready all", "Complete r2"},
		{"boot replicas=3 strategy=Recreate; linger; image B", "Progressing"},
		{"boot replicas=3 strategy=Recreate; image B; ready all; linger; undo", "Progressing r3"},
		{"boot replicas=3 strategy=Recreate; image B; ready all; undo", "Progressing r3"},
		{"boot; quota pods 1; image B", "Progressing r2 FailedCreate"},
		{"boot; quota replicasets 1; image B", "Progressing ReplicaSetCreateError"},
		{"boot; scale 0; image B", "Complete r2 NewReplicaSetAvailable"},
	} {
		t.Run(tt.verbs, func(t *testing.T) {
			t.Parallel()
			after(t, strings.Split(tt.verbs, "; "), func(store *state.Store) {
				d, sets := rolloutOf(store)
				p := rollout.State(d, sets)
				got := string(p.Phase)
				if p.Revision > 0 {
					got += fmt.Sprintf(" r%d", p.Revision)
				}
				if got = strings.TrimSpace(got + " " + p.Reason); got != tt.want {
					t.Errorf("got %s, want %s (%+v)", got, tt.want, p)
				}
				if p.Template != rollout.Digest(&d.Spec.Template) || (p.ReplicaSet == "") != (p.Revision == 0) {
					t.Errorf("got %+v", p)
				}
			})
		})
	}
}

func TestForecast(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		verbs    string
		image    string
		replicas int32
		want     string
	}{
		{"nothing changes", "boot replicas=3", "A", -1, ""},
		{"an image", "boot replicas=3", "B", -1, `
1. scale up B 0 → 1   (old 3/3, new 0/1)
2. scale down A 3 → 2   (old 2/2, new 1/1)
3. scale up B 1 → 2   (old 2/2, new 1/2)
4. scale down A 2 → 1   (old 1/1, new 2/2)
5. scale up B 2 → 3   (old 1/1, new 2/3)
6. scale down A 1 → 0   (old 0/0, new 3/3)
`},
		{"surge and unavailable", "boot replicas=4", "B", -1, `
1. scale up B 0 → 1   (old 4/4, new 0/1)
2. scale down A 4 → 3   (old 3/3, new 0/1)
3. scale up B 1 → 2   (old 3/3, new 0/2)
4. scale down A 3 → 1   (old 1/1, new 2/2)
5. scale up B 2 → 4   (old 1/1, new 2/4)
6. scale down A 1 → 0   (old 0/0, new 4/4)
`},
		{"a size", "boot replicas=3", "A", 5, "\n1. scale up A 3 → 5   (old 0/0, new 3/5)\n"},
		{"Recreate", "boot replicas=2 strategy=Recreate", "B", -1, `
1. scale down A 2 → 0   (old 0/0, new 0/0)
2. scale up B 0 → 2   (old 0/0, new 0/2)
`},
		{"back from a bad image", "boot replicas=4; image B", "A", -1, `
1. scale down B 2 → 0   (old 0/0, new 3/3)
2. scale up A 3 → 4   (old 0/0, new 3/4)
`},
		{"paused", "boot; pause; image B", "C", -1, `
1. scale up C 0 → 1   (old 1/1, new 0/1)
2. scale down A 1 → 0   (old 0/0, new 1/1)
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			after(t, strings.Split(tt.verbs, "; "), func(store *state.Store) {
				d, sets := rolloutOf(store)
				d = d.DeepCopy()
				d.Spec.Template.Spec.Containers[0].Image = tt.image
				if tt.replicas >= 0 {
					d.Spec.Replicas = &tt.replicas
				}
				got := formatSteps(rollout.Forecast(d, sets))
				names := map[string]string{"web-" + rollout.Hash(&d.Spec.Template, nil): tt.image}
				for _, rs := range sets {
					names[rs.Name] = rs.Spec.Template.Spec.Containers[0].Image
				}
				for name, image := range names {
					got = strings.ReplaceAll(got, name, image)
				}
				if want := strings.TrimPrefix(tt.want, "\n"); got != want {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
			})
		})
	}
}

// formatSteps prints a forecast, one step a line.
func formatSteps(steps []rollout.Step) string {
	var b strings.Builder
	for _, s := range steps {
		b.WriteString(s.String() + "\n")
	}
	return b.String()
}
