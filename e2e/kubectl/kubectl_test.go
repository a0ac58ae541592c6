package kubectl

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"k8s.io/kubectl/pkg/cmd"

	"github.com/belay-dev/belay/cmd/belay/app"
	"github.com/belay-dev/belay/cmd/belay/kube"
	"github.com/belay-dev/belay/cmd/belay/verbs"
)

// installed are looked for before the test's own kubectl is put in front of them.
var installed = kubectls(os.Getenv("PATH"))

// kubectls are the paths of every kubectl on a path, whatever version its name ends with.
func kubectls(path string) []string {
	version := regexp.MustCompile(`^kubectl([-.]?v?[0-9][0-9.]*)?$`)
	var found []string
	seen := map[string]bool{}
	for _, dir := range filepath.SplitList(path) {
		entries, _ := os.ReadDir(dir) // of a path much may be missing
		for _, e := range entries {
			name, err := filepath.EvalSymlinks(filepath.Join(dir, e.Name()))
			if !version.MatchString(e.Name()) || err != nil || seen[name] {
				continue
			}
			if info, err := os.Stat(name); err == nil && info.Mode()&0o111 != 0 {
				seen[name] = true
				found = append(found, filepath.Join(dir, e.Name()))
			}
		}
	}
	return found
}

// TestMain lets the test binary be belay, and kubectl as its libraries have it.
func TestMain(m *testing.M) {
	if err := become(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testscript.Main(quick{m}, map[string]func(){
		"belay": func() { os.Exit(verbs.Main(context.Background(), kube.New, app.Seams{})) },
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

// TestMounted runs them with the commands that are in belay.
func TestMounted(t *testing.T) {
	t.Parallel()
	run(t, "belay")
}

// TestInstalled runs them with every kubectl that is installed: most often an older one.
func TestInstalled(t *testing.T) {
	t.Parallel()
	if len(installed) == 0 && os.Getenv("REQUIRE_KUBECTL") != "" {
		t.Fatal("kubectl is not installed")
	}
	if len(installed) == 0 {
		t.Skip("kubectl is not installed")
	}
	for _, kubectl := range installed {
		t.Run(kubectl, func(t *testing.T) {
			t.Parallel()
			run(t, kubectl)
		})
	}
}

// patience is how long a script waits for something that must happen.
const patience = 3 * time.Minute

// run runs every script with a kubectl, $KUBECTL. Besides testscript's own commands they have:
//
//	serving            wait until the service answers
//	eventually CMD...  repeat a command until it succeeds
//	written RE FILE    wait until a file that a command in the background writes matches
//	golden NAME        compare what kubectl printed last with a golden file
//	backend FILE       ask the forwarded port that FILE tells of, and print the answer
//
// the variable SITE, where a web server has the script's files, and the conditions stock, when it is not belay, and installed, when it is a program of its own.
func run(t *testing.T, kubectl string, changes ...func(*testscript.Params)) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	scripts := testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			for key, value := range map[string]string{
				"HOME": e.WorkDir, "KUBECTL": kubectl, "BELAY_DATA_DIR": filepath.Join(e.WorkDir, "data"),
				"KUBECONFIG": filepath.Join(e.WorkDir, "kubeconfig"), "GIT_CONFIG_NOSYSTEM": "1",
				"GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.com",
				"DOCKER_HOST":        "unix://" + filepath.Join(e.WorkDir, "no-engine.sock"), // pods are simulated, whatever answers here
				"GIT_COMMITTER_NAME": "Ann", "GIT_COMMITTER_EMAIL": "ann@example.com",
			} {
				e.Setenv(key, value)
			}
			site := httptest.NewServer(http.FileServer(http.Dir(e.WorkDir)))
			e.Defer(site.Close)
			e.Setenv("SITE", site.URL)
			return nil
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "stock":
				return kubectl != "belay", nil
			case "installed":
				return filepath.IsAbs(kubectl), nil
			}
			return false, fmt.Errorf("no such condition: %s", name)
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
			"written": func(ts *testscript.TestScript, _ bool, args []string) {
				re := regexp.MustCompile("(?m)" + args[0])
				poll(ts, strings.Join(args, " in "), func() bool {
					text, err := os.ReadFile(ts.MkAbs(args[1]))
					return err == nil && re.Match(text)
				})
			},
			"backend": backend,
			"golden":  golden,
		},
	}
	if kubectl == "belay" { // the others choose among kubeconfigs
		scripts.Dir, scripts.Files = "", []string{"testdata/objects.txtar", "testdata/belay/verbs.txtar"}
	}
	for _, change := range changes {
		change(&scripts)
	}
	testscript.Run(t, scripts)
}

// poll repeats a check until it holds.
func poll(ts *testscript.TestScript, what string, check func() bool) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !check(); <-tick.C {
		if time.Now().After(end) {
			ts.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// backend asks the port that a file of what port-forward printed tells of.
func backend(ts *testscript.TestScript, _ bool, args []string) {
	address := regexp.MustCompile(`127\.0\.0\.1:[0-9]+`).FindString(ts.ReadFile(args[0]))
	res, err := http.Get("http://" + address)
	ts.Check(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	ts.Check(err)
	_, err = ts.Stdout().Write(body)
	ts.Check(err)
}
