package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// behaviours hold for every way a repository is reached.
var behaviours = []struct {
	name string
	run  func(*testing.T, *repo, *Mirror)
}{
	{"fast-forward", func(t *testing.T, r *repo, m *Mirror) {
		first := r.commit("main", "first", map[string]string{"a/f": "1"})
		if head := poll(t, m); head.Commit != first || !head.Changed {
			t.Fatalf("head %+v", head)
		}
		if head := poll(t, m); head.Commit != first || head.Changed {
			t.Fatalf("second poll: %+v", head)
		}
		r.commit("main", "second", map[string]string{"a/g": "2"})
		third := r.commit("main", "third", map[string]string{"a/f": "3"})
		poll(t, m)
		s := snapshot(t, m)
		if got := show(steps(t, s, first, third, 0)); got != "Linear second, Linear third" {
			t.Errorf("steps %s", got)
		}
		if files, err := readAll(s, third); err != nil || fmt.Sprint(files) != "map[a/f:3 a/g:2]" {
			t.Errorf("files %v, %v", files, err)
		}
		if files, err := readAll(s, first); err != nil || fmt.Sprint(files) != "map[a/f:1]" {
			t.Errorf("files of the first commit %v, %v", files, err)
		}
	}},
	{"pull merge", func(t *testing.T, r *repo, m *Mirror) {
		h := history(r)
		r.point("main", h["y"])
		poll(t, m)
		r.point("main", h["d"])
		poll(t, m)
		if got := show(steps(t, snapshot(t, m), h["y"], h["d"], 0)); got != "Merge d[c m d]" {
			t.Errorf("steps %s", got)
		}
	}},
	{"rewritten, reset and unrelated", func(t *testing.T, r *repo, m *Mirror) {
		h := history(r)
		at := Hash("")
		for _, row := range []struct{ to, want string }{
			{"c", "First c"}, {"y", "Rewritten y[x y]"}, {"b", "Rewritten b"}, {"d", "Linear c, Linear m, Linear d"},
			{"u", "Unrelated u"}, {"a", "Unrelated a"},
		} {
			r.point("main", h[row.to])
			if head := poll(t, m); head.Commit != h[row.to] || !head.Changed {
				t.Fatalf("%s: head %+v", row.to, head)
			}
			if got := show(steps(t, snapshot(t, m), at, h[row.to], 0)); got != row.want {
				t.Errorf("steps %s, want %s", got, row.want)
			}
			at = h[row.to]
		}
		r.git("", "reflog", "expire", "--all", "--expire=now")
		for _, branch := range []string{"side", "other"} {
			r.git("", "update-ref", "-d", "refs/heads/"+branch)
		}
		r.git("", "gc", "-q", "--prune=now")
		poll(t, m)
		for name, id := range h {
			if name == "d" || name == "u" || name == "y" {
				if _, err := readAll(snapshot(t, m), id); err != nil {
					t.Errorf("%s was a head once and is lost: %v", name, err)
				}
			}
		}
	}},
	{"branch gone and back", func(t *testing.T, r *repo, m *Mirror) {
		first := r.commit("main", "first", map[string]string{"f": "1"})
		r.commit("dev", "dev", map[string]string{"f": "1"})
		poll(t, m)
		r.git("", "update-ref", "-d", "refs/heads/main")
		head, err := m.Poll(t.Context())
		wantKind(t, err, KindBranchGone)
		if head.Commit != first || m.Head().Commit != first {
			t.Errorf("a branch that is gone took the head away: %+v", head)
		}
		if e := new(Error); !asError(err, &e) || e.Hint != "branches there: dev" {
			t.Errorf("hint of %#v", err)
		}
		if files, err := readAll(snapshot(t, m), first); err != nil || files["f"] != "1" {
			t.Errorf("files %v, %v", files, err)
		}
		r.point("main", first)
		if head := poll(t, m); head.Commit != first || head.Changed {
			t.Errorf("back again: %+v", head)
		}
		r.git("", "update-ref", "-d", "refs/heads/main")
		next := r.commit("main", "anew", map[string]string{"f": "2"})
		if head := poll(t, m); head.Commit != next || !head.Changed {
			t.Errorf("created anew: %+v", head)
		}
		if got := show(steps(t, snapshot(t, m), first, next, 0)); got != "Unrelated anew" {
			t.Errorf("steps %s", got)
		}
	}},
	{"empty, then filled, then emptied", func(t *testing.T, r *repo, m *Mirror) {
		_, err := m.Poll(t.Context())
		wantKind(t, err, KindEmpty)
		first := r.commit("main", "first", map[string]string{"f": "1"})
		if head := poll(t, m); head.Commit != first || !head.Changed {
			t.Fatalf("head %+v", head)
		}
		r.git("", "update-ref", "-d", "refs/heads/main")
		_, err = m.Poll(t.Context())
		wantKind(t, err, KindEmpty)
		if m.Head().Commit != first {
			t.Error("an emptied repository took the head away")
		}
	}},
	{"no repository", func(t *testing.T, r *repo, m *Mirror) {
		remove(t, r.dir)
		_, err := m.Poll(t.Context())
		wantKind(t, err, KindNotFound)
	}},
	{"shallow", func(t *testing.T, r *repo, m *Mirror) {
		other := newRepo(t)
		other.commit("main", "one", map[string]string{"f": "1"})
		other.commit("main", "two", map[string]string{"f": "2"})
		remove(t, r.dir)
		other.git("", "clone", "-q", "--bare", "--depth=1", "--branch=main", "file://"+other.dir, r.dir)
		_, err := m.Poll(t.Context())
		wantKind(t, err, KindUnsupported)
		_, err = m.Poll(t.Context())
		wantKind(t, err, KindUnsupported)
	}},
	{"many refs", func(t *testing.T, r *repo, m *Mirror) {
		h := r.commit("main", "first", map[string]string{"f": "1"})
		manyRefs(r, h, 14000)
		if head := poll(t, m); head.Commit != h {
			t.Fatalf("head %+v", head)
		}
		if head := poll(t, m); head.Changed {
			t.Errorf("second poll: %+v", head)
		}
	}},
	{"HEAD dangling", func(t *testing.T, r *repo, m *Mirror) {
		h := r.commit("main", "first", map[string]string{"f": "1"})
		r.git("", "symbolic-ref", "HEAD", "refs/heads/gone")
		if head := poll(t, m); head.Commit != h {
			t.Fatalf("head %+v", head)
		}
		write(t, filepath.Join(r.dir, "HEAD"), strings.Repeat("3", 40)+"\n") // no such commit
		next := r.commit("main", "second", map[string]string{"f": "2"})
		if head := poll(t, m); head.Commit != next {
			t.Fatalf("head %+v", head)
		}
	}},
	{"octopus", func(t *testing.T, r *repo, m *Mirror) {
		base := r.commit("main", "base", map[string]string{"f": "0"})
		poll(t, m)
		parents := []Hash{base}
		for _, arm := range []string{"a", "b", "c"} {
			parents = append(parents, r.commit(arm, arm, map[string]string{arm: "1"}, base))
		}
		h := r.commit("main", "octopus", map[string]string{"a": "1", "b": "1", "c": "1"}, parents...)
		poll(t, m)
		s := snapshot(t, m)
		if got := show(steps(t, s, base, h, 0)); got != "Linear octopus" {
			t.Errorf("steps %s", got)
		}
		if got := show(steps(t, s, parents[2], h, 0)); got != "Merge octopus[a c octopus]" {
			t.Errorf("steps from an arm %s", got)
		}
		if c, err := s.Commit(h); err != nil || len(c.Parents) != 4 {
			t.Errorf("%d parents, %v", len(c.Parents), err)
		}
	}},
	{"empty commit", func(t *testing.T, r *repo, m *Mirror) {
		old := r.commit("main", "old", map[string]string{"f": "0"})
		poll(t, m)
		h := r.commit("main", "nothing", nil)
		if head := poll(t, m); head.Commit != h || !head.Changed {
			t.Fatalf("head %+v", head)
		}
		s := snapshot(t, m)
		if got := show(steps(t, s, old, h, 0)); got != "Linear nothing" {
			t.Errorf("steps %s", got)
		}
		if a, b := must(s.Tree(old)), must(s.Tree(h)); a.Hash() != b.Hash() {
			t.Error("an empty commit has another tree")
		}
	}},
	{"revert of a revert", func(t *testing.T, r *repo, m *Mirror) {
		old := r.commit("main", "one", map[string]string{"f": "1"})
		two := r.commit("main", "two", map[string]string{"f": "2"})
		poll(t, m)
		revert := r.commit("main", "Revert \"two\"\n\nThis reverts commit "+string(two)+".", map[string]string{"f": "1"})
		again := r.commit("main", "Reapply \"two\"\n\nThis reverts commit "+string(revert)+".", map[string]string{"f": "2"})
		poll(t, m)
		s := snapshot(t, m)
		list := steps(t, s, two, again, 0)
		if got := show(list); got != "Linear Revert \"two\", Linear Reapply \"two\"" {
			t.Fatalf("steps %s", got)
		}
		if a, b := list[0].Commit.Reverts, list[1].Commit.Reverts; len(a) != 1 || a[0] != two || len(b) != 1 || b[0] != revert {
			t.Errorf("reverts %v, %v", a, b)
		}
		for h, like := range map[Hash]Hash{revert: old, again: two} {
			if must(s.Tree(h)).Hash() != must(s.Tree(like)).Hash() {
				t.Errorf("%s is not like %s", h.Short(), like.Short())
			}
		}
	}},
	{"100 commits in one push", func(t *testing.T, r *repo, m *Mirror) {
		old := r.commit("main", "start", map[string]string{"f": "0"})
		poll(t, m)
		next := chain(r, "main", 100)
		poll(t, m)
		if got := steps(t, snapshot(t, m), old, next, 0); len(got) != 100 {
			t.Errorf("%d steps", len(got))
		}
	}},
	{"damage heals", func(t *testing.T, r *repo, m *Mirror) {
		old := r.commit("main", "one", map[string]string{"f": "1"})
		poll(t, m)
		next := r.commit("main", "two", map[string]string{"f": "2"})
		poll(t, m)
		edit(t, packs(t, m.cfg.Dir, ".pack")[0], flip)
		again := openMirror(t, m.cfg)
		if head := poll(t, again); head.Commit != next {
			t.Fatalf("head %+v", head)
		}
		if got := show(steps(t, snapshot(t, again), old, next, 0)); got != "Linear two" {
			t.Errorf("steps %s", got)
		}
		again.Close()
	}},
	{"limit of the pack", func(t *testing.T, r *repo, m *Mirror) {
		r.commit("main", "big", map[string]string{"f": noise(1 << 20)})
		cfg := m.cfg
		cfg.Dir += "-small"
		cfg.Limits.PackBytes = 1 << 16
		small := openMirror(t, cfg)
		defer small.Close()
		_, err := small.Poll(t.Context())
		wantKind(t, err, KindTooLarge)
		if left := packs(t, cfg.Dir, ""); len(left) > 0 {
			t.Errorf("litter: %v", left)
		}
		poll(t, m)
	}},
	{"two mirrors of one repository", func(t *testing.T, r *repo, m *Mirror) {
		h := r.commit("main", "one", map[string]string{"f": "1"})
		dev := r.commit("dev", "dev", map[string]string{"f": "d"})
		cfg := m.cfg
		cfg.Dir, cfg.Branch = cfg.Dir+"-dev", "dev"
		other := openMirror(t, cfg)
		defer other.Close()
		if a, b := poll(t, m), poll(t, other); a.Commit != h || b.Commit != dev {
			t.Errorf("heads %+v, %+v", a, b)
		}
	}},
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			for _, b := range behaviours {
				t.Run(b.name, func(t *testing.T) {
					t.Parallel()
					r := newRepo(t)
					m := openMirror(t, tr.config(t, r))
					defer m.Close()
					b.run(t, r, m)
					if _, err := os.Stat(m.cfg.Dir + ".new"); err == nil {
						t.Error("Dir.new is left")
					}
				})
			}
		})
	}
}

