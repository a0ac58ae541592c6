package state

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

// model is what a store should hold, kept in the simplest way.
type model struct {
	objects map[Key]string // what tells one state of an object from another
	rows    map[string]Row
	number  int64
	holds   map[string]string
	managed map[Key]string
	configs map[string]string
}

func newModel() model {
	return model{objects: map[Key]string{defaultNamespace: ""}, rows: map[string]Row{}, holds: map[string]string{}, managed: map[Key]string{},
		configs: map[string]string{}}
}

func (m model) clone() model {
	return model{maps.Clone(m.objects), maps.Clone(m.rows), m.number, maps.Clone(m.holds), maps.Clone(m.managed), maps.Clone(m.configs)}
}

// apply carries out one write and says whether it is allowed, and whether it changes an object or anything at all.
func (m *model) apply(w modelWrite) (allowed, object, changed bool) {
	_, there := m.objects[w.key]
	switch w.verb {
	case "create":
		if there {
			return false, false, false
		}
		m.objects[w.key] = w.value
		return true, true, true
	case "update", "status":
		if !there || w.verb == "status" && w.key.Kind == KindConfigMap {
			return false, false, false
		}
		old := m.objects[w.key]
		m.objects[w.key] = w.value
		return true, true, old != w.value
	case "delete":
		delete(m.objects, w.key)
		return there, true, there
	case "row":
		r, ok := m.rows[w.row.ID]
		if ok && r.Name != w.row.Name {
			return false, false, false
		}
		n := r.Number
		if !ok {
			m.number++
			n = m.number
		}
		after := w.row
		after.Number = n
		m.rows[w.row.ID] = after
		return true, false, !cmp.Equal(r, after)
	case "hold":
		old := m.holds[w.key.Name]
		m.holds[w.key.Name] = w.value
		return true, false, old != w.value
	case "release":
		_, ok := m.holds[w.key.Name]
		delete(m.holds, w.key.Name)
		return true, false, ok
	case "config":
		_, ok := m.configs[w.key.Name]
		if !ok {
			m.configs[w.key.Name] = w.value
		}
		return true, false, !ok
	case "manage":
		old := m.managed[w.key]
		m.managed[w.key] = w.value
		return true, false, old != w.value
	}
	panic("unknown verb " + w.verb)
}

type modelWrite struct {
	verb  string
	key   Key
	value string
	row   Row
}

func (w modelWrite) GoString() string {
	if w.verb == "row" {
		return fmt.Sprintf("row %s of %s open %v", w.row.ID, w.row.Name, w.row.Open)
	}
	return fmt.Sprintf("%s %s %s", w.verb, w.key, w.value)
}

func (w modelWrite) write() Write {
	value := map[string]string{"value": w.value}
	var o Object
	switch w.key.Kind {
	case KindConfigMap:
		o = &corev1.ConfigMap{ObjectMeta: meta(w.key.Name), Data: value}
	case KindPod: // a pod that is on no node goes at once
		o = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: w.key.Name, Annotations: value},
			Status: corev1.PodStatus{Phase: corev1.PodPending}}
	default:
	}
	switch w.verb {
	case "create":
		return Create(o)
	case "update":
		return Update(o)
	case "status":
		return UpdateStatus(o)
	case "delete":
		return Delete(w.key, DeleteOptions{})
	case "row":
		return PutRow(w.row)
	case "config":
		return PutConfig(Config{Hash: w.key.Name, Kind: KindConfigMap, Text: value})
	case "hold":
		return PutHold(Hold{ID: w.value, Namespace: "default", Name: w.key.Name})
	case "release":
		return RemoveHold("default", w.key.Name)
	}
	return PutManaged(Managed{Key: w.key, Source: w.value})
}

func valueOf(o Object) string {
	switch o := o.(type) {
	case *corev1.ConfigMap:
		return o.Data["value"]
	case *corev1.Pod:
		return o.Annotations["value"]
	}
	return ""
}

