package kubectl

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belay-dev/belay/reconciler/node/docker"
)

// TestDemo has the demo tell its story, with what this machine has to run pods.
func TestDemo(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	for _, runtime := range []string{"", "simulated"} {
		t.Run("runtime "+runtime, func(t *testing.T) { demo(t, runtime) })
	}
}

// TestDockerDemo has the demo run its pods on the Docker engine that the environment names.
func TestDockerDemo(t *testing.T) {
	engine, err := docker.Open(t.Context())
	if err != nil {
		if os.Getenv("REQUIRE_DOCKER") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	demo(t, "docker")
}

// demo runs the whole story.
func demo(t *testing.T, runtime string) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "belay", "demo", "--exit", "--runtime", runtime)
	cmd.Cancel, cmd.WaitDelay = func() error { return cmd.Process.Signal(os.Interrupt) }, time.Minute // it leaves nothing behind
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	text, err := cmd.CombinedOutput()
	out := string(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := []string{
		"ErrImagePull", "deployment.apps/mediawiki rolled back", `Belay: Revert "Tercer despliegue`, "2 (now 4)", "RolledBack(by 4, ",
		"\n1         Primer despliegue. Desplegamos versión 1.43.5\n3         Tercer despliegue. Actualizamos a la versión 2\n4         ",
	}
	if runtime != "" {
		want = append(want, "--runtime "+runtime)
	}
	if !strings.Contains(out, "--runtime simulated") {
		want = append(want, " requests, 0 failed\n")
	}
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("nothing says %q:\n%s", w, out)
		}
	}
	var told []string
	for _, line := range regexp.MustCompile(`(?m)^\$ .*$`).FindAllString(out, -1) {
		line = regexp.MustCompile(`/\S*/belay-demo-[0-9]+/`).ReplaceAllString(line, "DEMO/")
		if !strings.HasPrefix(line, "$ curl ") { // nobody asks simulated pods
			told = append(told, regexp.MustCompile(` --runtime .*`).ReplaceAllString(line, ""))
		}
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(story), "\n"), told); diff != "" {
		t.Errorf("its commands (-want +got):\n%s", diff)
	}
}

// story is what the demo does, whatever runs its pods.
const story = `
$ git init --bare --initial-branch=main DEMO/wiki.git
$ git commit -m "Primer despliegue. Desplegamos versión 1.43.5"
$ git push
$ belay serve --repo DEMO/wiki.git --interval 1s --push
$ belay sync --wait
$ git commit -m "Segundo despliegue. Actualizamos a la versión 1.44.2"
$ git push
$ belay sync --wait
$ belay rollout status deploy/mediawiki
$ git commit -m "Tercer despliegue. Actualizamos a la versión 2"
$ git push
$ belay sync
$ belay get pods
$ belay status
$ belay rollout undo deploy/mediawiki
$ belay rollout status deploy/mediawiki
$ belay get pods
$ git log --stat -1 "--format=%h %an: %s"
$ belay sync --wait
$ belay holds
$ belay rollout history deploy/mediawiki
$ belay history deploy/mediawiki
`
