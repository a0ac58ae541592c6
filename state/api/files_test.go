package api

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belay-dev/belay/state"
)

// What the test says to the process that it starts from its own binary.
const (
	filesEnv = "BELAY_TEST_FILES" // the directory
	killAt   = "BELAY_TEST_KILL"  // the point at which the process kills itself; empty: it does not
)

// makeFiles makes the files of a server, as New does.
func makeFiles(files state.Files, dir string) error {
	address := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	err := clearFiles(files, dir)
	if err != nil {
		return err
	}
	tokens, err := openTokens(files, filepath.Join(dir, "tokens"))
	if err != nil {
		return err
	}
	at, err := openCertificate(files, filepath.Join(dir, "tls"), address, time.Now())
	if err != nil {
		return err
	}
	certificate, err := os.ReadFile(at.CertFile)
	if err != nil {
		return err
	}
	return writeKubeconfig(files, filepath.Join(dir, "kubeconfig"), address, certificate, tokens)
}

// TestFilesKilled kills a process at every step by which it makes the files of a server: the next one has all of them, the
// key is of the certificate, a token that was there is there, and nothing is left over.
func TestFilesKilled(t *testing.T) {
	if dir := os.Getenv(filesEnv); dir != "" {
		err := makeFiles(func(p state.FilePoint, done bool) {
			at := passing(p, done)
			fmt.Println("point", at)
			if os.Getenv(killAt) == at {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // it cannot fail
				select {}
			}
		}, dir)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Parallel()
	points := playFiles(t, t.TempDir(), "")
	passed := map[string]bool{}
	for _, at := range points {
		passed[at] = true
		t.Run(at, func(t *testing.T) {
			dir := t.TempDir()
			playFiles(t, dir, at)
			before, _ := os.ReadFile(filepath.Join(dir, "tokens")) // it may not be there yet
			err := makeFiles(func(p state.FilePoint, done bool) { passed[passing(p, done)] = true }, dir)
			if err != nil {
				t.Fatal(err)
			}
			after, err := os.ReadFile(filepath.Join(dir, "tokens"))
			if err != nil || len(after) == 0 || len(before) > 0 && string(before) != string(after) {
				t.Errorf("tokens %q, then %q, %v", before, after, err)
			}
			if _, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls", "server.crt"), filepath.Join(dir, "tls", "server.key")); err != nil {
				t.Error(err)
			}
			left, err := filepath.Glob(filepath.Join(dir, "*", "*.tmp"))
			more, moreErr := filepath.Glob(filepath.Join(dir, "*.tmp"))
			if err := errors.Join(err, moreErr); err != nil || len(left)+len(more) > 0 {
				t.Errorf("left over: %v %v, %v", left, more, err)
			}
		})
	}
	want := map[string]bool{}
	for _, p := range declaredFiles(t) {
		want[passing(p, false)], want[passing(p, true)] = true, true
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(passed))); diff != "" {
		t.Errorf("points (-there are +passed):\n%s", diff)
	}
}

func passing(p state.FilePoint, done bool) string {
	if done {
		return "after " + string(p)
	}
	return "before " + string(p)
}

// playFiles has a process make the files, killed at a point, and returns what it passed.
func playFiles(t *testing.T, dir, at string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestFilesKilled$")
	cmd.Env = append(os.Environ(), filesEnv+"="+dir, killAt+"="+at)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var passed []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if p, ok := strings.CutPrefix(lines.Text(), "point "); ok {
			passed = append(passed, p)
		}
	}
	err = cmd.Wait()
	exit, _ := errors.AsType[*exec.ExitError](err)
	if killed := exit != nil && !exit.Exited(); killed != (at != "") || err != nil && !killed {
		t.Fatalf("to be killed %q: %v", at, err)
	}
	return passed
}

// declaredFiles are the constants of the type.
func declaredFiles(t *testing.T) []state.FilePoint {
	t.Helper()
	file, err := parser.ParseFile(gotoken.NewFileSet(), "files.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []state.FilePoint
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
			if text, ok := v.Values[0].(*ast.BasicLit); ok {
				out = append(out, state.FilePoint(strings.Trim(text.Value, `"`)))
			}
		}
		return true
	})
	return out
}

// TestFilesHavePoints: the server makes nothing durable but as a step with a point.
func TestFilesHavePoints(t *testing.T) {
	t.Parallel()
	lasting := []string{"Chmod", "Create", "CreateTemp", "Link", "Mkdir", "MkdirAll", "MkdirTemp", "OpenFile", "Remove", "RemoveAll", "Rename", "Symlink", "Truncate", "WriteFile"}
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			to, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if to.Sel.Name == "Do" && fmt.Sprint(to.X) == "files" {
				found++
				return false
			}
			if fmt.Sprint(to.X) == "os" && slices.Contains(lasting, to.Sel.Name) {
				t.Errorf("%s: os.%s is no step with a point", name, to.Sel.Name)
			}
			return true
		})
	}
	if found == 0 {
		t.Error("no step found")
	}
}