var modelWrites = rapid.Custom(func(t *rapid.T) modelWrite {
	w := modelWrite{
		verb: rapid.SampledFrom([]string{"create", "create", "update", "update", "status", "delete", "row", "hold", "release", "manage", "config"}).Draw(t, "verb"),
		key: Key{rapid.SampledFrom([]Kind{KindConfigMap, KindPod}).Draw(t, "kind"), "default",
			rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")},
		value: rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "value"),
	}
	w.row = testRow(rapid.SampledFrom([]string{"r", "s", "t"}).Draw(t, "id"), w.key.Name, rapid.Bool().Draw(t, "open"))
	return w
})

// gatedDisk lets the file be copied between two batches, as after a loss of power.
type gatedDisk struct {
	mu sync.Mutex
	*disk
}

func (g *gatedDisk) write(b batch) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.disk.write(b)
}

func (g *gatedDisk) copyTo(dir string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	content, err := os.ReadFile(g.path)
	return errors.Join(err, os.WriteFile(filepath.Join(dir, FileName), content, 0o600))
}

// lastOnDisk is the version whose state a file holds.
func lastOnDisk(dir string) (last int64, err error) {
	db, err := bbolt.Open(filepath.Join(dir, FileName), 0o600, nil)
	if err != nil {
		return 0, err
	}
	err = db.View(func(tx *bbolt.Tx) (err error) {
		last, err = number(tx.Bucket(metaBucket), metaLast)
		return err
	})
	return last, errors.Join(err, db.Close())
}

// Random transactions do what the model does; what a watch told is what is there; versions never go back; a copy of
// the file at any moment holds a state that was, and one no older than what was said to be durable.
func TestStoreAgainstModel(t *testing.T) {
	t.Parallel()
	dirs := t.TempDir()
	n := 0
	newDir := func() string {
		n++
		return filepath.Join(dirs, strconv.Itoa(n))
	}
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, newDir: newDir, dir: newDir(), model: newModel(), seen: map[Key]string{defaultNamespace: ""}}
		w.reopen()
		t.Repeat(map[string]func(*rapid.T){
			"commit":       w.commit,
			"commit more":  w.commit,
			"commit again": w.commit,
			"watch":        w.watchOn,
			"crash":        w.crash,
			"restart":      w.restart,
			"":             func(*rapid.T) { w.check() },
		})
		w.close()
	})
}

// world is a store on disk with its model, through crashes and restarts.
type world struct {
	t       *rapid.T
	newDir  func() string
	dir     string
	store   *Store
	disk    *gatedDisk
	model   model
	states  map[int64]model // by version, since the last start
	durable int64           // version said to be durable
	watch   *Watch
	seen    map[Key]string // what the watch told
}

