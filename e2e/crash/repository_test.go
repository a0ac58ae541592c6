package crash

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// repository has the commits of the story; each run has a branch of its own.
type repository struct {
	dir     string
	commits map[string]string // name → hash
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("REQUIRE_GIT") != "" {
			t.Fatal("git is not installed")
		}
		t.Skip("git is not installed")
	}
	r := &repository{dir: filepath.Join(t.TempDir(), "shop.git"), commits: map[string]string{}}
	r.git(t, "", "init", "--quiet", "--bare", r.dir)
	config := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra}\ndata: {a: b}\n"
	steady := manifest("steady", "steady:1")
	parent := ""
	for _, c := range []struct{ name, web, extra string }{
		{"older", "web:0", ""}, {"first", "web:1", ""}, {"second", "web:2", config}, {"missing", "web:missing", config},
		{"revert", "web:2", config}, {"prune", "web:2", ""},
	} {
		var s strings.Builder
		fmt.Fprintf(&s, "commit refs/heads/story\ncommitter Ann <ann@example.com> 1790000000 +0000\ndata %d\n%s\n", len(c.name), c.name)
		if parent != "" {
			fmt.Fprintf(&s, "from %s\n", parent)
		}
		s.WriteString("deleteall\n")
		settings := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {of: '%s'}\n", c.web)
		for name, text := range map[string]string{
			"web.yaml": naming(manifest("web", c.web)), "steady.yaml": steady, "extra/extra.yaml": c.extra, "settings.yaml": settings,
		} {
			if text != "" {
				fmt.Fprintf(&s, "M 644 inline %s\ndata %d\n%s\n", name, len(text), text)
			}
		}
		r.git(t, s.String(), "-C", r.dir, "fast-import", "--quiet")
		parent = r.git(t, "", "-C", r.dir, "rev-parse", "refs/heads/story")
		r.commits[c.name] = parent
	}
	return r
}

func manifest(name, image string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: %s
spec:
  replicas: 2
  selector: {matchLabels: {app: %s}}
  template:
    metadata: {labels: {app: %s}}
    spec:
      containers:
      - name: c
        image: %s
`, name, name, name, image)
}

// naming adds a ConfigMap to the environment of a manifest's container.
func naming(manifest string) string {
	return manifest + "        envFrom:\n        - configMapRef: {name: settings}\n"
}

// push moves a branch to a commit.
func (r *repository) push(t *testing.T, branch, commit string) {
	t.Helper()
	r.git(t, "", "-C", r.dir, "update-ref", "refs/heads/"+branch, r.commits[commit])
}

// commit makes a commit with an image of web after a parent, moves the branch there and returns it. An image that is
// none is the whole manifest.
func (r *repository) commit(t *testing.T, branch, parent, message, image string) string {
	t.Helper()
	web := manifest("web", image)
	if strings.Contains(image, "{") {
		web = image
	}
	var s strings.Builder
	fmt.Fprintf(&s, "commit refs/heads/%s\ncommitter Ann <ann@example.com> 1790000000 +0000\ndata %d\n%s\nfrom %s\n", branch, len(message), message, parent)
	fmt.Fprintf(&s, "M 644 inline web.yaml\ndata %d\n%s\n", len(web), web)
	r.git(t, s.String(), "-C", r.dir, "fast-import", "--quiet", "--force")
	return r.git(t, "", "-C", r.dir, "rev-parse", "refs/heads/"+branch)
}

// name is what the story calls a commit.
func (r *repository) name(hash string) string {
	for name, h := range r.commits {
		if h == hash {
			return name
		}
	}
	return hash
}

func (r *repository) git(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}
