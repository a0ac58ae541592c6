package app

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/change"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/source"
)

const planned = `# the shop's front
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: "web:1"   # by hand
`

// gitIn runs git in a directory and returns what it prints.
func gitIn(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=Ada", "-c", "user.email=ada@example.com"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// A wish ends as one commit of the repository that changes what was wished, byte for byte, and says who and why.
func TestProposalLands(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("REQUIRE_GIT") != "" {
			t.Fatal(err)
		}
		t.Skip("git is not installed")
	}
	for _, c := range []struct {
		name    string
		bad     func(string) string // what the second commit does to the file
		mode    rollback.Mode
		subject string
		left    func(string) string // what of it stays
	}{
		{"revert", func(s string) string { return strings.Replace(s, "web:1", "web:2", 1) }, rollback.ModeRevert, `Revert "Change"`,
			func(s string) string { return s }},
		{"restore", func(s string) string {
			return strings.NewReplacer("web:1", "web:2", "replicas: 3", "replicas: 10", "front", "new front").Replace(s)
		}, rollback.ModeRestore, "Roll web back to revision 1", func(s string) string {
			return strings.NewReplacer("replicas: 3", "replicas: 10", "front", "new front").Replace(s)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			bare, work := filepath.Join(dir, "shop.git"), filepath.Join(dir, "shop")
			gitIn(t, dir, "init", "-q", "--bare", "--initial-branch=main", bare)
			gitIn(t, dir, "clone", "-q", bare, work)
			gitIn(t, work, "checkout", "-q", "-B", "main")
			var commits []string
			for i, text := range []string{planned, c.bad(planned)} {
				if err := os.WriteFile(filepath.Join(work, "web.yaml"), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				gitIn(t, work, "add", ".")
				gitIn(t, work, "commit", "-q", "-m", []string{"Begin", "Change"}[i])
				commits = append(commits, gitIn(t, work, "rev-parse", "HEAD"))
			}
			gitIn(t, work, "push", "-q", "origin", "main")

			plan := landed(t, filepath.Join(dir, "mirror"), bare, commits)
			if plan.Mode != c.mode {
				t.Errorf("mode %s, want %s: %v", plan.Mode, c.mode, plan.Failed)
			}
			if got := gitIn(t, bare, "show", "main:web.yaml"); got+"\n" != c.left(planned) {
				t.Errorf("the file is\n%s\nwant\n%s", got, c.left(planned))
			}
			if n := gitIn(t, bare, "rev-list", "--count", "main"); n != "3" {
				t.Errorf("%s commits, want 3", n)
			}
			message := gitIn(t, bare, "log", "-1", "--format=%s%n%(trailers)", "main")
			want := c.subject + "\nBelay-Rollback: 01J8\nBelay-Deployment: default/web\nBelay-To-Commit: " + commits[0] + "\nBelay-Requested-By: alice"
			if message != want {
				t.Errorf("the commit says\n%s\nwant\n%s", message, want)
			}
			gitIn(t, bare, "fsck", "--strict")
		})
	}
}

// landed rolls web back to the first of two commits, in the repository.
func landed(t *testing.T, mirror, url string, commits []string) change.Plan {
	t.Helper()
	m, err := source.Open(t.Context(), source.Config{Name: "shop", URL: url, Branch: "main", Dir: mirror, Timeout: time.Minute, Limits: source.DefaultLimits()}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	base := manifests.NewCache([]manifests.App{{Source: "shop", Name: "shop", Namespace: "default"}}, manifests.Options{})
	id := manifests.ID{Kind: "Deployment", Namespace: "default", Name: "web"}
	writer := m.Writer(source.Push{})
	var plan change.Plan
	_, err = writer.Land(t.Context(), func(ctx context.Context, s *source.Snapshot) (*source.Proposal, error) {
		b := gitHead{s}
		tree, err := b.Tree(ctx, commits[0])
		if err != nil {
			return nil, err
		}
		then, err := base.Fork(ctx, tree, commits[0])
		if err != nil {
			return nil, err
		}
		o, _ := then.Object(id)
		w := change.Wish{ID: id, Template: &o.Object.(*appsv1.Deployment).Spec.Template}
		if plan, err = change.Make(ctx, base, b, change.Task{Wish: w, Commits: commits[1:], Then: commits[0]}); err != nil {
			return nil, err
		}
		return proposal(ctx, writer, s, plan, w, reconciler.CommitNote{
			Trailer: "Belay-Rollback", ID: "01J8", To: "revision 1", ToCommit: commits[0], By: "alice", Why: "5xx", At: time.Unix(1e9, 0),
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}