func (w *world) reopen() {
	s, err := openThrough(w.dir, testOptions(), func(d *disk) writer {
		w.disk = &gatedDisk{disk: d}
		return w.disk
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.store != nil && s.Version() <= w.store.Version() {
		w.t.Fatalf("version %d after %d", s.Version(), w.store.Version())
	}
	w.store = s
	w.states = map[int64]model{s.Version(): w.model.clone()}
	w.durable = s.history.start
	if w.watch, err = s.Watch(s.Version()); err != nil {
		w.t.Fatal(err)
	}
	w.seen = maps.Clone(w.model.objects)
}

func (w *world) close() {
	if err := w.store.Close(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) commit(t *rapid.T) {
	list := rapid.SliceOfN(modelWrites, 1, 6).Draw(t, "writes")
	after := w.model.clone()
	allowed, changed, objects := true, false, 0
	var writes []Write
	for _, m := range list {
		writes = append(writes, m.write())
		if !allowed {
			continue
		}
		ok, object, change := after.apply(m)
		allowed, changed = allowed && ok, changed || change
		if object {
			objects++
		}
	}
	before := w.store.Version()
	receipt, err := w.store.Commit(writes...)
	switch {
	case allowed != (err == nil):
		t.Fatalf("allowed %v, got %v", allowed, err)
	case !allowed:
		if w.store.Version() != before {
			t.Fatalf("refused, and version %d after %d", w.store.Version(), before)
		}
		return
	case changed != (receipt.Version > before) || receipt.Version != w.store.Version():
		t.Fatalf("changed %v, version %d after %d", changed, receipt.Version, before)
	case len(receipt.Objects) != objects || len(receipt.Removed) != objects:
		t.Fatalf("%d objects in the receipt, not %d", len(receipt.Objects), objects)
	}
	w.model = after
	w.states[receipt.Version] = after.clone()
	if rapid.Bool().Draw(t, "wait") {
		if err := w.store.WaitDurable(t.Context(), receipt.Version); err != nil {
			t.Fatal(err)
		}
		w.durable = receipt.Version
	}
}

// watchOn plays what the watch tells, and compares with what is there.
func (w *world) watchOn(t *rapid.T) {
	behind := int64(0)
	for _, o := range slices.Concat(w.store.List(KindConfigMap, ""), w.store.List(KindPod, "")) {
		v, err := strconv.ParseInt(o.GetResourceVersion(), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		behind = max(behind, v)
	}
	for {
		events, woken, err := w.watch.read()
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			w.store.waiters.drop(woken)
			break
		}
		for _, e := range events {
			old, there := w.seen[e.Key()]
			if there != (e.Type != Added) || there && valueOf(e.Old) != old {
				t.Fatalf("%s %s: was %q %v", e.Type, e.Key(), old, there)
			}
			w.seen[e.Key()] = valueOf(e.Object)
			if e.Type == Deleted {
				delete(w.seen, e.Key())
			}
		}
	}
	if diff := cmp.Diff(w.model.objects, w.seen); diff != "" {
		t.Fatalf("watched (-want +got):\n%s", diff)
	}
}

func (w *world) crash(t *rapid.T) {
	dir := w.newDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := w.disk.copyTo(dir); err != nil {
		t.Fatal(err)
	}
	last, err := lastOnDisk(dir)
	if err != nil && !errors.Is(err, ErrDamaged) { // nothing was written since the file was made
		t.Fatal(err)
	}
	if err != nil || last < w.store.history.start {
		last = w.store.history.start // the state that was found at the start
	}
	state, was := w.states[last]
	if !was && last == w.store.history.start {
		state, was = newModel(), true // before the default namespace was made, which the next start makes up for
	}
	if !was || last < w.durable {
		t.Fatalf("the copy holds version %d: known %v, durable %d", last, was, w.durable)
	}
	w.close()
	w.dir, w.model = dir, state
	w.reopen()
	w.check()
}

func (w *world) restart(*rapid.T) {
	w.close()
	w.reopen()
	w.check()
}

func (w *world) check() {
	objects := map[Key]string{}
	for _, info := range kinds {
		for _, o := range w.store.List(info.kind, "") {
			objects[KeyOf(o)] = valueOf(o)
		}
	}
	rows, holds, managed := map[string]Row{}, map[string]string{}, map[Key]string{}
	for _, name := range []string{"a", "b", "c"} {
		last := int64(0)
		for _, r := range w.store.Rows("default", name) {
			if r.Number <= last {
				w.t.Fatalf("row %d after %d", r.Number, last)
			}
			rows[r.ID], last = r, r.Number
		}
	}
	for _, h := range w.store.Holds() {
		holds[h.Name] = h.ID
	}
	for _, m := range w.store.Inventory("") {
		managed[m.Key] = m.Source
	}
	configs := map[string]string{}
	for _, hash := range []string{"a", "b", "c"} {
		if c, ok := w.store.Config(hash); ok {
			configs[hash] = c.Text["value"]
		}
	}
	for what, pair := range map[string][2]any{
		"objects": {w.model.objects, objects}, "rows": {w.model.rows, rows}, "holds": {w.model.holds, holds}, "managed": {w.model.managed, managed},
		"configs": {w.model.configs, configs},
	} {
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			w.t.Fatalf("%s (-want +got):\n%s", what, diff)
		}
	}
	checkIndexes(w.t, w.store)
}
