package kubectl

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"k8s.io/kubectl/pkg/cmd"

	"github.com/belay-dev/belay/cmd/belay/kube"
	"github.com/belay-dev/belay/cmd/belay/verbs"
)

// installed is looked for before the test's own kubectl is put in front of it.
var installed, errInstalled = exec.LookPath("kubectl")

// TestMain lets the test binary be belay, and kubectl as its libraries have it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"belay": func() { os.Exit(verbs.Main(context.Background(), kube.New)) },
		"kubectl": func() {
			if cmd.NewDefaultKubectlCommand().Execute() != nil {
				os.Exit(1)
			}
		},
	})
}

// TestLibrary runs the scripts with the command tree of k8s.io/kubectl.
func TestLibrary(t *testing.T) {
	t.Parallel()
	run(t, "kubectl")
}

// TestInstalled runs them with the kubectl that is installed, which is most often older.
func TestInstalled(t *testing.T) {
	t.Parallel()
	if errInstalled != nil && os.Getenv("REQUIRE_KUBECTL") != "" {
		t.Fatal("kubectl is not installed")
	}
	if errInstalled != nil {
		t.Skip("kubectl is not installed")
	}
	run(t, installed)
}

// patience is how long a script waits for something that must happen.
const patience = 30 * time.Second

// run runs every script with a kubectl, $KUBECTL. Besides testscript's own commands they have:
//
//	serving            wait until the service answers
//	eventually CMD...  repeat a command until it succeeds
func run(t *testing.T, kubectl string) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			for key, value := range map[string]string{
				"HOME": e.WorkDir, "KUBECTL": kubectl, "BELAY_DATA_DIR": filepath.Join(e.WorkDir, "data"),
				"KUBECONFIG": filepath.Join(e.WorkDir, "kubeconfig"), "GIT_CONFIG_NOSYSTEM": "1",
				"GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.com",
				"GIT_COMMITTER_NAME": "Ann", "GIT_COMMITTER_EMAIL": "ann@example.com",
			} {
				e.Setenv(key, value)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serving": func(ts *testscript.TestScript, _ bool, _ []string) {
				poll(ts, "the service answers", func() bool {
					_, err := os.Stat(filepath.Join(ts.Getenv("BELAY_DATA_DIR"), "service.json"))
					return err == nil
				})
			},
			"eventually": func(ts *testscript.TestScript, _ bool, args []string) {
				poll(ts, strings.Join(args, " "), func() bool { return ts.Exec(args[0], args[1:]...) == nil })
			},
		},
	})
}

// poll repeats a check until it holds.
func poll(ts *testscript.TestScript, what string, check func() bool) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !check(); <-tick.C {
		if time.Now().After(end) {
			ts.Fatalf("%s: not within %s", what, patience)
		}
	}
}
