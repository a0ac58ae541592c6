package state

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/google/btree"
)

// ledger holds the ledger's values and the ways to find them. What it holds is never modified, only replaced. It has
// no lock of its own.
type ledger struct {
	number     int64 // last number given to a row
	rows       map[string]*Row
	byName     *btree.BTreeG[*Row] // namespace, name, past, number
	open       *btree.BTreeG[*Row] // number
	commits    *btree.BTreeG[*Commit]
	hashes     *btree.BTreeG[hashed]
	past       *btree.BTreeG[*Row] // of commits before a first sync: commit, number
	cursors    map[string]*Cursor
	templates  cold[Template]
	configs    cold[Config]
	chilling   []chilling // by version
	managed    map[Key]*Managed
	inventory  *btree.BTreeG[*Managed]   // source, key
	holds      *btree.BTreeG[*Hold]      // namespace, name
	marks      *btree.BTreeG[*Mark]      // namespace, name, id
	overrides  *btree.BTreeG[*Override]  // namespace, name, field
	departed   *btree.BTreeG[*Departed]  // namespace, name
	gitChanges *btree.BTreeG[*GitChange] // namespace, name, field
}

// hashed finds a commit by one of its hashes.
type hashed struct {
	hash   string
	commit *Commit
}

func newLedger() ledger {
	return ledger{
		rows:      map[string]*Row{},
		byName:    newTree(compareByName),
		open:      newTree(func(a, b *Row) int { return cmp.Compare(a.Number, b.Number) }),
		commits:   newTree(compareCommits),
		hashes:    newTree(func(a, b hashed) int { return cmp.Or(cmp.Compare(a.hash, b.hash), compareCommits(a.commit, b.commit)) }),
		past:      newTree(func(a, b *Row) int { return cmp.Or(cmp.Compare(a.Commit, b.Commit), cmp.Compare(a.Number, b.Number)) }),
		cursors:   map[string]*Cursor{},
		templates: newCold[Template](bucketTemplates),
		configs:   newCold[Config](bucketConfigs),
		managed:   map[Key]*Managed{},
		inventory: newTree(func(a, b *Managed) int { return cmp.Or(cmp.Compare(a.Source, b.Source), a.Key.Compare(b.Key)) }),
		holds: newTree(func(a, b *Hold) int {
			return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
		}),
		marks: newTree(compareMarks), overrides: newTree(compareOverrides), departed: newTree(compareDeparted),
		gitChanges: newTree(compareGitChanges),
	}
}

func newTree[T any](compare func(a, b T) int) *btree.BTreeG[T] {
	return btree.NewG(treeDegree, func(a, b T) bool { return compare(a, b) < 0 })
}

func compareByName(a, b *Row) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(b.Past, a.Past),
		cmp.Compare(a.Number, b.Number))
}

func compareCommits(a, b *Commit) int {
	return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Step, b.Step))
}

// from yields the values of a tree from the first that is not less than the pivot.
func from[T any](tree *btree.BTreeG[T], pivot T) iter.Seq[T] {
	return func(yield func(T) bool) { tree.AscendGreaterOrEqual(pivot, yield) }
}

// replace puts after in the place of before in a tree; either is nil for none.
func replace[T any](tree *btree.BTreeG[*T], before, after *T) {
	if before != nil {
		tree.Delete(before)
	}
	if after != nil {
		tree.ReplaceOrInsert(after)
	}
}

// put is one write of the ledger: it sets a value, nil for none, and says how to undo that. A value equal to the one
// before is no write.
func put[T any](set func(before, after *T), before, after *T, bucket bucket, key string) (func(), diskChange, error) {
	if reflect.DeepEqual(before, after) {
		return nil, diskChange{}, nil
	}
	set(before, after)
	change := diskChange{bucket: bucket, key: key}
	if after != nil {
		change.value = after
	}
	return func() { set(after, before) }, change, nil
}

