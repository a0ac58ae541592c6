package kubectl

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/belay-dev/belay/reconciler/node/docker"
	"github.com/belay-dev/belay/reconciler/node/image"
)

// TestDocker runs the scripts about pods that really run, on the Docker engine that the environment names. $APP is an
// image whose entrypoint is the conformance suite's program, $PROGRAM, in a registry that ends with the test; $APP2 is the same
// under another tag, $OTHER another image that does the same, $MISSING is not there; $GUESTBOOK and $REDIS are those of
// the guestbook in $EXAMPLES.
func TestDocker(t *testing.T) {
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
	files, err := filepath.Glob(filepath.Join("testdata", "docker", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	really(t, "docker", files, nil)
}

// rounds is how often the script about rollouts does each thing; fewRounds are for every change.
var rounds = flag.Int("rounds", fewRounds, "rolling updates, and restarts of the service, under load")

const fewRounds = 3

// Scripts about two Deployments that find each other, about who reaches whom, and about what goes on under load.
const (
	services  = "services.txtar"
	guestbook = "guestbook.txtar"
	rollouts  = "rollouts.txtar"
)

// really runs scripts about pods that really run. ended is called at the end of each, with the data directory.
func really(t *testing.T, runtime string, files []string, ended func(dataDir string)) {
	kubectl := "kubectl"
	if len(installed) > 0 {
		kubectl = installed[0]
	}
	program := built(t, "program", "reconciler/node/conformance/image")
	repository := publish(t, "/program", program)
	examples, err := filepath.Abs(filepath.Join("..", "examples"))
	if err != nil {
		t.Fatal(err)
	}
	binary, err := filepath.EvalSymlinks(service)
	if err != nil {
		t.Fatal(err)
	}
	variables := map[string]string{
		"SERVICE": binary, "ROUNDS": strconv.Itoa(*rounds), "LOOPBACK": loopback(),
		"PROGRAM": program, "RUNTIME": runtime, "APP": repository + ":1", "APP2": repository + ":2", "MISSING": repository + ":3",
		"OTHER": repository + ":other", "EXAMPLES": examples,
	}
	if runtime == "docker" {
		variables["DOCKER_HOST"] = os.Getenv("DOCKER_HOST")
	}
	if slices.ContainsFunc(files, func(file string) bool { return filepath.Base(file) == guestbook }) {
		for _, name := range []string{"guestbook", "redis"} {
			variables[strings.ToUpper(name)] = publish(t, "/"+name, built(t, name, "e2e/examples/guestbook/image")) + ":1"
		}
	}
	run(t, kubectl, func(p *testscript.Params) {
		p.Dir, p.Files = "", files
		before := p.Setup
		p.Setup = func(e *testscript.Env) error {
			if err := before(e); err != nil {
				return err
			}
			for key, value := range variables {
				e.Setenv(key, value)
			}
			if ended != nil {
				e.Defer(func() { ended(e.Getenv("BELAY_DATA_DIR")) })
			}
			return nil
		}
		p.Cmds["move"], p.Cmds["load"] = move, load
	})
}

// built is a program of this module that pods run, or that holds them.
func built(t *testing.T, name, pkg string) string {
	t.Helper()
	if dir := os.Getenv(binariesVariable); dir != "" {
		return filepath.Join(dir, name)
	}
	file := filepath.Join(t.TempDir(), name)
	build := exec.Command("go", "build", "-trimpath", "-o", file, "github.com/belay-dev/belay/"+pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return file
}

// publish serves the image of a program, which is a file there, from this machine: under two tags and, as another image,
// under a third.
func publish(t *testing.T, file, program string) (repository string) {
	t.Helper()
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New())
	t.Cleanup(server.Close)
	repository = strings.TrimPrefix(server.URL, "http://") + "/belay/app"
	for tag, link := range map[string]string{":1": "/bin/tar", ":2": "/bin/tar", ":other": "/usr/bin/tar"} {
		img, err := image.Single{Architecture: runtime.GOARCH, Name: file, Program: data, Links: []string{link}}.Image()
		if err != nil {
			t.Fatal(err)
		}
		ref, err := name.ParseReference(repository + tag)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, img, remote.WithContext(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	return repository
}

// move FROM TO has the name TO stand for what FROM does, in the registry.
func move(ts *testscript.TestScript, _ bool, args []string) {
	from, err := name.ParseReference(args[0])
	ts.Check(err)
	to, err := name.NewTag(args[1])
	ts.Check(err)
	img, err := remote.Image(from)
	ts.Check(err)
	ts.Check(remote.Tag(to, img))
}

// loopback is an address of this machine that other processes with these tests do not use: node ports go by names.
func loopback() string { return fmt.Sprintf("127.77.%d.%d", os.Getpid()>>8&0xff, os.Getpid()&0xff) }

// load FILE CMD... runs a command while clients ask the address that FILE names, each time over a connection of
// its own. It fails when a request was not answered with 200.
func load(ts *testscript.TestScript, _ bool, args []string) {
	url := "http://" + ts.ReadFile(args[0])
	done := make(chan struct{})
	var asking sync.WaitGroup
	var asked, lost atomic.Int64
	var first sync.Once
	var why error
	for range 4 {
		asking.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
			for {
				asked.Add(1)
				if err := ask(client, url); err != nil {
					lost.Add(1)
					first.Do(func() { why = err })
				}
				select {
				case <-done:
					return
				case <-time.After(askPause):
				}
			}
		})
	}
	err := ts.Exec(args[1], args[2:]...)
	close(done)
	asking.Wait()
	ts.Check(err)
	ts.Logf("%d requests", asked.Load())
	if lost.Load() > 0 {
		ts.Fatalf("%d of %d requests failed: %v", lost.Load(), asked.Load(), why)
	}
}

// askPause is between two requests of one client.
const askPause = 10 * time.Millisecond

func ask(client *http.Client, url string) error {
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	return errors.Join(err, answer.Body.Close())
}
