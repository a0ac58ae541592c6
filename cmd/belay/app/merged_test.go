package app

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// merge is one way in which people bring a branch to the one that is protected.
type merge struct {
	name  string
	steps [][]string // git's arguments; BRANCH is the branch
}

var merges = []merge{
	{"squash", [][]string{{"merge", "-q", "--squash", "origin/BRANCH"}, {"commit", "-q", "-m", "Undo it (#7)"}}},
	{"rebase", [][]string{{"cherry-pick", "main..origin/BRANCH"}}},
	{"merge commit", [][]string{{"merge", "-q", "--no-ff", "-m", "Merge pull request #7", "origin/BRANCH"}}},
}

// However people merge the branch of a rollback, behind a commit of somebody else: the hold ends, and the hold, its row and
// the commit are one revision.
func TestMergedBranchEndsTheHold(t *testing.T) {
	t.Parallel()
	for _, m := range merges {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			shop := newShop(t)
			s := shop.serve(t.TempDir(), nil)
			s.deploy()
			shop.hook("update", `test "$1" != refs/heads/main || test -z "$GATEWAY_INTERFACE" || { echo protected >&2; exit 1; }`)
			r := s.rollback()
			s.until("the branch", func() bool {
				c, ok := s.change()
				return ok && c.State == string(rollback.GitBranch)
			})
			before := s.store.Rows("default", "web")
			push := func() string {
				t.Helper()
				gitIn(t, s.work, "push", "-q", "origin", "main")
				return gitIn(t, s.work, "rev-parse", "HEAD")
			}
			gitIn(t, s.work, "commit", "-q", "--allow-empty", "-m", "Say more")
			s.synced(push())
			if _, still := s.store.Hold("default", "web"); !still {
				t.Fatal("a commit about something else ended the hold")
			}
			gitIn(t, s.work, "fetch", "-q")
			for _, step := range m.steps {
				var args []string
				for _, a := range step {
					args = append(args, strings.ReplaceAll(a, "BRANCH", "belay/rollback/"+r.ID))
				}
				gitIn(t, s.work, args...)
			}
			head := push()
			s.synced(head)
			s.over()
			if got := gitIn(t, s.bare, "rev-parse", "main"); got != head {
				t.Errorf("main is at %s, want %s", got, head)
			}
			row, ok := s.store.Row(r.ID)
			if !ok || row.Commit != head || row.Operation != rollback.OperationRollback || s.runs() != "web:1" {
				t.Errorf("%s runs, the row of the rollback is of commit %q by %q, want %s", s.runs(), row.Commit, row.Operation, head)
			}
			for _, now := range s.store.Rows("default", "web")[len(before):] { // the commit is that revision, it has none of its own
				if now.Commit != head || now.Fills != r.ID || now.Outcome != ledger.Applied || now.Template != row.Template {
					t.Errorf("beside the rollback there is %+v", now)
				}
			}
		})
	}
}

// size is how many pods the Deployment wants.
func (s *syncing) size() int32 {
	d, ok := state.Get[*appsv1.Deployment](s.store, "default", "web")
	if !ok {
		return 0
	}
	return *d.Spec.Replicas
}

// A bad commit that also scaled: the size stays, while it is held and in Git.
func TestSizeOfABadCommitStays(t *testing.T) {
	t.Parallel()
	s := newShop(t).serve(t.TempDir(), nil)
	s.synced(s.good)
	s.bad = s.commit("Take web:2 on ten", strings.NewReplacer("web:1", "web:2", "replicas: 3", "replicas: 10").Replace(planned))
	s.synced(s.bad)
	s.down.Store(true)
	s.rollback()
	s.until("the hold of ten", func() bool { return s.runs() == "web:1" })
	if s.size() != 10 {
		t.Errorf("held, %d are wanted", s.size())
	}
	s.down.Store(false)
	s.over()
	if got, want := gitIn(t, s.bare, "show", "main:web.yaml")+"\n", strings.Replace(planned, "replicas: 3", "replicas: 10", 1); got != want {
		t.Errorf("the manifest is\n%s", got)
	}
	if s.runs() != "web:1" || s.size() != 10 {
		t.Errorf("%d of %s run", s.size(), s.runs())
	}
}

// A revert of Belay's revert says that the image is wanted after all: it runs, held no more, and can be taken back again.
func TestRevertOfARevertIsReverted(t *testing.T) {
	t.Parallel()
	s := newShop(t).serve(t.TempDir(), nil)
	s.deploy()
	s.settled(s.rollback().ID, 3)
	gitIn(t, s.work, "pull", "-q", "origin", "main")
	gitIn(t, s.work, "revert", "--no-edit", "HEAD")
	undo := gitIn(t, s.work, "rev-parse", "HEAD^")
	gitIn(t, s.work, "commit", "-q", "--amend", "-m", `Reapply "Take web:2"`, "-m", "This reverts commit "+undo+".") // as the newer versions of git say it
	gitIn(t, s.work, "push", "-q", "origin", "main")
	s.synced(gitIn(t, s.work, "rev-parse", "HEAD"))
	s.until("web:2 again", func() bool { return s.runs() == "web:2" })
	s.settled(s.rollback().ID, 5)
	if got := gitIn(t, s.bare, "log", "-1", "--format=%s", "main"); got != `Revert "Reapply "Take web:2""` {
		t.Errorf("subject %q", got)
	}
}