// ledgerWrite is the write of a value, nil for none. A value that could not be written to disk is refused at once.
func ledgerWrite(value any, w func(*ledger) (func(), diskChange, error)) Write {
	_, err := json.Marshal(value) // refuses a year that cannot be read back, as encodeValue would not
	if err != nil {
		err = fmt.Errorf("ledger: %w", err)
	}
	return Write{op: opLedger, ledger: w, err: err}
}

// PutRow adds a row, or replaces the one with its ID. The number is given at the first put and stays; the row of an
// ID never moves to another Deployment.
func PutRow(r Row) Write {
	given := copyRow(&r)
	return ledgerWrite(given, func(l *ledger) (func(), diskChange, error) {
		before, after := l.rows[given.ID], *given
		switch {
		case given.ID == "" || given.Namespace == "" || given.Name == "":
			return nil, diskChange{}, errors.New("ledger row: id, namespace and name are needed")
		case before == nil:
			after.Number = l.number + 1
		case before.Namespace != given.Namespace || before.Name != given.Name:
			return nil, diskChange{}, fmt.Errorf("ledger row %s: is of %s/%s, not of %s/%s", given.ID,
				before.Namespace, before.Name, given.Namespace, given.Name)
		default:
			after.Number = before.Number
		}
		return put(l.setRow, before, &after, bucketRows, numberKey("", after.Number))
	})
}

func (l *ledger) setRow(before, after *Row) {
	replace(l.byName, before, after)
	replace(l.past, pastOnly(before), pastOnly(after))
	if before != nil && before.Open {
		l.open.Delete(before)
	}
	if after == nil {
		delete(l.rows, before.ID)
		l.number = before.Number - 1 // only the undo of a put takes rows away, the last first
		return
	}
	l.rows[after.ID] = after
	l.number = max(l.number, after.Number)
	if after.Open {
		l.open.ReplaceOrInsert(after)
	}
}

func pastOnly(r *Row) *Row {
	if r == nil || r.Past == 0 || r.Commit == "" {
		return nil
	}
	return r
}

// PutCommit adds what the ledger keeps of a step, or replaces it.
func PutCommit(c Commit) Write {
	given := copyCommit(&c)
	return ledgerWrite(given, func(l *ledger) (func(), diskChange, error) {
		if given.Source == "" || given.Step < 1 || given.Hash == "" {
			return nil, diskChange{}, errors.New("ledger commit: source, step and hash are needed")
		}
		before, _ := l.commits.Get(given)
		return put(l.setCommit, before, given, bucketCommits, numberKey(given.Source, given.Step))
	})
}

func (l *ledger) setCommit(before, after *Commit) {
	replace(l.commits, before, after)
	for hash := range hashesOf(before) {
		l.hashes.Delete(hashed{hash, before})
	}
	for hash := range hashesOf(after) {
		l.hashes.ReplaceOrInsert(hashed{hash, after})
	}
}

func hashesOf(c *Commit) iter.Seq[string] {
	return func(yield func(string) bool) {
		if c == nil || !yield(c.Hash) {
			return
		}
		for _, hash := range c.Commits {
			if hash != c.Hash && !yield(hash) {
				return
			}
		}
	}
}

// PutCursor sets the cursor of a source.
func PutCursor(c Cursor) Write {
	given := copyCursor(&c)
	return ledgerWrite(given, func(l *ledger) (func(), diskChange, error) {
		if given.Source == "" {
			return nil, diskChange{}, errors.New("ledger cursor: source is needed")
		}
		set := func(_, after *Cursor) { setOrDelete(l.cursors, given.Source, after) }
		return put(set, l.cursors[given.Source], given, bucketCursors, given.Source)
	})
}

// PutTemplate keeps a template under its hash. A hash that is there already keeps its template.
func PutTemplate(t Template) Write {
	given := copyTemplate(&t)
	return ledgerWrite(given, func(l *ledger) (func(), diskChange, error) {
		if given.Hash == "" {
			return nil, diskChange{}, errors.New("ledger template: hash is needed")
		}
		return l.templates.put(given.Hash, given)
	})
}

