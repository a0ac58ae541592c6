package reconciler_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// manyDeployments is a commit with n Deployments; every tenth has the other image.
func manyDeployments(commit string, n int, image, tenth string) txtar.File {
	var b strings.Builder
	for i := range n {
		now := image
		if i%10 == 5 {
			now = tenth
		}
		fmt.Fprintf(&b, "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web-%03d}\nspec:\n  progressDeadlineSeconds: 60\n"+
			"  selector: {matchLabels: {app: web-%03d}}\n  template:\n    metadata: {labels: {app: web-%03d}}\n    spec: {containers: [{name: c, image: '%s'}]}\n", i, i, i, now)
	}
	return txtar.File{Name: commit + "/web.yaml", Data: []byte(b.String())}
}

// TestManyFail: of hundreds of Deployments that one commit changes, no more than maxRollouts roll out at any moment, and
// once three have failed no other one begins until a newer commit comes, which all of them reach.
func TestManyFail(t *testing.T) {
	t.Parallel()
	const n, most, enough = 200, 10, 3
	archive := &txtar.Archive{Files: []txtar.File{
		manyDeployments("c1", n, "web:1", "web:1"), manyDeployments("c2", n, "web:2", "web:bad"), manyDeployments("c3", n, "web:3", "web:3"),
	}}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, archive)
		defer w.stop()
		newest := func() map[state.Outcome]int {
			count := map[state.Outcome]int{}
			for i := range n {
				rows := w.store.Rows("default", fmt.Sprintf("web-%03d", i))
				r := rows[len(rows)-1]
				if r.Outcome == ledger.Waiting && r.Reason == string(reconciler.ReasonCommitFailing) {
					r.Outcome = state.Outcome(r.Reason)
				}
				count[r.Outcome]++
			}
			return count
		}
		follow := func(until func(map[state.Outcome]int) bool) map[state.Outcome]int {
			for range 3600 {
				count := newest()
				if count[ledger.Progressing] > most {
					t.Fatalf("%d roll out at once: %v", count[ledger.Progressing], count)
				}
				if until(count) {
					return count
				}
				pass(time.Second)
			}
			t.Fatalf("not there within an hour: %v", newest())
			return nil
		}
		all := func(count map[state.Outcome]int) bool { return count[ledger.Complete] == n }

		w.do("push c1 first")
		w.do("sync")
		follow(all) // a first rollout takes no slot, and a minute is enough for it

		w.do("push c2 second")
		w.do("look")
		stands := func(count map[state.Outcome]int) bool {
			return count[ledger.Failed] >= enough && count[ledger.Progressing] == 0 && count[ledger.Pending] == 0
		}
		count := follow(stands)
		waiting := count[state.Outcome(reconciler.ReasonCommitFailing)]
		if count[ledger.Failed] >= enough+most || waiting == 0 || count[ledger.Complete]+count[ledger.Failed]+waiting != n {
			t.Errorf("standing still: %v", count)
		}
		pass(time.Hour)
		if later := newest(); fmt.Sprint(later) != fmt.Sprint(count) {
			t.Errorf("an hour later %v, before %v", later, count)
		}

		w.do("push c3 third")
		w.do("look")
		follow(all)
	})
}
