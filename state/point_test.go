package state

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

// ended is a data directory as a process left it that ended at a point, and what it had said to be durable by then.
type ended struct {
	at      DiskPoint
	dir     string
	rows    int
	version int64
}

// endings copies a data directory at every point: kill -9 leaves what was written, synced or not.
type endings struct {
	t   *testing.T
	dir string

	mu      sync.Mutex
	full    bool // but for the reserve
	rows    int
	version int64
	all     []ended
}

func (e *endings) at(p DiskPoint) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	to := e.t.TempDir()
	if err := os.CopyFS(to, os.DirFS(e.dir)); err != nil {
		e.t.Errorf("%s: %v", p, err)
	}
	e.all = append(e.all, ended{p, to, e.rows, e.version})
	if _, err := os.Stat(filepath.Join(e.dir, ReserveName)); p == BeforeWrite && e.full && err == nil {
		return syscall.ENOSPC
	}
	return nil
}

func (e *endings) open(schema int64, ms map[int64]migration) *Store {
	e.t.Helper()
	o := testOptions()
	o.Reserve, o.Disk = 1<<16, e.at
	if ms != nil {
		d, err := openDisk(e.dir, e.at)
		if err != nil {
			e.t.Fatal(err)
		}
		d.schema, d.migrations = schema, ms
		if err := d.migrate(); err != nil {
			e.t.Fatal(err)
		}
		if err := d.close(); err != nil {
			e.t.Fatal(err)
		}
	}
	s, err := Open(e.dir, o)
	if err != nil {
		e.t.Fatal(err)
	}
	return s
}

// write makes one more row durable.
func (e *endings) write(s *Store, ws ...Write) {
	e.t.Helper()
	r := commit(e.t, s, append(ws, PutRow(testRow(fmt.Sprint(s.Version()), "web", false)))...)
	if err := s.WaitDurable(e.t.Context(), r.Version); err != nil {
		e.t.Fatal(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rows++
	e.version = r.Version
}

// TestEveryPoint: whenever the process ends, what it said to be durable is there, no version is given out again, and the
// state opens: also in the middle of a copy, a migration, a restore, and of what is done for a full disk.
func TestEveryPoint(t *testing.T) {
	t.Parallel()
	e := &endings{t: t, dir: t.TempDir()}
	s := e.open(0, nil)
	e.write(s)
	if err := s.Copy(); err != nil {
		t.Fatal(err)
	}
	e.write(s)
	e.mu.Lock()
	e.full = true
	e.mu.Unlock()
	e.write(s, UseReserve())
	e.mu.Lock()
	e.full = false
	e.mu.Unlock()
	closeStore(t, s)
	s = e.open(0, nil) // the reserve is back
	e.write(s)
	closeStore(t, s)
	old := func(tx *bbolt.Tx) error { return putNumber(tx.Bucket(metaBucket), metaSchema, 1) }
	d, err := openDisk(e.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.db.Update(old); err != nil {
		t.Fatal(err)
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	s = e.open(schemaVersion, map[int64]migration{1: func(*bbolt.Tx) error { return nil }})
	e.write(s)
	closeStore(t, s)
	if _, err := restore(filepath.Join(e.dir, CopyName), e.dir, func(p DiskPoint) error {
		if p == AfterRestore {
			e.rows = 1 // as it was copied
		}
		return e.at(p)
	}); err != nil {
		t.Fatal(err)
	}

	passed := map[DiskPoint]bool{}
	for _, at := range e.all {
		passed[at.at] = true
		if at.at == BeforeMigration { // its file is of the newest schema but for what it says
			d, err := openDisk(at.dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			d.migrations = map[int64]migration{1: func(*bbolt.Tx) error { return nil }}
			if err := d.migrate(); err != nil {
				t.Error(err)
			}
			if err := d.close(); err != nil {
				t.Error(err)
			}
		}
		s, err := Open(at.dir, testOptions())
		if err != nil {
			t.Errorf("%s: %v", at.at, err)
			continue
		}
		if n := len(s.Rows("default", "web")); n != at.rows && n != at.rows+1 || s.Version() <= at.version {
			t.Errorf("%s: %d rows of %d, version %d after %d", at.at, n, at.rows, s.Version(), at.version)
		}
		closeStore(t, s)
		if left, err := filepath.Glob(filepath.Join(at.dir, "*.tmp")); err != nil || len(left) > 0 {
			t.Errorf("%s: left over: %v, %v", at.at, left, err)
		}
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(declaredPoints(t))), slices.Sorted(maps.Keys(passed))); diff != "" {
		t.Errorf("points (-there are +passed):\n%s", diff)
	}
}

// declaredPoints are the constants of the type.
func declaredPoints(t *testing.T) []DiskPoint {
	t.Helper()
	var out []DiskPoint
	ast.Inspect(sources(t)["fault.go"], func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && fmt.Sprint(v.Type) == "DiskPoint" {
			out = append(out, DiskPoint(strings.Trim(v.Values[0].(*ast.BasicLit).Value, `"`)))
		}
		return true
	})
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

// stepPoints says for each function that makes something durable at which points a process ends around it.
var stepPoints = map[string]string{
	"claim":         "after claim",
	"write":         "before write, after write",
	"writeAs":       "before copy",
	"Clear":         "after claim",
	"replaceFile":   "before copy, after copy, before restore, after restore",
	"fillFile":      "reserve kept",
	"release":       "reserve freed",
	"refill":        "before write: what is taken away is half of a reserve",
	"migrate":       "before migration, after migration",
	"syncDirectory": "after claim, after copy, before restore, after restore",
	"copyFile":      "before restore: until then it has a name of its own",
	"rebirth":       "before restore: until then it has a name of its own",
	"keep":          "before restore",
	"restore":       "before restore: what is taken away has a name of its own",
}

// TestStepsHavePoints: nothing is made durable but around a point, at which the tests end the process.
func TestStepsHavePoints(t *testing.T) {
	t.Parallel()
	steps := map[string]bool{"Rename": true, "Link": true, "Remove": true, "RemoveAll": true, "Sync": true, "Update": true, "WriteFile": true, "Truncate": true}
	found := map[string]bool{}
	for _, file := range sources(t) {
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				if to, ok := call.Fun.(*ast.SelectorExpr); ok && steps[to.Sel.Name] && fmt.Sprint(to.X) != "crc32" {
					found[f.Name.Name] = true
				}
				return true
			})
		}
	}
	points := map[string]bool{}
	for _, p := range declaredPoints(t) {
		points[string(p)] = true
	}
	for name, at := range stepPoints {
		at, _, _ = strings.Cut(at, ":")
		for p := range strings.SplitSeq(at, ", ") {
			if !points[p] {
				t.Errorf("%s: there is no point %q", name, p)
			}
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(stepPoints)), slices.Sorted(maps.Keys(found))); diff != "" {
		t.Errorf("functions that make something durable (-have points +are there):\n%s", diff)
	}
}
