package state

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// fill puts something of everything into a store.
func fill(t testing.TB, s *Store) {
	t.Helper()
	web := stored[*appsv1.Deployment](t, s, Create(deployment("web")))
	rs := stored[*appsv1.ReplicaSet](t, s, Create(replicaSet("web-1", web)))
	p := pod("web-1-a", rs)
	limit := resource.MustParse("1Gi")
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}}}}
	first := stored[*corev1.Pod](t, s, Create(p))
	gone := configMap("gone", "1")
	going := pod("going", nil)
	going.Finalizers = []string{"belay.dev/x"}
	commit(t, s, UpdateStatus(running(first)), Create(gone), Create(going))
	commit(t, s, Delete(KeyOf(gone), DeleteOptions{}), Delete(KeyOf(going), DeleteOptions{}),
		Create(&corev1.Secret{ObjectMeta: meta("s"), Data: map[string][]byte{"a": {0, 1, 255}, "empty": {}}}),
		Create(service("web", nil)), Create(quota("q", map[corev1.ResourceName]string{"pods": "2000"})),
		Create(&corev1.Event{ObjectMeta: meta("e"), EventTime: metav1.NewMicroTime(epoch.Add(time.Microsecond)), LastTimestamp: metav1.NewTime(epoch)}))
	commit(t, s, PutRow(row(1, "web")), PutRow(testRow("open", "web", true)),
		PutCommit(Commit{Source: "shop", Step: 1, Hash: "aa", Commits: []string{"aa", "bb"}, Rows: []string{"open"}, RecordedAt: epoch.Add(1)}),
		PutCursor(Cursor{Source: "shop", Step: 1, Roots: map[string]string{"shop\x00apps/web": "aa"}}),
		PutTemplate(Template{Hash: "t", Template: template("web")}),
		PutConfig(Config{Hash: "c", Kind: KindConfigMap, Text: map[string]string{"a": "b"}, Data: map[string][]byte{"raw": {0, 255}}}),
		PutConfig(Config{Hash: "s", Kind: KindSecret, Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"a": {0, 1}, "empty": {}}}),
		PutManaged(Managed{Key: KeyOf(web), Source: "shop"}), PutManaged(Managed{Key: KeyOf(gone), Source: "shop"}),
		PutHold(Hold{Namespace: "default", Name: "web", Until: epoch}), PutHold(Hold{Namespace: "default", Name: "api"}))
	commit(t, s, PutMark(testMark("m1")), PutMark(testMark("m2")), PutOverride(testOverride("paused")), PutOverride(testOverride("replicas")),
		PutDeparted(Departed{Namespace: "default", Name: "web", At: epoch, Managed: Managed{Key: KeyOf(web), Source: "shop"}, Object: *deployment("web")}),
		PutGitChange(testGitChange("template")), PutGitChange(testGitChange("replicas")))
	commit(t, s, RemoveGitChange("default", "web", "replicas"))
	commit(t, s, RemoveManaged(KeyOf(gone)), RemoveHold("default", "api"), RemoveMark("default", "web", "m1"),
		RemoveOverride("default", "web", "paused"))
}

