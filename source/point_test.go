package source

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What the test says to the process that it starts from its own binary.
const (
	pointEnv = "BELAY_TEST_POINT" // what the process does
	killAt   = "BELAY_TEST_KILL"  // the point at which it kills itself; 0: it does not
)

// track is what one process passed: "before" or "after", and the point.
type track struct {
	mu     sync.Mutex
	passed []string
}

func (k *track) pass(p Point, done bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.passed = append(k.passed, passing(p, done))
}

func passing(p Point, done bool) string {
	if done {
		return "after " + string(p)
	}
	return "before " + string(p)
}

// deed is something that a process does, again and again, killed at one point after the other.
type deed struct {
	name string
	// prepare gives what one process works on, and how everything is afterwards: a process that was killed and the next
	// one together make the same of it as one that was not.
	prepare func(t *testing.T) (Config, func(*testing.T) string)
	do      func(t *testing.T, cfg Config)
}

// polled opens a mirror and brings it up to date.
func polled(t *testing.T, cfg Config) {
	m := openMirror(t, cfg)
	defer m.Close()
	if before := m.Head().Commit; before != "" { // what a killed one left is served, or not: never half
		if _, err := readAll(snapshot(t, m), before); err != nil {
			t.Errorf("at first: %v", err)
		}
	}
	poll(t, m)
}

// landed pushes a change.
func landed(t *testing.T, cfg Config) {
	m := openMirror(t, cfg)
	defer m.Close()
	w := m.Writer(Push{})
	if _, err := w.Land(t.Context(), once(w, "changed")); err != nil {
		t.Error(err)
	}
	poll(t, m)
}

// mirrored is how a mirror is: its branches and what it keeps, all that its head holds, and nothing left over beside it.
func mirrored(cfg Config) func(*testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		fsck(t, cfg.Dir)
		var out strings.Builder
		for _, prefix := range []string{"refs/heads/", keepPrefix} {
			names, err := listRefs(cfg.Dir, prefix)
			if err != nil {
				t.Error(err)
			}
			fmt.Fprintln(&out, prefix, names)
		}
		m := openMirror(t, cfg)
		defer m.Close()
		files, err := readAll(snapshot(t, m), m.Head().Commit)
		fmt.Fprintln(&out, m.Head().Commit, slices.Sorted(maps.Keys(files)), files["f"], err)
		_, err = os.Stat(cfg.Dir + ".bad")
		fmt.Fprintln(&out, "set aside:", err == nil)
		for _, dir := range []string{cfg.Dir, cfg.Dir + ".new"} {
			if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err == nil && (strings.HasPrefix(d.Name(), "tmp_") || dir != cfg.Dir) {
					t.Errorf("left over: %s", path)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		}
		return out.String()
	}
}

