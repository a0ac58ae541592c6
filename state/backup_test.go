package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

func backup(t *testing.T, path string, fill func(io.Writer) error) {
	t.Helper()
	if err := WriteFile(path, fill); err != nil {
		t.Fatal(err)
	}
}

// TestBackup: a backup of a store at work is the state at one moment; restored it is another instance, whose versions
// are above all that were given out.
func TestBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openDir(t, dir)
	fill(t, s)
	mustDurable(t, s)
	want := dump(t, s)
	file := filepath.Join(t.TempDir(), "backup")
	backup(t, file, s.Backup)

	stop := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				_, err := s.Commit(PutRow(row(1000+2*n, "web")), PutRow(row(1001+2*n, "web")))
				if err == nil && n%8 == 0 {
					err = s.WaitDurable(t.Context(), s.Version())
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for i := range 5 {
		other := filepath.Join(t.TempDir(), fmt.Sprint("hot-", i))
		backup(t, other, s.Backup)
		fresh := t.TempDir()
		if _, err := Restore(other, fresh); err != nil {
			t.Fatal(err)
		}
		got := openDir(t, fresh)
		if n := len(got.Rows("default", "web")); n%2 != 0 {
			t.Errorf("%d rows: half a transaction", n)
		}
		checkIndexes(t, got)
	}
	close(stop)
	writing.Wait()
	version, id := s.Version(), s.Instance()
	closeStore(t, s)

	kept, err := Restore(file, dir)
	if err != nil || kept != filepath.Join(dir, FileName+".replaced-1") {
		t.Fatalf("restore: %q, %v", kept, err)
	}
	if err := Check(kept); err != nil {
		t.Errorf("what was there before: %v", err)
	}
	again := openDir(t, dir)
	if diff := cmp.Diff(want, dump(t, again)); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
	if again.Version() <= version {
		t.Errorf("version %d after %d", again.Version(), version)
	}
	if again.Instance() == id || again.Instance() == "" {
		t.Errorf("instance %q, was %q", again.Instance(), id)
	}
	id = again.Instance()
	closeStore(t, again)
	if same := openDir(t, dir); same.Instance() != id {
		t.Errorf("instance %q after reopening, was %q", same.Instance(), id)
	}
}

func TestBackupOfAClosedDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var out bytes.Buffer
	if err := BackupFile(dir, &out); err == nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of nothing: %v", err)
	}
	s := openDir(t, dir)
	fill(t, s)
	if err := BackupFile(dir, &out); !errors.Is(err, ErrLocked) {
		t.Errorf("of a state in use: %v", err)
	}
	closeStore(t, s)
	file := filepath.Join(t.TempDir(), "backup")
	backup(t, file, func(w io.Writer) error { return BackupFile(dir, w) })
	memory := open(t)
	if err := errors.Join(memory.Backup(&out)); !errors.Is(err, ErrInMemory) {
		t.Errorf("of memory: %v", err)
	}
}

// TestBadBackups: what is not a whole state is neither kept as a backup nor restored, and replaces nothing.
func TestBadBackups(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openDir(t, dir)
	fill(t, s)
	mustDurable(t, s)
	var whole bytes.Buffer
	if err := s.Backup(&whole); err != nil {
		t.Fatal(err)
	}
	bad := bytes.Replace(whole.Bytes(), []byte("registry.example.com"), []byte("registry.example.org"), 1)
	file := filepath.Join(t.TempDir(), "backup")
	backup(t, file, s.Backup)
	for name, content := range map[string][]byte{
		"cut": whole.Bytes()[:whole.Len()/2], "changed": bad, "empty": nil, "text": []byte("no state\n"),
	} {
		if err := WriteFile(file, func(w io.Writer) error { _, err := w.Write(content); return err }); err == nil {
			t.Errorf("%s: taken as a backup", name)
		}
		other := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(other, content, 0o600); err != nil {
			t.Fatal(err)
		}
		fresh := t.TempDir()
		if _, err := Restore(other, fresh); err == nil {
			t.Errorf("%s: restored", name)
		}
		if left, err := os.ReadDir(fresh); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}
	if err := Check(file); err != nil {
		t.Errorf("the good backup: %v", err)
	}
	if left, err := filepath.Glob(file + "*"); err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestCopyAfterDamage: the copy that is made by itself is named where the file is damaged, and brings the state back.
func TestCopyAfterDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openDir(t, dir)
	fill(t, s)
	mustDurable(t, s)
	want := dump(t, s)
	if err := s.Copy(); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	path := filepath.Join(dir, FileName)
	if err := os.Truncate(path, 16384); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir, testOptions())
	var e *Error
	if !errors.Is(err, ErrDamaged) || !errors.As(err, &e) {
		t.Fatalf("opened: %v", err)
	}
	kept := filepath.Join(dir, CopyName)
	if !strings.HasPrefix(e.Hint(), "`belay restore --force "+kept+"` goes back to the copy of 20") {
		t.Errorf("hint: %s", e.Hint())
	}
	if _, err := Restore(kept, dir); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, dump(t, openDir(t, dir))); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
}

