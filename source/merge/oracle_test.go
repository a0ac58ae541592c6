package merge_test

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // Git's object names are SHA-1
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/belay-dev/belay/source/merge"
)

// memory is a Store that keeps its objects.
type memory struct {
	trees map[merge.ID][]merge.Named
	blobs map[merge.ID][]byte
}

func newMemory() *memory {
	return &memory{trees: map[merge.ID][]merge.Named{}, blobs: map[merge.ID][]byte{}}
}

func name(kind string, content []byte) merge.ID {
	return sha1.Sum(append(fmt.Appendf(nil, "%s %d\x00", kind, len(content)), content...)) //nolint:gosec // Git's
}

func (m *memory) Tree(id merge.ID) ([]merge.Named, error) {
	list, ok := m.trees[id]
	if !ok {
		return nil, fmt.Errorf("no tree %x", id)
	}
	return list, nil
}

func (m *memory) Blob(id merge.ID) ([]byte, error) {
	content, ok := m.blobs[id]
	if !ok {
		return nil, fmt.Errorf("no blob %x", id)
	}
	return content, nil
}

func (m *memory) PutTree(list []merge.Named) (merge.ID, error) {
	var b bytes.Buffer
	for _, n := range list {
		fmt.Fprintf(&b, "%o %s\x00", n.Mode, n.Name)
		b.Write(n.ID[:])
	}
	id := name("tree", b.Bytes())
	m.trees[id] = slices.Clone(list)
	return id, nil
}

func (m *memory) PutBlob(content []byte) (merge.ID, error) {
	id := name("blob", content)
	m.blobs[id] = content
	return id, nil
}

// file is one file of a tree that is made up.
type file struct {
	mode    uint32
	content string
}