func TestReopen(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "dir")
	s, err := Open(dir, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s)
	want := dump(t, s)
	closeStore(t, s)

	again := openDir(t, dir)
	if diff := cmp.Diff(want, dump(t, again)); diff != "" {
		t.Errorf("after reopening (-want +got):\n%s", diff)
	}
	checkIndexes(t, again)
	if again.Version() != leaseBlock {
		t.Errorf("version %d", again.Version())
	}
	for _, after := range []int64{0, 5, leaseBlock - 1} {
		if _, err := again.Watch(after); !errors.Is(err, ErrExpired) {
			t.Errorf("watch after %d: %v", after, err)
		}
	}
	w := watch(t, again, leaseBlock)
	commit(t, again, Create(configMap("new", "1")), PutRow(testRow("new", "web", false)))
	if got := tell(next(t, w)); got != "10001 ADDED ConfigMap default/new" {
		t.Errorf("got %s", got)
	}
	if r, _ := again.Row("new"); r.Number != 3 {
		t.Errorf("number %d", r.Number)
	}
	info, err := os.Stat(filepath.Join(dir, FileName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

// What is read back is the same to the last bit as what was in memory, times included.
func TestReopenedObjectsAreEqual(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openDir(t, dir)
	p := running(stored[*corev1.Pod](t, s, Create(pod("web", nil))))
	exact := metav1.NewTime(epoch.Add(123456789).In(time.FixedZone("CET", 3600)))
	p.Status.StartTime = &exact
	p.Status.Conditions[0].LastTransitionTime = exact
	p.Status.ContainerStatuses[0].State.Running.StartedAt = exact
	p.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{StartedAt: exact, FinishedAt: exact}
	p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m", Time: &exact}}
	want := stored[*corev1.Pod](t, s, UpdateStatus(p))
	closeStore(t, s)
	again := openDir(t, dir)
	got, _ := Get[*corev1.Pod](again, "default", "web")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestVersionsNeverGoBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	last := int64(0)
	for range 4 {
		s := openDir(t, dir)
		if v := s.Version(); v < last {
			t.Errorf("version %d after %d", v, last)
		}
		for i := range leaseBlock/2 + 100 {
			last = commit(t, s, PutCursor(Cursor{Source: "shop", Step: last + int64(i)})).Version
		}
		closeStore(t, s)
	}
}

func TestLocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	openDir(t, dir)
	_, err := Open(dir, testOptions())
	checkOpenError(t, err, ErrLocked, "open "+filepath.Join(dir, FileName)+": in use by another process")
}

func checkOpenError(t *testing.T, err, want error, text string) {
	t.Helper()
	var e *Error
	if !errors.Is(err, want) || !errors.As(err, &e) || e.Hint() == "" {
		t.Fatalf("got %v, want %v with a hint", err, want)
	}
	if !strings.HasPrefix(err.Error(), text) {
		t.Errorf("got %q, want %q", err.Error(), text)
	}
}

func TestForeignFiles(t *testing.T) {
	t.Parallel()
	bolt := func(path string, fill func(*bbolt.Tx) error) error {
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			return err
		}
		return errors.Join(db.Update(fill), db.Close())
	}
	meta := func(schema []byte) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket(metaBucket)
			if err != nil || schema == nil {
				return err
			}
			return b.Put(metaSchema, schema)
		}
	}
	number := func(n int64) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket(metaBucket)
			return errors.Join(err, putNumber(b, metaSchema, n))
		}
	}
	cases := []struct {
		name string
		make func(path string) error
		want error
		text string
	}{
		{"text", func(path string) error { return os.WriteFile(path, []byte("not a database\n"), 0o600) }, ErrForeign,
			"not a state file of belay"},
		{"long text", func(path string) error {
			return os.WriteFile(path, []byte(strings.Repeat("no database\n", 10_000)), 0o600)
		}, ErrForeign,
			"not a state file of belay"},
		{"another database", func(path string) error {
			return bolt(path, func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("x")); return err })
		}, ErrForeign, "not a state file of belay"},
		{"a meta bucket of another", func(path string) error { return bolt(path, meta(nil)) }, ErrForeign, "not a state file of belay"},
		{"no number", func(path string) error { return bolt(path, meta([]byte("1"))) }, ErrDamaged, "damaged: belay-schema: checksum does not match"},
		{"no lease", func(path string) error { return bolt(path, number(schemaVersion)) }, ErrDamaged, "damaged: lease: checksum does not match"},
		{"newer", func(path string) error { return bolt(path, number(schemaVersion+1)) }, ErrNewer,
			fmt.Sprintf("written by a newer belay: schema %d, this one knows %d", schemaVersion+1, schemaVersion)},
		{"older", func(path string) error { return bolt(path, number(0)) }, ErrDamaged, "damaged: schema 0 never was"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, FileName)
			if err := c.make(path); err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // nothing stays locked
				_, err := Open(dir, testOptions())
				checkOpenError(t, err, c.want, "open "+path+": "+c.text)
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Errorf("the file was changed: %v", err)
			}
		})
	}
}

func TestEmptyFileIsANewOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s := openDir(t, dir); s.Version() != 1 {
		t.Errorf("version %d", s.Version())
	}
}

func TestUnreadableDirectory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(path, testOptions())
	if want := "open " + filepath.Join(path, FileName) + ": not a directory"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Whatever is wrong with a file, opening it ends with the state or with an error that says so.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openDir(t, dir)
	fill(t, s)
	for i := range 200 {
		commit(t, s, Create(pod(fmt.Sprint("web-", i), nil)), PutRow(row(100+i, "web")))
	}
	want := dump(t, s)
	var used int64
	err := s.disk.disk.(*disk).db.View(func(tx *bbolt.Tx) error {
		used = tx.Size()
		return nil
	})
	closeStore(t, s)
	good, readErr := os.ReadFile(filepath.Join(dir, FileName))
	if err := errors.Join(err, readErr); err != nil {
		t.Fatal(err)
	}

	const metaPages = 8192 // when one is damaged, the other holds for the state before the last batch
	try := func(name string, at int64, content []byte) error {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, FileName), content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, testOptions())
		if err != nil {
			var e *Error
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForeign) && !errors.Is(err, ErrNewer) || !errors.As(err, &e) || e.Hint() == "" {
				t.Errorf("%s: %v", name, err)
			}
			return err
		}
		got := dump(t, s)
		if err := s.Close(); err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: close: %v", name, err)
		}
		if at < metaPages {
			return nil
		}
		have := map[string]bool{}
		for _, line := range want {
			have[line] = true
		}
		for _, line := range got {
			if !have[line] {
				t.Errorf("%s: read what never was: %s", name, line)
			}
		}
		return nil
	}
	for _, size := range []int64{1, 100, 4096, 8192, 12288, used / 2, used - 1} {
		if err := try(fmt.Sprint("cut to ", size), size, good[:size]); err == nil {
			t.Errorf("cut to %d of %d: no error", size, used)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	caught := 0
	for i := range 60 {
		bad := append([]byte(nil), good...)
		at := random.Int64N(used)
		n := 1 + random.IntN(64)
		for j := range min(int64(n), used-at) {
			bad[at+j] = byte(random.Uint32())
		}
		if try(fmt.Sprintf("%d: %d bytes at %d", i, n, at), at, bad) != nil {
			caught++
		}
	}
	if caught == 0 {
		t.Error("nothing was found")
	}
	// A value that is changed is always found.
	for _, text := range []string{"registry.example.com/shop/web-17:1.2.3", "Use web 1.2.150"} {
		bad := []byte(strings.Replace(string(good), text, strings.ToUpper(text), -1))
		if err := try(text, metaPages, bad); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestLatest(t *testing.T) {
	t.Parallel()
	got := latest([]diskChange{{"b", "1", 1}, {"a", "2", 2}, {"b", "1", nil}, {"a", "1", 3}, {"a", "2", 4}, {"a", "2", 5}})
	want := []diskChange{{"a", "1", 3}, {"a", "2", 5}, {"b", "1", nil}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(diskChange{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := latest(nil); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

// TestMappedOnce: however a file grows, it is not mapped anew: a system that refuses that would take away what is read there.
func TestMappedOnce(t *testing.T) {
	t.Parallel()
	s, err := Open(t.TempDir(), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	at := s.file.db.Info().Data
	for n := range 40 {
		var ws []Write
		for i := range 100 {
			ws = append(ws, PutRow(testRow(fmt.Sprint("row-", n, "-", i), "web", false)))
		}
		r := commit(t, s, ws...)
		if err := s.WaitDurable(t.Context(), r.Version); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(s.file.path)
	if err != nil {
		t.Fatal(err)
	}
	if now := s.file.db.Info().Data; now != at || info.Size() < 1<<20 {
		t.Errorf("mapped at %x, then at %x; %d bytes", at, now, info.Size())
	}
	closeStore(t, s)
}