// from gives a mirror that edit makes of the one in a directory.
func from(t *testing.T, cfg Config, edit func(dir string)) Config {
	t.Helper()
	to := filepath.Join(t.TempDir(), "mirror")
	if err := os.CopyFS(to, os.DirFS(cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	edit(to)
	cfg.Dir = to
	return cfg
}

// deeds are all that a mirror makes durable.
func deeds() []deed {
	fetching := func(name string, more func(t *testing.T, r *repo), edit func(t *testing.T, dir string), do func(*testing.T, Config)) deed {
		var base Config // of what nobody changes: made once, for the run that nobody disturbs
		return deed{name, func(t *testing.T) (Config, func(*testing.T) string) {
			t.Helper()
			if base.Name == "" {
				r := newRepo(t)
				r.commit("main", "start", map[string]string{"f": "0"})
				r.commit("feature/x", "other", map[string]string{"f": "other"})
				base = r.config()
				polled(t, base)
				more(t, r)
			}
			cfg := from(t, base, func(dir string) { edit(t, dir) })
			return cfg, mirrored(cfg)
		}, do}
	}
	pushing := func(name string, over int, before func(*testing.T, Config)) deed {
		return deed{name, func(t *testing.T) (Config, func(*testing.T) string) {
			t.Helper()
			r := writable(t)
			r.commit("main", "first", map[string]string{"f": "0"})
			cfg := pushTransports[over].config(t, r)
			before(t, cfg)
			return cfg, func(t *testing.T) string {
				t.Helper()
				sound(t, r)
				locks, err := filepath.Glob(filepath.Join(r.dir, "refs", "heads", "*"+lockSuffix))
				if err != nil || len(locks) > 0 {
					t.Errorf("%v, %v", locks, err)
				}
				return mirrored(cfg)(t) + r.git("", "log", "--format=%s", "main")
			}
		}, landed}
	}
	next := func(_ *testing.T, r *repo) { r.commit("main", "next", map[string]string{"f": "1"}) }
	asIs := func(*testing.T, string) {}
	return []deed{
		fetching("clone", next, func(t *testing.T, dir string) { remove(t, dir) }, polled),
		fetching("rewritten", func(t *testing.T, r *repo) {
			r.git("", "update-ref", "-d", "refs/heads/main")
			r.commit("main", "anew", map[string]string{"f": "anew"})
		}, asIs, polled),
		fetching("of another repository", next, func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "description"), "https://elsewhere.example.com/x\n")
		}, polled),
		fetching("damaged", next, func(t *testing.T, dir string) { remove(t, packs(t, dir, ".pack")...) }, polled),
		fetching("damaged while it is open", next, asIs, func(t *testing.T, cfg Config) {
			m := openMirror(t, cfg)
			defer m.Close()
			m.damaged.Store(true)
			poll(t, m)
		}),
		fetching("many packs", next, func(t *testing.T, dir string) {
			var all []string
			for _, p := range packs(t, dir, ".pack") {
				all = append(all, strings.TrimSuffix(p, ".pack"))
			}
			for i := range maxPacks { // what is in a pack may be in others, too
				for _, ext := range []string{".pack", ".idx"} {
					if err := os.Link(all[0]+ext, filepath.Join(dir, "objects", "pack", fmt.Sprintf("pack-%040x%s", i, ext))); err != nil {
						t.Fatal(err)
					}
				}
			}
		}, polled),
		pushing("push", 0, func(*testing.T, Config) {}),
		pushing("push after a killed one", 0, func(t *testing.T, cfg Config) {
			play(t, "push", cfg, "after "+string(PointLock))
		}),
		pushing("push over http", 1, func(*testing.T, Config) {}),
	}
}

// play has a process do something, killed where it passes a point for the first time; empty: not. It returns what the
// process passed.
func play(t *testing.T, name string, cfg Config, at string) []string {
	t.Helper()
	told, err := json.Marshal(struct{ URL, Dir string }{cfg.URL, cfg.Dir})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestKilledAtEveryPoint$")
	cmd.Env = append(os.Environ(), pointEnv+"="+name, pointEnv+"_CONFIG="+string(told), killAt+"="+at)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var passed, said []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if p, ok := strings.CutPrefix(lines.Text(), "point "); ok {
			passed = append(passed, p)
		} else {
			said = append(said, lines.Text())
		}
	}
	err = cmd.Wait()
	exit, _ := errors.AsType[*exec.ExitError](err)
	if killed := exit != nil && !exit.Exited(); killed != (at != "") || err != nil && !killed {
		t.Fatalf("%s, to be killed %s: %v\n%s\n%s", name, at, err, strings.Join(said, "\n"), errs.String())
	}
	return passed
}

