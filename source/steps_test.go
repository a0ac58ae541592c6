package source

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func steps(t testing.TB, s *Snapshot, old, next Hash, limit int) []Step {
	t.Helper()
	out, err := s.Steps(t.Context(), old, next, limit)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// show prints steps as "Kind subject[listed listed]", in order.
func show(list []Step) string {
	var out []string
	for _, s := range list {
		text := string(s.Kind) + " " + s.Commit.Subject
		if len(s.Commits) > 0 {
			var names []string
			for _, c := range s.Commits {
				names = append(names, c.Subject)
			}
			text += "[" + strings.Join(names, " ") + "]"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// history makes, on main:  a - b - c - m - d   with the side branch  b - x - y  merged by m, and, elsewhere,
// an unrelated root u.
func history(r *repo) map[string]Hash {
	file := func(s string) map[string]string { return map[string]string{"f": s} }
	h := map[string]Hash{}
	h["a"] = r.commit("main", "a", file("a"))
	h["b"] = r.commit("main", "b", file("b"))
	h["x"] = r.commit("side", "x", map[string]string{"x": "x"}, h["b"])
	h["y"] = r.commit("side", "y", map[string]string{"x": "y"}, h["x"])
	h["c"] = r.commit("main", "c", file("c"))
	h["m"] = r.commit("main", "m\n\nBring y in\nand more", map[string]string{"x": "y"}, h["c"], h["y"])
	h["d"] = r.commit("main", "d", file("d"))
	h["u"] = r.commit("other", "u", file("u"))
	return h
}

func TestStepsBetweenHeads(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	h := history(r)
	m := r.mirror()
	for _, branch := range []string{"u", "d"} { // both histories come into the mirror
		r.point("main", h[branch])
		poll(t, m)
	}
	s := snapshot(t, m)
	rows := []struct {
		name, from, to string
		limit          int
		want           string
	}{
		{"same head", "d", "d", 0, ""},
		{"first", "", "d", 0, "First d"},
		{"chain", "a", "d", 0, "Linear b, Linear c, Linear m, Linear d"},
		{"chain at its limit", "a", "d", 4, "Linear b, Linear c, Linear m, Linear d"},
		{"chain above its limit", "a", "d", 3, "Linear c[b c], Linear m, Linear d"},
		{"chain folded to one", "a", "d", 1, "Linear d[b c m d]"},
		{"second parent", "y", "d", 0, "Merge d[c m d]"},
		{"inside the side branch", "x", "m", 0, "Merge m[c y m]"},
		{"back", "d", "b", 0, "Rewritten b"},
		{"back to the side", "m", "y", 0, "Rewritten y"},
		{"sideways", "c", "y", 0, "Rewritten y[x y]"},
		{"unrelated", "d", "u", 0, "Unrelated u"},
		{"onto a longer unrelated history", "u", "d", 0, "Unrelated d"},
		{"lost old head", strings.Repeat("1", 40), "d", 0, "Rewritten d"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got := show(steps(t, s, h[row.from]+Hash(cond(len(row.from) == 40, row.from)), h[row.to], row.limit))
			if got != row.want {
				t.Errorf("steps %s..%s:\ngot  %s\nwant %s", row.from, row.to, got, row.want)
			}
		})
	}
	merge, err := s.Commit(h["m"])
	if err != nil || merge.Cause != "m: Bring y in" || merge.Subject != "m" {
		t.Errorf("merge = %+v, %v", merge, err)
	}
	_, err = s.Steps(t.Context(), h["a"], "nonsense", 0)
	wantKind(t, err, KindMalformed)
	_, err = s.Steps(t.Context(), h["a"], Hash(strings.Repeat("2", 40)), 0)
	wantKind(t, err, KindNotFound)
	if m.damaged.Load() {
		t.Error("asking for a commit that is not there marks the mirror damaged")
	}
}

func cond(ok bool, s string) string {
	if ok {
		return s
	}
	return ""
}

// Steps over random histories agree with git rev-list --first-parent, and with git merge-base about everything else.
func TestStepsAgreeWithRevList(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 1))
			r := newRepo(t)
			ids := randomHistory(r, rnd, 20)
			m := r.mirror()
			for _, h := range ids {
				r.point("main", h)
				poll(t, m)
			}
			s := snapshot(t, m)
			for range 30 {
				from, to := ids[rnd.IntN(len(ids))], ids[rnd.IntN(len(ids))]
				if got, want := describe(steps(t, s, from, to, 0)), expected(r, from, to); got != want {
					t.Errorf("steps %s..%s:\ngot  %s\nwant %s", from, to, got, want)
				}
			}
		})
	}
}

