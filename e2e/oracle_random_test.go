package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/belay-dev/belay/reconciler/rollout/scenario"
	"github.com/belay-dev/belay/state"
)

var (
	oracleSeeds = flag.Int("oracle.seeds", 20, "how many random scenarios to compare with Kubernetes' controllers")
	oracleFirst = flag.Uint64("oracle.first", 1, "seed of the first")
	oracleTime  = flag.Duration("oracle.time", 0, "go on for so long, whatever -oracle.seeds says")
)

// TestOracleRandom gives random scenarios to Belay's controllers and to Kubernetes', compares all that can be seen
// after each verb, and holds every write of both against the bounds of a rollout. A failure prints the shortest scenario
// found that still fails, ready to become a file.
func TestOracleRandom(t *testing.T) {
	start := time.Now()
	var seen [2]judged
	for i := 0; ; i++ {
		if *oracleTime > 0 && time.Since(start) > *oracleTime || *oracleTime == 0 && i >= *oracleSeeds {
			t.Logf("%d scenarios, writes that had to keep a bound: Belay %+v, Kubernetes %+v", i, seen[0], seen[1])
			if none := (judged{}); i > 0 && (seen[0] == none || seen[1] == none) {
				t.Error("no bound was ever at stake")
			}
			return
		}
		seed := *oracleFirst + uint64(i)
		verbs := randomVerbs(seed)
		if compare(t, verbs, &seen) == "" {
			continue
		}
		verbs = shrink(t, verbs)
		t.Fatalf("seed %d: %s\n%s", seed, compare(t, verbs, &seen), asFile(seed, verbs))
	}
}

func asFile(seed uint64, verbs []string) string {
	s := scenario.Script{Comment: fmt.Sprintf("Seed %d.", seed)}
	for _, v := range verbs {
		s.Steps = append(s.Steps, scenario.Step{Verb: v})
	}
	return string(s.Format())
}

// shrink leaves out verbs as long as the rest still makes a difference.
func shrink(t *testing.T, verbs []string) []string {
	t.Helper()
	for size := len(verbs) / 2; size > 0; size /= 2 {
		for i := len(verbs) - size; i > 0; i -= size {
			shorter := append(append([]string{}, verbs[:i]...), verbs[i+size:]...)
			if compare(t, shorter, new([2]judged)) != "" {
				verbs = shorter
				i = min(i, len(verbs)-size) + size
			}
		}
	}
	return verbs
}

// compare returns where Belay's controllers first leave bounds that Kubernetes' keep, else where the two first differ; ""
// when neither happens. What was looked at is added to seen.
func compare(t *testing.T, verbs []string, seen *[2]judged) string {
	t.Helper()
	ours, out, looked := trace(t, verbs, func(store *state.Store) (scenario.Engine, func(), error) {
		e, err := scenario.NewBelay(store, bubble.Now)
		return e, func() {}, err
	})
	seen[0].add(looked)
	theirs, outTheirs, looked := trace(t, verbs, func(store *state.Store) (scenario.Engine, func(), error) {
		e, err := newKubernetesEngine(store, bubble.Now)
		return e, func() { e.stop() }, err
	})
	seen[1].add(looked)
	// A bound that Kubernetes' own controllers leave by the same write is not one of theirs.
	if out != "" && out != outTheirs {
		return "Belay leaves the bounds in\n" + out
	}
	for i := range ours {
		if ours[i] != theirs[i] {
			return fmt.Sprintf("Belay (-) and Kubernetes (+) differ in\n%s:\n%s", verbs[i], cmp.Diff(strings.Split(ours[i], "\n"), strings.Split(theirs[i], "\n")))
		}
	}
	return ""
}

var stamp = regexp.MustCompile(`"last(Update|Transition)Time":"[^"]*"`)