// put stores a tree of files.
func (m *memory) put(t testing.TB, files map[string]file) merge.ID {
	t.Helper()
	var edits []merge.Edit
	for path, f := range files {
		id, err := m.PutBlob([]byte(f.content))
		if err != nil {
			t.Fatal(err)
		}
		edits = append(edits, merge.Edit{Path: path, Entry: merge.Entry{Mode: f.mode, ID: id}})
	}
	empty, err := m.PutTree(nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := merge.Apply(m, empty, edits)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// world makes up trees, much smaller and wilder than real ones, so that changes meet.
type world struct{ *rand.Rand }

func (w world) line() string {
	words := []string{"a", "b", "c", "d", "", "image: web:1", "image: web:2", "image: web:3", "  - name: x", "---", "}", "spec:"}
	return words[w.IntN(len(words))]
}

func (w world) end() string {
	if w.IntN(12) == 0 {
		return "\r\n"
	}
	return "\n"
}

func (w world) content() string {
	var b strings.Builder
	for i := range w.IntN(14) {
		if w.IntN(3) == 0 {
			fmt.Fprintf(&b, "key%d: %d%s", i, w.IntN(5), w.end())
		} else {
			b.WriteString(w.line() + w.end())
		}
	}
	s := b.String()
	if w.IntN(5) == 0 {
		s = strings.TrimSuffix(s, "\n")
	}
	if w.IntN(40) == 0 {
		s += "\x00"
	}
	return s
}

func (w world) change(s string) string {
	lines := strings.SplitAfter(s, "\n")
	for range 1 + w.IntN(2) {
		at := w.IntN(len(lines))
		switch w.IntN(6) {
		case 0:
			lines = slices.Delete(slices.Clone(lines), at, at+1)
		case 1:
			lines = slices.Insert(slices.Clone(lines), at, w.line()+w.end())
		case 2:
			lines[at] = strings.TrimSuffix(lines[at], "\n")
		case 3: // a block again
			to := min(len(lines), at+1+w.IntN(3))
			lines = slices.Insert(slices.Clone(lines), to, lines[at:to]...)
		default:
			lines[at] = w.line() + w.end()
		}
		if len(lines) == 0 {
			lines = []string{""}
		}
	}
	return strings.Join(lines, "")
}

func (w world) path() string {
	names := []string{"a", "b", "c", "web.yaml", "d"}
	p := names[w.IntN(len(names))]
	for w.IntN(2) == 0 && strings.Count(p, "/") < 3 {
		p = names[w.IntN(len(names))] + "/" + p
	}
	return p
}

func (w world) mode() uint32 {
	switch w.IntN(14) {
	case 0:
		return merge.ModeExec
	case 1:
		return merge.ModeLink
	}
	return merge.ModeFile
}

// free tells whether a path can be added: no file is above it and none below.
func free(files map[string]file, path string) bool {
	for other := range files {
		if other == path || strings.HasPrefix(other, path+"/") || strings.HasPrefix(path, other+"/") {
			return false
		}
	}
	return true
}

func (w world) files() map[string]file {
	out := map[string]file{}
	for range 1 + w.IntN(6) {
		if p := w.path(); free(out, p) {
			out[p] = w.file()
		}
	}
	return out
}

func (w world) file() file {
	f := file{mode: w.mode(), content: w.content()}
	if f.mode == merge.ModeLink {
		f.content = "to-" + strconv.Itoa(w.IntN(3))
	}
	return f
}

// edit makes another version of a tree.
func (w world) edit(files map[string]file, renames bool) map[string]file {
	out := maps.Clone(files)
	for range 1 + w.IntN(3) {
		paths := slices.Sorted(maps.Keys(out))
		if len(paths) == 0 {
			break
		}
		at := paths[w.IntN(len(paths))]
		f := out[at]
		kind := w.IntN(12)
		switch {
		case kind == 0:
			delete(out, at)
		case kind == 1:
			if p := w.path(); free(out, p) {
				out[p] = w.file()
			}
		case kind == 2:
			out[at] = file{mode: w.mode(), content: f.content}
		case kind == 3 && renames:
			delete(out, at)
			if p := w.path(); free(out, p) {
				out[p] = file{f.mode, w.maybe(f.content)}
			}
		case kind == 4 && renames:
			w.moveDir(out, at)
		case kind == 5: // a directory where the file was
			delete(out, at)
			if p := at + "/" + w.path(); free(out, p) {
				out[p] = w.file()
			}
		default:
			if f.mode != merge.ModeLink {
				out[at] = file{f.mode, w.change(f.content)}
			} else {
				out[at] = w.file()
			}
		}
	}
	return out
}

func (w world) maybe(content string) string {
	if w.IntN(2) == 0 {
		return w.change(content)
	}
	return content
}

func (w world) moveDir(files map[string]file, at string) {
	dir, _, ok := strings.Cut(at, "/")
	if !ok {
		return
	}
	to := w.path()
	for _, p := range slices.Sorted(maps.Keys(files)) {
		if rest, below := strings.CutPrefix(p, dir+"/"); below {
			f := files[p]
			delete(files, p)
			if next := to + "/" + rest; free(files, next) {
				files[next] = f
			}
		}
	}
}

// cases is how many random merges are compared with git's.
func cases(t testing.TB, few int) int {
	t.Helper()
	if text := os.Getenv("MERGE_CASES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return few
}

func seed(t testing.TB) uint64 {
	t.Helper()
	if text := os.Getenv("SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return 1
}

type triple struct{ base, ours, theirs map[string]file }

// Random merges come out as git's own: the same tree, or both refuse. Where files were renamed Belay may also refuse
// alone, and says so.
func TestTreesAsGitMerges(t *testing.T) {
	t.Parallel()
	for _, renames := range []bool{false, true} {
		t.Run(fmt.Sprintf("renames %v", renames), func(t *testing.T) {
			t.Parallel()
			n := cases(t, 400)
			for from := 0; from < n; from += 1000 {
				compare(t, seed(t)+uint64(from), min(1000, n-from), renames) //nolint:gosec // not negative
			}
		})
	}
}

func compare(t *testing.T, seed uint64, n int, renames bool) {
	t.Helper()
	w := world{rand.New(rand.NewPCG(seed, 7))}
	var list []triple
	for range n {
		base := w.files()
		list = append(list, triple{base, w.edit(base, renames), w.edit(base, renames)})
	}
	want := gitMerges(t, list)
	clean, refused, alone := 0, 0, 0
	for i, c := range list {
		m := newMemory()
		base, ours, theirs := m.put(t, c.base), m.put(t, c.ours), m.put(t, c.theirs)
		got, _, err := merge.Trees(m, base, ours, theirs)
		var conflicts *merge.Conflicts
		if err != nil && !errors.As(err, &conflicts) {
			t.Fatalf("case %d of seed %d: %v", i, seed, err)
		}
		// By path, a file that was renamed on one side and changed on the other is a conflict.
		careful := conflicts != nil && slices.ContainsFunc(conflicts.List, func(c merge.Conflict) bool {
			return c.Reason == merge.Renamed || renames && c.Reason == merge.ModifyDelete
		})
		switch {
		case want[i] == "" && err != nil:
			refused++
		case want[i] != "" && err == nil && want[i] == hex.EncodeToString(got[:]):
			clean++
		case want[i] != "" && careful:
			alone++
		default:
			t.Errorf("case %d of seed %d: git %q, Belay %x %v\nbase   %s\nours   %s\ntheirs %s", i, seed, want[i], got, err, show(c.base), show(c.ours), show(c.theirs))
		}
	}
	t.Logf("%d clean, %d refused by both, %d by Belay alone", clean, refused, alone)
	if clean < n/20 || refused < n/20 || alone > n/10 {
		t.Error("the cases say little")
	}
}

func show(files map[string]file) string {
	var b strings.Builder
	for _, p := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&b, " %s(%o)=%q", p, files[p].mode, files[p].content)
	}
	return b.String()
}

// gitMerges has git merge them all and returns the trees; "" where git refuses.
func gitMerges(t *testing.T, list []triple) []string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("REQUIRE_GIT") != "" {
			t.Fatal("git is not installed")
		}
		t.Skip("the git binary is not installed: it is the oracle")
	}
	dir := t.TempDir()
	run := func(in string, args ...string) string {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C")
		cmd.Stdin = strings.NewReader(in)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("git %v: %v", args, err)
		}
		return string(out)
	}
	run("", "init", "-q", "--bare")
	var in, ask strings.Builder
	commit := func(branch, from string, files map[string]file) {
		fmt.Fprintf(&in, "commit refs/heads/%s\ncommitter A <a@b> 1700000000 +0000\ndata 1\nx\n", branch)
		if from != "" {
			fmt.Fprintf(&in, "from refs/heads/%s\n", from)
		}
		in.WriteString("deleteall\n")
		for p, f := range files {
			fmt.Fprintf(&in, "M %o inline %s\ndata %d\n%s\n", f.mode, p, len(f.content), f.content)
		}
	}
	for i, c := range list {
		base, ours, theirs := fmt.Sprintf("b%d", i), fmt.Sprintf("o%d", i), fmt.Sprintf("t%d", i)
		commit(base, "", c.base)
		commit(ours, base, c.ours)
		commit(theirs, base, c.theirs)
		fmt.Fprintf(&ask, "%s %s\n", ours, theirs)
	}
	in.WriteString("done\n")
	run(in.String(), "fast-import", "--quiet", "--done")
	fields := strings.Split(run(ask.String(), "merge-tree", "--write-tree", "--stdin", "--no-messages"), "\x00")
	// Each answer is a status, a tree, lines of conflicts, and an empty field.
	var out []string
	for len(fields) > 2 {
		status, tree := fields[0], fields[1]
		if status == "0" {
			tree = ""
		}
		out = append(out, tree)
		end := slices.Index(fields[2:], "")
		fields = fields[2+end+1:]
	}
	if len(out) != len(list) {
		t.Fatalf("git answered %d times of %d", len(out), len(list))
	}
	return out
}
