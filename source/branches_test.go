package source

import (
	"context"
	"testing"
)

// also opens the mirror of another branch in the copy of m.
func also(t testing.TB, m *Mirror, branch string) *Mirror {
	t.Helper()
	other, err := m.Also(testContext(t), branch)
	if err != nil {
		t.Fatal(err)
	}
	return other
}

// last returns the head that the newest look found for a mirror.
func last(t testing.TB, m *Mirror) Hash {
	t.Helper()
	head, err := m.Last()
	if err != nil {
		t.Fatal(err)
	}
	return head.Commit
}

// shared hold for every way a repository is reached, with mirrors of two of its branches in one copy.
var shared = []struct {
	name string
	run  func(t *testing.T, r *repo, m, dev *Mirror)
}{
	{"one poll for both", func(t *testing.T, r *repo, m, dev *Mirror) {
		first := r.commit("main", "first", map[string]string{"f": "1"})
		second := r.commit("dev", "second", map[string]string{"f": "2"}, first)
		if head, err := m.Poll(t.Context(), dev); err != nil || head.Commit != first || last(t, dev) != second {
			t.Fatalf("heads %+v, %v and %s", head, err, last(t, dev))
		}
		if n := len(packs(t, m.cfg.Dir, "")); n != 2 { // a pack and its index
			t.Errorf("%d files of packs after one fetch", n)
		}
		third := r.commit("dev", "third", map[string]string{"f": "3"})
		if _, err := m.Poll(t.Context()); err != nil || last(t, dev) != second {
			t.Errorf("a poll for one branch moved the other to %s: %v", last(t, dev), err)
		}
		if head := poll(t, dev); head.Commit != third || !head.Changed || m.Head().Commit != first {
			t.Errorf("head %+v beside %+v", head, m.Head())
		}
		if files, err := readAll(snapshot(t, m), third); err != nil || files["f"] != "3" {
			t.Errorf("files %v, %v", files, err)
		}
		if s := snapshot(t, dev); s.Head() != third {
			t.Errorf("snapshot at %s", s.Head())
		}
	}},
	{"one is gone", func(t *testing.T, r *repo, m, dev *Mirror) {
		first := r.commit("main", "first", map[string]string{"f": "1"})
		if _, err := m.Poll(t.Context(), dev); err != nil {
			t.Fatal(err)
		}
		_, err := dev.Last()
		wantKind(t, err, KindBranchGone)
		second := r.commit("main", "second", map[string]string{"f": "2"})
		_, err = dev.Poll(t.Context(), m)
		wantKind(t, err, KindBranchGone)
		if last(t, m) != second {
			t.Errorf("main is at %s, want %s after %s", last(t, m), second, first)
		}
	}},
	{"one cannot be read", func(t *testing.T, r *repo, m, dev *Mirror) {
		first := r.commit("main", "first", map[string]string{"f": "1"})
		r.point("dev", Hash(r.object("commit", "tree "+r.git("", "rev-parse", "main^{tree}")+"\nparent nothing\n\nbad\n")))
		if _, err := dev.Poll(t.Context(), m); KindOf(err) == "" {
			t.Error("a commit that cannot be read was taken")
		}
		if last(t, m) != first || dev.Head().Commit != "" {
			t.Errorf("main at %s, dev at %q", last(t, m), dev.Head().Commit)
		}
		h := r.commit("dev", "sound", map[string]string{"f": "3"}, first)
		if _, err := m.Poll(t.Context(), dev); err != nil || last(t, dev) != h {
			t.Errorf("dev at %s: %v", last(t, dev), err)
		}
	}},
	{"damage is healed for both", func(t *testing.T, r *repo, m, dev *Mirror) {
		first := r.commit("main", "first", map[string]string{"f": noise(1000)})
		second := r.commit("dev", "second", map[string]string{"f": noise(2000)}, first)
		if _, err := m.Poll(t.Context(), dev); err != nil {
			t.Fatal(err)
		}
		for _, p := range packs(t, m.cfg.Dir, ".pack") {
			edit(t, p, half)
		}
		third := r.commit("main", "third", map[string]string{"f": noise(3000)})
		for _, mirror := range []*Mirror{m, dev} { // who reads notices
			if s, err := mirror.Snapshot(); err == nil {
				_, _ = readAll(s, mirror.Head().Commit)
				_ = s.Close()
			}
		}
		_, _ = m.Poll(t.Context()) // or who polls
		if _, err := m.Poll(t.Context(), dev); err != nil || last(t, m) != third || last(t, dev) != second {
			t.Fatalf("main at %s, dev at %s: %v", last(t, m), last(t, dev), err)
		}
		for _, mirror := range []*Mirror{m, dev} {
			if _, err := readAll(snapshot(t, mirror), mirror.Head().Commit); err != nil {
				t.Errorf("%s: %v", mirror.branch, err)
			}
		}
	}},
	{"opened again", func(t *testing.T, r *repo, m, dev *Mirror) {
		r.commit("main", "first", map[string]string{"f": "1"})
		second := r.commit("dev", "second", map[string]string{"f": "2"})
		if _, err := m.Poll(t.Context(), dev); err != nil {
			t.Fatal(err)
		}
		again := openMirror(t, m.cfg)
		defer again.Close()
		if other := also(t, again, "dev"); other.Head().Commit != second {
			t.Errorf("head %+v, want %s", other.Head(), second)
		}
	}},
}