// TestKilledAtEveryPoint has a process do all that makes anything durable, and kills it at every point; what the next
// process makes of it is what comes of one that nobody kills. There is no point that none passes.
func TestKilledAtEveryPoint(t *testing.T) {
	if name := os.Getenv(pointEnv); name != "" {
		doomed(t, name)
		return
	}
	t.Parallel()
	var mu sync.Mutex
	passed := map[string]bool{}
	pass := func(all []string) {
		mu.Lock()
		defer mu.Unlock()
		for _, p := range all {
			passed[p] = true
		}
	}
	skipped := ""
	t.Run("deeds", func(t *testing.T) {
		for _, d := range deeds() {
			t.Run(d.name, func(t *testing.T) {
				t.Parallel()
				defer func() {
					if t.Skipped() {
						mu.Lock()
						defer mu.Unlock()
						skipped = d.name
					}
				}()
				cfg, how := d.prepare(t)
				points := play(t, d.name, cfg, "")
				pass(points)
				unbroken := how(t)
				for i, p := range points {
					n := 1 + len(slices.DeleteFunc(slices.Clone(points[:i]), func(other string) bool { return other != p }))
					if last := !slices.Contains(points[i+1:], p); n > 2 && !last || n > 1 && strings.HasPrefix(p, "after ") {
						continue // as those before
					}
					cfg, how := d.prepare(t)
					play(t, d.name, cfg, fmt.Sprint(n, " ", p))
					var k track
					cfg.Points = k.pass
					d.do(t, cfg)
					pass(k.passed)
					if diff := cmp.Diff(unbroken, how(t)); diff != "" {
						t.Errorf("killed %s, time %d, it ends otherwise (-unbroken +killed):\n%s", p, n, diff)
					}
				}
			})
		}
	})
	if skipped != "" {
		t.Skipf("%s: skipped, so not every point is passed", skipped)
	}
	want := map[string]bool{}
	for _, p := range declaredPoints(t) {
		want[passing(p, false)], want[passing(p, true)] = true, true
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(passed))); diff != "" {
		t.Errorf("points (-there are +passed):\n%s", diff)
	}
}

// doomed does what the test wants of this process, and kills it where it is to be.
func doomed(t *testing.T, name string) {
	cfg := Config{Name: "test", Branch: "main"}
	var told struct{ URL, Dir string }
	if err := json.Unmarshal([]byte(os.Getenv(pointEnv+"_CONFIG")), &told); err != nil {
		t.Fatal(err)
	}
	cfg.URL, cfg.Dir = told.URL, told.Dir
	count := map[string]int{}
	cfg.Points = func(p Point, done bool) {
		at := passing(p, done)
		count[at]++
		fmt.Println("point", at)
		if to := os.Getenv(killAt); to == at || to == fmt.Sprint(count[at], " ", at) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // it cannot fail
			select {}
		}
	}
	all := deeds()
	all[slices.IndexFunc(all, func(d deed) bool { return d.name == name })].do(t, cfg)
}

// declaredPoints are the constants of the type.
func declaredPoints(t *testing.T) []Point {
	t.Helper()
	var out []Point
	for _, file := range sources(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && fmt.Sprint(v.Type) == "Point" && len(v.Values) == 1 {
				if text, ok := v.Values[0].(*ast.BasicLit); ok {
					out = append(out, Point(strings.Trim(text.Value, `"`)))
				}
			}
			return true
		})
	}
	return out
}

func sources(t *testing.T) map[string]*ast.File {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*ast.File{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		if out[name], err = parser.ParseFile(token.NewFileSet(), name, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// lasting are the functions of package os that change what a name stands for. A new file of os.CreateTemp has none that
// anybody reads.
var lasting = []string{
	"Chmod", "Create", "CopyFS", "Link", "Mkdir", "MkdirAll", "MkdirTemp", "OpenFile", "Remove", "RemoveAll", "Rename", "Symlink", "Truncate", "WriteFile",
}

// TestStepsHavePoints: nothing is made durable but as a step with a point, at which the tests kill the process.
func TestStepsHavePoints(t *testing.T) {
	t.Parallel()
	found := 0
	for name, file := range sources(t) {
		var look func(n ast.Node, inside bool)
		look = func(n ast.Node, inside bool) {
			ast.Inspect(n, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				to, ok := call.Fun.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if to.Sel.Name == "do" && len(call.Args) == 2 {
					look(call.Args[0], inside)
					look(call.Args[1], true)
					return false
				}
				if fmt.Sprint(to.X) == "os" && slices.Contains(lasting, to.Sel.Name) {
					if found++; !inside {
						t.Errorf("%s: os.%s is no step with a point", name, to.Sel.Name)
					}
				}
				return true
			})
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name != "discard" { // of what has no name that anybody reads
				look(f, false)
			}
		}
	}
	if found < 10 {
		t.Errorf("%d steps found", found)
	}
}
