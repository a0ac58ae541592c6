package source

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Readers take snapshots and read them while commits are fetched, packs are merged and the mirror is made anew.
func TestReadersWhileFetching(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.commit("main", "start", map[string]string{"a/f": "start", "b/g": "x"})
	m := r.mirror()
	poll(t, m)
	const rounds = 70
	last := chain(r, "main", rounds)
	all := steps(t, snapshot(t, func() *Mirror {
		other := r.mirror()
		poll(t, other)
		return other
	}()), m.Head().Commit, last, 0)

	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for ctx.Err() == nil {
				s, err := m.Snapshot()
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := readAll(s, s.Head()); err != nil {
					t.Error(err)
				}
				if _, err := s.Steps(t.Context(), all[0].Commit.Parents[0], s.Head(), 0); err != nil {
					t.Error(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i, step := range all {
		r.point("main", step.Commit.Hash)
		if i%20 == 19 {
			m.damaged.Store(true)
		}
		if head := poll(t, m); head.Commit != step.Commit.Hash {
			t.Errorf("head %+v", head)
		}
	}
	cancel()
	readers.Wait()
	if m.damaged.Load() {
		t.Error("a reader took the exchange of the mirror for damage")
	}
}

func TestClosedSnapshot(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	h := r.commit("main", "start", map[string]string{"f": "x"})
	m := r.mirror()
	poll(t, m)
	s, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := s.Tree(h)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.ReadFile("f"); err == nil {
		t.Error("a closed snapshot can be read")
	}
	if m.damaged.Load() {
		t.Error("reading a closed snapshot marks the mirror damaged")
	}
}

func TestDirectoryThatCannotBeMade(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	cfg := r.config()
	cfg.Dir = filepath.Join(write(t, filepath.Join(t.TempDir(), "file"), "x"), "mirror")
	_, err := Open(t.Context(), cfg, nopLog)
	wantKind(t, err, KindDisk)
}

// What cannot be written is the disk's fault, and nothing is taken for damage.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.commit("main", "start", map[string]string{"f": "x"})
	m := r.mirror()
	pack := filepath.Join(m.cfg.Dir, "objects", "pack")
	remove(t, pack)
	if err := os.Symlink("/dev/full/nowhere", pack); err != nil {
		t.Fatal(err)
	}
	_, err := m.Poll(t.Context())
	wantKind(t, err, KindDisk)
	remove(t, pack)
	if err := os.Mkdir(pack, 0o755); err != nil {
		t.Fatal(err)
	}
	poll(t, m)
}
