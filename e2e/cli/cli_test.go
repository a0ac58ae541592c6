package cli

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/user"
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

// TestMain lets the test binary be the command belay, and kubectl as its libraries have it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"belay": func() { os.Exit(verbs.Main(context.Background(), kube.New, app.Seams{Now: clock()})) },
		"kubectl": func() {
			if cmd.NewDefaultKubectlCommand().Execute() != nil {
				os.Exit(1)
			}
		},
	})
}

// needGit skips without git, or fails where CI promised it.
func needGit(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("git"); err == nil {
		return
	}
	if os.Getenv("REQUIRE_GIT") != "" {
		t.Fatal("git is not installed")
	}
	t.Skip("git is not installed")
}

// TestScripts runs the scripts. Besides testscript's own commands they have:
//
//	serving            wait until the service answers
//	githttp TOKENFILE  serve the directory over HTTP at $HTTP_URL
//	gitssh KEYFILE     serve the directory over ssh at $SSH_ADDR, and write the key that opens it
//	                   While there is a file away, both close every connection at once.
//	stopssh            stop serving over ssh
//	hook PATH SECRET FILE STATUS  send FILE to the webhook address as GitHub does, and expect STATUS
//	deliver FILE SECRETFILE STATUS  send the delivery of a Git host that is in FILE, and expect STATUS
//	healthy            the health checks answer
//	call ROLE METHOD PATH BODY STATUS  ask Belay's own API, on the socket or, with a ROLE other than socket, over
//	                   the network with the token of the role; the answer is in the file answer
//	forward DURATION   set the clock of every belay of the script forward
//	normal FILE        hashes, ages, times and temporary names in FILE made equal
//	eventually CMD...  repeat a command until it succeeds
func TestScripts(t *testing.T) {
	t.Parallel()
	needGit(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			setenv(e.Setenv, e.WorkDir)
			e.Setenv(envClock, filepath.Join(e.WorkDir, ".clock"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serving": func(ts *testscript.TestScript, neg bool, args []string) {
				poll(ts, []string{"belay", "suspend", "--help"}, func() bool {
					_, err := os.Stat(filepath.Join(ts.Getenv("BELAY_DATA_DIR"), "service.json"))
					return err == nil
				})
			},
			"githttp": serveHTTP,
			"gitssh":  serveSSH,
			"hook":    hook,
			"load":    load,
			"deliver": deliver,
			"stopssh": stopSSH,
			"forward": forward,
			"call":    call,
			"healthy": func(ts *testscript.TestScript, neg bool, args []string) {
				service, err := app.ReadService(ts.Getenv("BELAY_DATA_DIR"))
				ts.Check(err)
				client := &http.Client{Transport: &http.Transport{
					DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the certificate is its own
				}}
				for _, path := range []string{"livez", "readyz", "healthz"} {
					res, err := client.Get("https://" + service.Address + "/" + path)
					ts.Check(err)
					ts.Check(res.Body.Close())
					if res.StatusCode != http.StatusOK {
						ts.Fatalf("/%s answers %s", path, res.Status)
					}
				}
			},
			"normal": func(ts *testscript.TestScript, neg bool, args []string) {
				text := normal(ts.ReadFile(args[0]))
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o644))
			},
			"eventually": func(ts *testscript.TestScript, neg bool, args []string) {
				poll(ts, args, func() bool { return ts.Exec(args[0], args[1:]...) == nil })
			},
		},
	})
}

// setenv gives commands a home of their own, a name for commits and a data directory.
func setenv(set func(key, value string), dir string) {
	set("HOME", dir)
	set("GIT_CONFIG_NOSYSTEM", "1")
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		set("GIT_"+who+"_NAME", "Ann")
		set("GIT_"+who+"_EMAIL", "ann@example.com")
	}
	set("GIT_CONFIG_COUNT", "2")
	set("GIT_CONFIG_KEY_0", "init.defaultBranch")
	set("GIT_CONFIG_VALUE_0", "main")
	set("GIT_CONFIG_KEY_1", "advice.detachedHead")
	set("GIT_CONFIG_VALUE_1", "false")
	set("BELAY_DATA_DIR", filepath.Join(dir, "data"))
	set("DOCKER_HOST", "unix://"+filepath.Join(dir, "no-engine.sock")) // pods are simulated, whatever answers here
}

// patience is how long a script waits for something that must happen.
const patience = 2 * time.Minute

// poll repeats a check, ten times a second, until it holds.
func poll(ts *testscript.TestScript, what []string, check func() bool) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !check(); <-tick.C {
		if time.Now().After(end) {
			ts.Fatalf("%s: not within %s", strings.Join(what, " "), patience)
		}
	}
}