// What a merge brought is taken back as a whole: it is reverted to its first parent.
func TestMergeIsReverted(t *testing.T) {
	t.Parallel()
	s := newShop(t).serve(t.TempDir(), nil)
	s.synced(s.good)
	gitIn(t, s.work, "checkout", "-q", "-b", "feature")
	gitIn(t, s.work, "commit", "-q", "--allow-empty", "-m", "Begin")
	s.write(strings.Replace(planned, "web:1", "web:2", 1))
	gitIn(t, s.work, "commit", "-q", "-a", "-m", "Try web:2")
	gitIn(t, s.work, "checkout", "-q", "main")
	gitIn(t, s.work, "commit", "-q", "--allow-empty", "-m", "Say more")
	gitIn(t, s.work, "merge", "-q", "--no-ff", "-m", "Merge feature", "feature")
	gitIn(t, s.work, "push", "-q", "origin", "main")
	s.bad = gitIn(t, s.work, "rev-parse", "HEAD")
	s.synced(s.bad)
	s.settled(s.rollback().ID, 6)
	if got := gitIn(t, s.bare, "log", "-1", "--format=%B", "main"); !strings.HasPrefix(got, "Revert \"Merge feature\"\n\nThis reverts commit "+s.bad+", reversing\nchanges made to "+gitIn(t, s.work, "rev-parse", "HEAD^1")+".\n") {
		t.Errorf("message\n%s", got)
	}
}

// A Deployment that a commit removed is put back whole, and its file with it: by the revert of that commit, or, where the
// commit did more than that, by its manifest alone.
func TestRemovedIsPutBack(t *testing.T) {
	t.Parallel()
	notes := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata: {runs: %s}\n"
	for _, c := range []struct{ name, notes, subject string }{
		{"revert", "web", `Revert "Do without web"`},
		{"its manifest", "nothing", "Put web back as of "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t).serve(t.TempDir(), nil)
			s.synced(s.good)
			rest := map[string]string{"notes.yaml": fmt.Sprintf(notes, "web")}
			for _, name := range []string{"api", "db", "mq"} { // beside them, one that goes is not most of what runs
				rest[name+".yaml"] = strings.ReplaceAll(planned, "web", name)
			}
			s.synced(s.commitFiles("Run the rest", rest))
			s.synced(s.commitFiles("Do without web", map[string]string{"web.yaml": "", "notes.yaml": fmt.Sprintf(notes, c.notes)}))
			s.until("the end of web", func() bool { return s.runs() == "" })
			s.settled(s.rollback().ID, 4)
			if got := gitIn(t, s.bare, "log", "-1", "--format=%s", "main"); !strings.HasPrefix(got, c.subject) {
				t.Errorf("subject %q", got)
			}
			if got := gitIn(t, s.bare, "diff", "--name-only", "main~1", "main"); got != "web.yaml" {
				t.Errorf("changed %s", got)
			}
			if s.runs() != "web:1" {
				t.Errorf("%q runs", s.runs())
			}
		})
	}
}

// A pause and a resume become commits too.
func TestPauseIsPushed(t *testing.T) {
	t.Parallel()
	s := newShop(t).serve(t.TempDir(), nil)
	s.synced(s.good)
	for i, c := range []struct{ value, subject string }{{"true", "Pause web"}, {"false", "Resume web"}} {
		if _, err := s.loop.Override(t.Context(), rollback.OverrideRequest{Namespace: "default", Name: "web", Field: rollback.FieldPaused, Value: c.value, By: "alice"}); err != nil {
			t.Fatal(err)
		}
		s.until("the commit", func() bool {
			return gitIn(t, s.bare, "rev-list", "--count", "main") == strconv.Itoa(i+2) && len(s.store.GitChanges()) == 0 && len(s.store.Overrides("default", "web")) == 0
		})
		if got := gitIn(t, s.bare, "log", "-1", "--format=%s", "main"); got != c.subject {
			t.Errorf("subject %q", got)
		}
		d, _ := state.Get[*appsv1.Deployment](s.store, "default", "web")
		if got := strconv.FormatBool(d.Spec.Paused); got != c.value {
			t.Errorf("after %q, paused is %s", c.subject, got)
		}
		manifest := gitIn(t, s.bare, "show", "main:web.yaml") + "\n"
		if paused := strings.Contains(manifest, "paused: true"); paused != d.Spec.Paused || !paused && manifest != planned {
			t.Errorf("after %q:\n%s", c.subject, manifest)
		}
	}
}
