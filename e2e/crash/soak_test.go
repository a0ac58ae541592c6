package crash

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/belay-dev/belay/cmd/belay/control"
)

var (
	soak = flag.Duration("soak", 0, "how long TestSoak goes on; 0: not at all")
	seed = flag.Uint64("seed", 0, "of TestSoak; 0: one of its own, which it tells")
)

// TestSoak pushes random commits to a service that is killed at random points and whose disk refuses writes now and
// then, and checks after every few of them that nothing was lost, doubled, renumbered or restarted.
func TestSoak(t *testing.T) {
	if *soak == 0 {
		t.Skip("asked for with -soak 10m")
	}
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", *seed)
	repo := newRepository(t)
	s := &soaking{
		run:    &run{t: t, repo: repo, branch: "soak", dir: filepath.Join(t.TempDir(), "data")},
		random: rand.New(rand.NewPCG(*seed, 1)), rows: map[string]control.Row{},
	}
	repo.push(t, s.branch, "first")
	s.head = repo.commits["first"]
	s.start(never)
	defer s.run.stop()
	s.sync()
	steady := s.pods("steady")
	for end := time.Now().Add(*soak); time.Now().Before(end) && !t.Failed(); {
		for range s.random.IntN(8) {
			s.act()
		}
		s.commit(fmt.Sprintf("web:%d", s.random.IntN(6)))
		s.settle()
		if got := s.pods("steady"); !slices.Equal(got, steady) {
			t.Errorf("pods of a finished rollout were %v, are %v", steady, got)
		}
		s.check()
	}
	t.Logf("%d commits, %d starts, %d rows; nothing lost, doubled, renumbered or restarted", s.commits, s.starts, len(s.rows))
}

// soaking is one long run.
type soaking struct {
	*run
	random  *rand.Rand
	head    string
	commits int
	rows    map[string]control.Row // as they were seen last, by ID
}

// act does one random thing.
func (s *soaking) act() {
	switch s.random.IntN(6) {
	case 0, 1:
		s.commit(fmt.Sprintf("web:%d", s.random.IntN(6)))
	case 2:
		s.commit("web:missing")
	case 3:
		s.commit("broken: yaml: {")
	case 4: // history is rewritten
		s.repo.push(s.t, s.branch, "second")
		s.head = s.repo.commits["second"]
	case 5:
		if s.client != nil {
			s.client.Close()
			s.client = nil
		}
		_ = s.process.Process.Kill() // it may be gone
		<-s.exited
		s.refuse = s.random.IntN(60)
		s.start(fmt.Sprint(1 + s.random.IntN(240)))
		s.refuse = 0
	}
	if s.random.IntN(2) == 0 {
		s.do(func(ctx context.Context, c *control.Client) error {
			_, err := c.Sync(ctx, control.SyncRequest{}, func(control.Row) {})
			return unlessRefused(err)
		})
	}
}

// commit pushes a commit with an image of web on top of the branch.
func (s *soaking) commit(image string) {
	s.commits++
	s.head = s.repo.commit(s.t, s.branch, s.head, fmt.Sprintf("commit %d: %s", s.commits, image), image)
}

// around are the rows about a revision, for people.
func around(rows []control.Row, revision int64) string {
	var b strings.Builder
	for _, r := range rows {
		if r.Revision >= revision-2 || r.Revision == 0 && b.Len() > 0 {
			fmt.Fprintf(&b, "%+v\n", r)
		}
	}
	return b.String()
}

// settle waits until the head is rolled out: refusals of the disk end meanwhile.
func (s *soaking) settle() {
	s.t.Helper()
	eventually(s.t, "the head is rolled out", func() bool {
		ok := false
		s.do(func(ctx context.Context, c *control.Client) error {
			res, err := c.Sync(ctx, control.SyncRequest{Wait: true, Prune: true}, func(control.Row) {})
			ok = err == nil && res.OK && res.Ended
			return unlessRefused(err)
		})
		return ok
	})
}

// unlessRefused is an error that is not the disk's: what it refuses is asked again later.
func unlessRefused(err error) error {
	if err != nil && strings.Contains(err.Error(), "disk refuses writes") {
		return nil
	}
	return err
}

// check compares the history with what was seen of it before.
func (s *soaking) check() {
	s.t.Helper()
	s.do(func(ctx context.Context, c *control.Client) error {
		rows, err := c.History(ctx, control.HistoryQuery{Name: "web", All: true})
		if err != nil {
			return err
		}
		seen, numbers := map[string]bool{}, map[int64]string{}
		for _, r := range rows {
			if seen[r.ID] {
				s.t.Errorf("row %s twice", r.ID)
			}
			seen[r.ID] = true
			if other, taken := numbers[r.Revision]; taken && r.Revision > 0 {
				s.t.Errorf("revision %d is of %s and %s:\n%s", r.Revision, other, r.ID, around(rows, r.Revision))
			}
			numbers[r.Revision] = r.ID
			if before, ok := s.rows[r.ID]; ok && before.Revision > 0 && before.Revision != r.Revision {
				s.t.Errorf("row %s was revision %d, is %d", r.ID, before.Revision, r.Revision)
			}
			s.rows[r.ID] = r
		}
		for id := range s.rows {
			if !seen[id] {
				s.t.Errorf("row %s is lost", id)
			}
		}
		if last := rows[len(rows)-1]; last.Commit != s.head && last.Outcome != "Applied" && last.Outcome != "Complete" {
			s.t.Errorf("the last row is %+v, the head %s", last, s.head)
		}
		return nil
	})
}