var normalizers = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`/[^ "']*/(script-[a-z0-9_]+|belay-demo-\d+|readme\d*)`), "DIR"},
	{regexp.MustCompile(`/srv/git/`), "DIR/"},
	{regexp.MustCompile(`\b01[0-9a-hjkmnp-tv-z]{16}\b`), "ID"},
	{regexp.MustCompile(`\b[0-9a-f]{7,40}\b`), "HASH"},
	{regexp.MustCompile(`\b\d\d:\d\d\b`), "CLOCK"},
	{regexp.MustCompile(`\b(\d+[smhd])+ ago\b`), "AGO"},
	{regexp.MustCompile(`(\s)(\d+[smhd])+(\s|$)`), "${1}AGE${3}"},
	{regexp.MustCompile(`-[bcdfghjklmnpqrstvwxz2456789]{5,10}-[bcdfghjklmnpqrstvwxz2456789]{5}\b`), "-POD"},
	{regexp.MustCompile(`ErrImagePull|ImagePullBackOff`), "PULL"},
	{regexp.MustCompile(`process \d+`), "process PID"},
	{regexp.MustCompile(`kill \d+`), "kill PID"},
	{regexp.MustCompile(`[ \t]+`), " "},
	{regexp.MustCompile(` +\n`), "\n"},
}

// normal makes what differs from run to run equal.
func normal(s string) string {
	for _, n := range normalizers {
		s = n.re.ReplaceAllString(s, n.to)
	}
	return s
}

// TestReadme runs every console block of the README, in order and in one directory: what follows a command is what
// it must print.
func TestReadme(t *testing.T) {
	t.Parallel()
	needGit(t)
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "readme")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &session{t: t, dir: dir, env: os.Environ()}
	setenv(func(k, v string) { s.env = append(s.env, k+"="+v) }, dir)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"belay", "kubectl"} {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s.env = append(s.env, "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	defer s.stop()
	console := regexp.MustCompile("(?ms)^```console\n(.*?)^```$")
	if n := len(console.FindAll(readme, -1)); n < 3 {
		t.Fatalf("the README has %d console blocks", n)
	}
	printed := console.ReplaceAllStringFunc(string(readme), func(b string) string {
		return "```console\n" + s.block(console.FindStringSubmatch(b)[1]) + "```"
	})
	if *rewrite {
		if err := os.WriteFile("../../README.md", []byte(printed), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

var rewrite = flag.Bool("rewrite", false, "write what the README's commands print into it; read the difference before you commit it")

// session is a shell whose working directory lasts from command to command, as a reader's does.
type session struct {
	t       *testing.T
	dir     string
	env     []string
	service *exec.Cmd
}

// block runs the commands of one block, compares what they print, and returns the block with what they printed now, as
// if in the directory /srv/git.
func (s *session) block(text string) string {
	s.t.Helper()
	var printed strings.Builder
	for _, part := range strings.Split("\n"+text, "\n$ ")[1:] {
		command, want, _ := strings.Cut(part, "\n")
		for strings.HasSuffix(command, "\\") {
			var more string
			more, want, _ = strings.Cut(want, "\n")
			command = strings.TrimSuffix(command, "\\") + more
		}
		if strings.Contains(command, "<<'EOF'") {
			body, rest, _ := strings.Cut("\n"+want+"\n", "\nEOF\n")
			command, want = command+body+"\nEOF", rest
		}
		got := s.called(s.run(command))
		printed.WriteString("$ " + command + "\n")
		if out := strings.TrimSpace(got); out != "" {
			printed.WriteString(strings.ReplaceAll(out, s.dir, "/srv/git") + "\n")
		}
		if w, g := normal(strings.TrimSpace(want)), normal(strings.TrimSpace(got)); w != g && !*rewrite {
			s.t.Fatalf("$ %s\nprints\n%s\nthe README says\n%s", command, g, w)
		}
	}
	return printed.String()
}

// called gives who runs the test the name that the README tells of, in columns of the same width.
func (s *session) called(text string) string {
	s.t.Helper()
	me, err := user.Current()
	if err != nil {
		s.t.Fatal(err)
	}
	const name = "ann"
	return regexp.MustCompile(`\b`+regexp.QuoteMeta(me.Username)+`\b(  +)?`).ReplaceAllStringFunc(text, func(found string) string {
		if !strings.HasSuffix(found, " ") {
			return name
		}
		return fmt.Sprintf("%-*s", len(found), name)
	})
}

// run executes one command; one that ends in & is the service, which lasts until the end.
func (s *session) run(command string) string {
	s.t.Helper()
	if background, ok := strings.CutSuffix(command, " &"); ok {
		s.service = exec.Command("sh", "-c", "exec "+background)
		s.service.Dir, s.service.Env = s.dir, s.env
		if err := s.service.Start(); err != nil {
			s.t.Fatal(err)
		}
		return s.run("until belay status >/dev/null 2>&1 || [ $? = 1 ]; do :; done")
	}
	cmd := exec.Command("sh", "-c", command+"\npwd >"+filepath.Join(s.dir, ".pwd"))
	cmd.Dir, cmd.Env = s.dir, s.env
	if b, err := os.ReadFile(filepath.Join(s.dir, ".pwd")); err == nil {
		cmd.Dir = strings.TrimSpace(string(b))
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("$ %s\n%s%v", command, out, err)
	}
	return string(out)
}

func (s *session) stop() {
	if s.service == nil {
		return
	}
	if err := s.service.Process.Signal(os.Interrupt); err != nil {
		s.t.Errorf("stop the service: %v", err)
	}
	if err := s.service.Wait(); err != nil {
		s.t.Errorf("the service ended with: %v", err)
	}
}