// manyRefs makes n refs that are none of our business.
func manyRefs(r *repo, h Hash, n int) {
	r.t.Helper()
	var text strings.Builder
	text.WriteString("# pack-refs with: peeled fully-peeled sorted \n")
	for i := range n {
		fmt.Fprintf(&text, "%s refs/pull/%06d/head\n", h, i)
	}
	write(r.t, filepath.Join(r.dir, "packed-refs"), text.String())
}

// chain adds n commits to a branch at once and returns the last.
func chain(r *repo, branch string, n int) Hash {
	var in strings.Builder
	for i := range n {
		fmt.Fprintf(&in, "commit refs/heads/%s\ncommitter A <a@b> %d +0000\ndata 5\nc%04d\n", branch, 1700000000+i, i)
		if i == 0 {
			fmt.Fprintf(&in, "from refs/heads/%s^0\n", branch)
		}
		fmt.Fprintf(&in, "M 100644 inline f\ndata 4\n%04d\n", i)
	}
	in.WriteString("done\n")
	r.git(in.String(), "fast-import", "--quiet", "--force", "--done")
	return Hash(r.git("", "rev-parse", branch))
}

// noise returns n letters that hardly compress.
func noise(n int) string {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(0x20 + x%0x5f)
	}
	return string(b)
}