// trace returns the report and the dump after each verb, and the first verb with a write out of bounds, if there was one.
// A world that breaks reports that, from there on.
func trace(t *testing.T, verbs []string, start func(*state.Store) (scenario.Engine, func(), error)) (out []string, broken string, looked judged) {
	t.Helper()
	out = make([]string, len(verbs))
	synctest.Test(t, func(t *testing.T) {
		var stop func()
		var tries []string
		// Under a quota the two sides try again at different moments, so progress has different times.
		refusing := slices.ContainsFunc(verbs, func(v string) bool { return strings.HasPrefix(v, "quota") && !strings.HasSuffix(v, "-") })
		w, err := scenario.NewWorld(bubble, func(store *state.Store) (scenario.Engine, error) {
			e, s, err := start(store)
			stop = s
			return e, err
		})
		if err != nil {
			t.Fatal(err)
		}
		bounds := newGuard(t, w.Store)
		for i, verb := range verbs {
			report, err := w.Do(t.Context(), verb)
			if err != nil {
				report = "broken: " + err.Error()
			}
			bad, err := bounds.look(t.Context(), w.Store)
			if err != nil {
				t.Fatal(err)
			}
			if len(bad) > 0 && broken == "" {
				broken = verb + ":\n" + strings.Join(bad, "\n")
			}
			dump, err := w.Dump()
			if err != nil {
				t.Fatal(err)
			}
			if refusing {
				dump = stamp.ReplaceAllString(dump, `"last$1Time":"*"`)
			}
			tries = append(tries, try.FindAllString(report+"\n", -1)...)
			out[i] = try.ReplaceAllString(report+"\n", "") + dump
		}
		for i, line := range tries {
			tries[i] = try.ReplaceAllString(line, "$1 $2")
		}
		looked = bounds.judged
		slices.Sort(tries)
		out[len(verbs)-1] += strings.Join(slices.Compact(tries), "\n")
		stop()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return out, broken, looked
}

// randomVerbs makes a scenario. Equal seeds give equal ones.
func randomVerbs(seed uint64) []string {
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	image := func() string { return pick("A", "B", "C", "D", "E") }
	amount := func() string {
		if r.IntN(2) == 0 {
			return fmt.Sprint(r.IntN(5))
		}
		return fmt.Sprintf("%d%%", r.IntN(21)*5)
	}
	size := func() int {
		if r.IntN(12) == 0 {
			return 20 + r.IntN(40)
		}
		return r.IntN(11)
	}
	bounds := func() string {
		surge, unavailable := amount(), amount()
		if surge == "0" && unavailable == "0" {
			unavailable = "1" // refused by validation
		}
		return "surge=" + surge + " unavailable=" + unavailable
	}
	first := fmt.Sprintf("%s replicas=%d %s deadline=%s", pick("create", "boot"), 1+size(), bounds(),
		pick("20", "60", "600", "2147483647"))
	if r.IntN(4) == 0 {
		first = fmt.Sprintf("%s replicas=%d strategy=Recreate deadline=%s", pick("create", "boot"), 1+size(), pick("20", "60", "600"))
	}
	if r.IntN(3) == 0 {
		first += " minready=" + pick("1", "5", "10")
	}
	first += " history=" + pick("0", "1", "2", "10")
	// What is common comes often, what is rare comes at all.
	choices := []struct {
		weight int
		verb   func() string
	}{
		{14, func() string { return "ready " + pick("1", "2", "3", "all") + pick("", "", " "+image()) }},
		{10, func() string { return "image " + image() }},
		{8, func() string { return fmt.Sprintf("scale %d", size()) }},
		{6, func() string { return "undo" + pick("", "", " 1", " 2", " 3", " 4") }},
		{6, func() string { return "tick " + pick("1s", "5s", "10s", "21s", "61s") }},
		{4, func() string { return "unready " + pick("1", "2", "all") + pick("", " "+image()) }},
		{3, func() string { return "fail " + pick("1", "2") + pick("", " "+image()) }},
		{3, func() string { return "delete pod " + pick("1", "2") + pick("", " "+image()) }},
		{3, func() string { return pick("pause", "resume", "resume") }},
		{3, func() string { return "set " + bounds() }},
		{2, func() string {
			return fmt.Sprintf("set image=%s replicas=%d cause=%s", image(), size(), pick("x", "y", "z"))
		}},
		{2, func() string { return "set strategy=" + pick("Recreate", "RollingUpdate") }},
		{2, func() string { return "set minready=" + pick("0", "3", "10") }},
		{2, func() string { return "set history=" + pick("0", "1", "3") }},
		{2, func() string { return "set deadline=" + pick("20", "600", "2147483647") }},
		{2, func() string { return "annotate " + pick("a", "b") + "=" + pick("1", "2", "") }},
		{2, func() string { return "set env=" + pick("1", "2") }},
		{2, func() string { return "rollback " + pick("0", "1", "2", "9", "x") }},
		{2, func() string { return pick("linger", "vanish", "vanish", "vanish 1", "vanish 1 failed") }},
		{1, func() string { return pick("bad ", "good ") + image() }},
		{2, func() string { return "restart" }},
		{1, func() string { return "quota pods " + pick("2", "5", "-", "-") }},
		{1, func() string { return "quota replicasets " + pick("1", "2", "-", "-") }},
		{1, func() string { return "squat " + image() }},
		{1, func() string { return "resume" }},
		{1, func() string { return "hush" }},
		{3, func() string { return "heed" }},
	}
	total := 0
	for _, c := range choices {
		total += c.weight
	}
	verbs := []string{first}
	for range 5 + r.IntN(30) {
		n := r.IntN(total)
		for _, c := range choices {
			if n -= c.weight; n < 0 {
				verbs = append(verbs, strings.TrimSpace(c.verb()))
				break
			}
		}
	}
	return append(verbs, "heed", "vanish", "quota pods -", "quota replicasets -", "ready all", "ready all", "ready all")
}