// TestMigration: a file of an older schema is copied, then migrated in one transaction; one that cannot be migrated
// stays as it was.
func TestMigration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openDir(t, dir)
	fill(t, s)
	closeStore(t, s)
	path := filepath.Join(dir, FileName)

	broken := errors.New("no")
	rename := func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucketCursors)).Delete([]byte("shop"))
	}
	open := func(schema int64, ms map[int64]migration) error {
		d, err := openDisk(dir, nil)
		if err != nil {
			return err
		}
		d.schema, d.migrations = schema, ms
		return errors.Join(d.migrate(), d.close())
	}
	const now = schemaVersion
	err := open(now+2, map[int64]migration{now: rename, now + 1: func(*bbolt.Tx) error { return broken }})
	if !errors.Is(err, broken) {
		t.Fatalf("a migration that fails: %v", err)
	}
	again := openDir(t, dir) // untouched
	if _, ok := again.Cursor("shop"); !ok {
		t.Error("half of a migration is there")
	}
	closeStore(t, again)
	if err := open(now+2, map[int64]migration{now: rename, now + 1: func(*bbolt.Tx) error { return nil }}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, testOptions()); !errors.Is(err, ErrNewer) {
		t.Errorf("an older belay opens it: %v", err)
	}
	kept := fmt.Sprintf("%s.schema-%d", path, now)
	if err := Check(kept); err != nil {
		t.Errorf("the copy: %v", err)
	}
	if _, err := Restore(kept, dir); err != nil {
		t.Fatal(err)
	}
	if _, ok := openDir(t, dir).Cursor("shop"); !ok {
		t.Error("the copy has not what was there before")
	}
}

// TestFirstSchema: a file whose ledger is JSON opens with all that it has.
func TestFirstSchema(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openDir(t, dir)
	fill(t, s)
	commit(t, s, PutCommit(Commit{Source: "shop", Step: 2, Hash: "cc", CommittedAt: epoch.Add(3)}))
	mustDurable(t, s)
	want := dump(t, s)
	closeStore(t, s)
	db, err := bbolt.Open(filepath.Join(dir, FileName), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, b := range buckets {
			if b.recode == nil {
				continue
			}
			old := map[string][]byte{}
			err := tx.Bucket([]byte(b.name)).ForEach(func(key, stored []byte) error {
				v, err := b.decode(key, stored[4:])
				if err != nil {
					return err
				}
				text, err := json.Marshal(v)
				old[string(key)] = seal(key, text)
				return err
			})
			if err != nil {
				return err
			}
			for key, stored := range old {
				if err := tx.Bucket([]byte(b.name)).Put([]byte(key), stored); err != nil {
					return err
				}
			}
		}
		return putNumber(tx.Bucket(metaBucket), metaSchema, 1)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	again := openDir(t, dir)
	if diff := cmp.Diff(want, dump(t, again)); diff != "" {
		t.Errorf("migrated (-want +got):\n%s", diff)
	}
	checkIndexes(t, again)
	if err := Check(filepath.Join(dir, FileName+".schema-1")); err != nil {
		t.Errorf("the copy: %v", err)
	}
}