// PutConfig keeps the content of a ConfigMap or Secret under its hash. A hash that is there already keeps its content.
func PutConfig(c Config) Write {
	given := copyConfig(&c)
	return ledgerWrite(given, func(l *ledger) (func(), diskChange, error) {
		if given.Hash == "" {
			return nil, diskChange{}, errors.New("ledger config: hash is needed")
		}
		return l.configs.put(given.Hash, given)
	})
}

// PutManaged puts an object into the inventory, or replaces what the inventory says of it.
func PutManaged(m Managed) Write {
	return ledgerWrite(m, func(l *ledger) (func(), diskChange, error) {
		if m.Source == "" || m.Key.Name == "" {
			return nil, diskChange{}, errors.New("ledger inventory: source and key are needed")
		}
		return l.putManaged(m.Key, &m)
	})
}

// RemoveManaged takes an object out of the inventory, if it is there.
func RemoveManaged(key Key) Write {
	return ledgerWrite(nil, func(l *ledger) (func(), diskChange, error) { return l.putManaged(key, nil) })
}

func (l *ledger) putManaged(key Key, after *Managed) (func(), diskChange, error) {
	set := func(before, after *Managed) {
		replace(l.inventory, before, after)
		setOrDelete(l.managed, key, after)
	}
	return put(set, l.managed[key], after, bucketManaged, nameKey(string(key.Kind), key.Namespace, key.Name))
}

// PutHold sets the hold of a Deployment.
func PutHold(h Hold) Write {
	h.Since, h.Until = plain(h.Since), plain(h.Until)
	return ledgerWrite(h, func(l *ledger) (func(), diskChange, error) {
		if h.Namespace == "" || h.Name == "" {
			return nil, diskChange{}, errors.New("ledger hold: namespace and name are needed")
		}
		return l.putHold(&h, &h)
	})
}

// RemoveHold takes the hold of a Deployment away, if there is one.
func RemoveHold(namespace, name string) Write {
	return ledgerWrite(nil, func(l *ledger) (func(), diskChange, error) {
		return l.putHold(&Hold{Namespace: namespace, Name: name}, nil)
	})
}

func (l *ledger) putHold(pivot, after *Hold) (func(), diskChange, error) {
	before, _ := l.holds.Get(pivot)
	set := func(before, after *Hold) { replace(l.holds, before, after) }
	return put(set, before, after, bucketHolds, nameKey(pivot.Namespace, pivot.Name))
}

func setOrDelete[K comparable, V any](m map[K]*V, key K, value *V) {
	if value == nil {
		delete(m, key)
	} else {
		m[key] = value
	}
}

// Copies on the way in: a caller shares nothing with the store.

func copyRow(r *Row) *Row {
	c := *r
	c.Images, c.Digests, c.Configs = clone(r.Images), clone(r.Digests), clone(r.Configs)
	c.CommittedAt, c.RecordedAt = plain(r.CommittedAt), plain(r.RecordedAt)
	c.StartedAt, c.EndedAt, c.MissedAt = plain(r.StartedAt), plain(r.EndedAt), plain(r.MissedAt)
	return &c
}

func copyCommit(r *Commit) *Commit {
	c := *r
	c.Commits, c.Rows = clone(r.Commits), clone(r.Rows)
	c.CommittedAt, c.RecordedAt = plain(r.CommittedAt), plain(r.RecordedAt)
	return &c
}

func copyCursor(r *Cursor) *Cursor {
	c := *r
	c.Roots = nil
	if len(r.Roots) > 0 {
		c.Roots = maps.Clone(r.Roots)
	}
	if r.Past != nil {
		c.Past = new(*r.Past)
	}
	return &c
}

func copyTemplate(r *Template) *Template {
	return &Template{Hash: r.Hash, Template: *r.Template.DeepCopy()}
}

func copyConfig(r *Config) *Config {
	c := *r
	c.Text, c.Data = maps.Clone(r.Text), nil
	if len(r.Data) > 0 {
		c.Data = make(map[string][]byte, len(r.Data))
	}
	for k, v := range r.Data {
		c.Data[k] = slices.Clone(v)
	}
	return &c
}

func clone[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return slices.Clone(s)
}

// plain is the time as it is read back from disk.
func plain(t time.Time) time.Time { return t.UTC() }