func TestBranchesOfOneCopy(t *testing.T) {
	t.Parallel()
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			for _, b := range shared {
				t.Run(b.name, func(t *testing.T) {
					t.Parallel()
					r := newRepo(t)
					m := openMirror(t, tr.config(t, r))
					defer m.Close()
					dev := also(t, m, "dev")
					defer dev.Close()
					b.run(t, r, m, dev)
				})
			}
		})
	}
}

// Any number of branches is one request while none of them moves, and one more when some do.
func TestPollOfManyBranchesIsOneRequest(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	first := r.commit("main", "first", map[string]string{"f": "1"})
	w := serveHTTP(t, r)
	m := openMirror(t, w.config(r))
	defer m.Close()
	var others []*Mirror
	for _, name := range []string{"a", "b", "c", "d/e"} {
		r.point(name, first)
		others = append(others, also(t, m, name))
	}
	requests := func(ctx context.Context) int64 {
		t.Helper()
		before := w.requests.Load()
		if _, err := m.Poll(ctx, others...); err != nil {
			t.Fatal(err)
		}
		return w.requests.Load() - before
	}
	requests(t.Context()) // greets
	if n := requests(t.Context()); n != 1 {
		t.Errorf("%d requests for a poll without change", n)
	}
	r.commit("a", "more", map[string]string{"f": "2"})
	r.commit("d/e", "more", map[string]string{"f": "3"})
	if n := requests(t.Context()); n != 2 {
		t.Errorf("%d requests for a poll of two branches that moved", n)
	}
}

// While one of the branches is gone, what there is instead comes with the one request.
func TestPollOfABranchThatIsGoneIsOneRequest(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	first := r.commit("main", "first", map[string]string{"f": "1"})
	r.point("dev", first)
	w := serveHTTP(t, r)
	m := openMirror(t, w.config(r))
	defer m.Close()
	dev := also(t, m, "dev")
	requests := func(kind Kind, mirrors ...*Mirror) int64 {
		t.Helper()
		before := w.requests.Load()
		_, _ = mirrors[0].Poll(t.Context(), mirrors[1:]...) // asked of each below
		if _, err := m.Last(); err != nil {
			t.Error(err)
		}
		if _, err := dev.Last(); KindOf(err) != kind {
			t.Errorf("dev: %v, want kind %q", err, kind)
		}
		return w.requests.Load() - before
	}
	requests("", m, dev) // greets
	r.git("", "update-ref", "-d", "refs/heads/dev")
	requests(KindBranchGone, m, dev) // finds out
	for range 3 {
		if n := requests(KindBranchGone, m, dev); n != 1 {
			t.Errorf("%d requests for both branches", n)
		}
		if n := requests(KindBranchGone, m); n != 1 {
			t.Errorf("%d requests for the one that is there", n)
		}
		if n := requests(KindBranchGone, dev); n != 1 {
			t.Errorf("%d requests for the one that is gone", n)
		}
	}
	r.point("dev", first)
	for range 2 {
		if n := requests("", m, dev); n != 1 {
			t.Errorf("%d requests once it is back", n)
		}
	}
}

func TestAlsoRefusesWhatIsNoBranch(t *testing.T) {
	t.Parallel()
	m := newRepo(t).mirror()
	defer m.Close()
	_, err := m.Also(t.Context(), "../../HEAD")
	wantKind(t, err, KindInvalid)
}