// randomHistory makes n commits, each with up to three parents among those before it, with dates that make no sense.
func randomHistory(r *repo, rnd *rand.Rand, n int) []Hash {
	var in strings.Builder
	for i := range n {
		fmt.Fprintf(&in, "commit refs/heads/c%d\nmark :%d\ncommitter A <a@b> %d +0000\ndata 1\nx\n", i, i+1, 1+rnd.IntN(1_000_000_000))
		verb := "from"
		for _, p := range rnd.Perm(i)[:min(i, rnd.IntN(4))] {
			fmt.Fprintf(&in, "%s :%d\n", verb, p+1)
			verb = "merge"
		}
		fmt.Fprintf(&in, "M 100644 inline f\ndata 2\n%2d\n", i)
	}
	in.WriteString("done\n")
	r.git(in.String(), "fast-import", "--quiet", "--force", "--done")
	ids := make([]Hash, n)
	for i := range ids {
		ids[i] = Hash(r.git("", "rev-parse", fmt.Sprint("c", i)))
	}
	return ids
}

// describe prints the kind of the steps and their commits; the commits of a merge in no order.
func describe(list []Step) string {
	var ids []string
	kind := StepKind("")
	for _, s := range list {
		kind = s.Kind
		if len(s.Commits) > 0 && s.Kind == StepMerge {
			for _, c := range s.Commits {
				ids = append(ids, string(c.Hash))
			}
			slices.Sort(ids)
			continue
		}
		ids = append(ids, string(s.Commit.Hash))
	}
	return fmt.Sprint(kind, ids)
}

func expected(r *repo, from, to Hash) string {
	if from == to {
		return fmt.Sprint("", []string(nil))
	}
	chain := strings.Fields(r.git("", "rev-list", "--first-parent", string(to)))
	if i := slices.Index(chain, string(from)); i >= 0 {
		chain = chain[:i]
		slices.Reverse(chain)
		return fmt.Sprint(StepLinear, chain)
	}
	if _, err := r.tryGit("", "merge-base", "--is-ancestor", string(from), string(to)); err == nil {
		ids := strings.Fields(r.git("", "rev-list", string(from)+".."+string(to)))
		slices.Sort(ids)
		return fmt.Sprint(StepMerge, ids)
	}
	if _, err := r.tryGit("", "merge-base", string(from), string(to)); err == nil {
		return fmt.Sprint(StepRewritten, []string{string(to)})
	}
	return fmt.Sprint(StepUnrelated, []string{string(to)})
}

func TestSeveralCommitsInOnePush(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	old := r.commit("main", "start", map[string]string{"f": "0"})
	m := r.mirror()
	poll(t, m)
	for i := range 100 {
		r.commit("main", fmt.Sprint("c", i), map[string]string{"f": fmt.Sprint(i + 1)})
	}
	head := poll(t, m)
	list := steps(t, snapshot(t, m), old, head.Commit, 0)
	if len(list) != 100 || list[0].Commit.Subject != "c0" || list[99].Commit.Subject != "c99" {
		t.Fatalf("%d steps, from %q to %q", len(list), list[0].Commit.Subject, list[len(list)-1].Commit.Subject)
	}
	want := strings.Fields(r.git("", "rev-list", "--first-parent", "--reverse", string(old)+"..main"))
	for i, s := range list {
		if string(s.Commit.Hash) != want[i] {
			t.Fatalf("step %d is %s, want %s", i, s.Commit.Hash, want[i])
		}
	}
}

func TestNamesAreOrderedAsGitDoes(t *testing.T) {
	t.Parallel()
	file, tree := []byte("100644"), []byte("40000")
	sorted := []struct {
		name string
		mode []byte
	}{{"a", file}, {"a-", file}, {"a-b", tree}, {"a.", file}, {"a", tree}, {"a0", file}, {"ab", tree}, {"b", file}, {"ba", file}, {"c", tree}}
	for i, x := range sorted {
		for j, y := range sorted {
			if got := compareNames([]byte(x.name), x.mode, []byte(y.name), y.mode); sign(got) != sign(i-j) {
				t.Errorf("%s and %s: %d, want the sign of %d", x.name, y.name, got, i-j)
			}
		}
	}
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}
