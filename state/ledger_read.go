package state

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Row finds a row by its ID. Its lists, as those of all rows and commits that are read, are everybody's: they are never
// changed in place.
func (s *Store) Row(id string) (Row, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return found(s.ledger.rows[id], sharedRow)
}

// Rows gives the history of a Deployment, oldest first: the commits before the first sync, then the rows in the order
// of their numbers.
func (s *Store) Rows(namespace, name string) []Row {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var rows []*Row
	for r := range from(s.ledger.byName, &Row{Namespace: namespace, Name: name, Past: maxNumber}) {
		if r.Namespace != namespace || r.Name != name {
			break
		}
		rows = append(rows, r)
	}
	return sharedRows(rows)
}

// MissedRows gives the rows whose rollout passed its progress deadline, in no order.
func (s *Store) MissedRows() []Row {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var rows []*Row
	for _, r := range s.ledger.rows {
		if !r.MissedAt.IsZero() {
			rows = append(rows, r)
		}
	}
	return sharedRows(rows)
}

// ImagesOf gives the images of the rows that are open, and of those that have an outcome and one of the newest templates
// that do, sorted, each once: what each was when the row completed where that is known, else its name. Newest says how many
// templates count of a Deployment; of one that is not among them, the last does.
func (s *Store) ImagesOf(outcome Outcome, newest map[types.NamespacedName]int) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := map[string]bool{}
	done := map[types.NamespacedName][]*Row{}
	for _, r := range s.ledger.rows {
		switch name := (types.NamespacedName{Namespace: r.Namespace, Name: r.Name}); {
		case r.Open:
			addImages(all, r)
		case r.Outcome == outcome:
			done[name] = append(done[name], r)
		}
	}
	for name, rows := range done {
		slices.SortFunc(rows, func(a, b *Row) int { return cmp.Compare(b.Number, a.Number) })
		most, ok := newest[name]
		if !ok {
			most = 1
		}
		templates := map[string]bool{}
		for _, r := range rows {
			if !templates[r.Template] && len(templates) == most {
				continue // an older row may have one that counts
			}
			templates[r.Template] = true
			addImages(all, r)
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// addImages adds what the images of a row were when it completed, or else their names.
func addImages(all map[string]bool, r *Row) {
	for i, image := range r.Images {
		if i < len(r.Digests) && r.Digests[i] != "" {
			image = r.Digests[i]
		}
		all[image] = true
	}
}

// OpenRows gives the rows whose outcome is not final, oldest first.
func (s *Store) OpenRows() []Row {
	s.mu.RLock()
	defer s.mu.RUnlock()
	rows := make([]*Row, 0, s.ledger.open.Len())
	s.ledger.open.Ascend(func(r *Row) bool {
		rows = append(rows, r)
		return true
	})
	return sharedRows(rows)
}

// RowsOf gives the rows that a step made, and those that it runs in since, oldest first.
func (s *Store) RowsOf(source string, step int64) []Row {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c, ok := s.ledger.commits.Get(&Commit{Source: source, Step: step})
	if !ok {
		return nil
	}
	var rows []*Row
	for _, id := range c.Rows {
		if r := s.ledger.rows[id]; r != nil {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b *Row) int { return cmp.Compare(a.Number, b.Number) })
	return sharedRows(rows)
}

// CommitAt finds what the ledger keeps of a step.
func (s *Store) CommitAt(source string, step int64) (Commit, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c, _ := s.ledger.commits.Get(&Commit{Source: source, Step: step})
	return found(c, sharedCommit)
}

// Commits gives the newest steps of a source, newest last; all of them when the limit is 0.
func (s *Store) Commits(source string, limit int) []Commit {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var commits []Commit
	s.ledger.commits.DescendLessOrEqual(&Commit{Source: source, Step: maxNumber}, func(c *Commit) bool {
		if c.Source != source {
			return false
		}
		commits = append(commits, *sharedCommit(c))
		return len(commits) != limit
	})
	slices.Reverse(commits)
	return commits
}

// FindCommits gives the steps that cover a commit whose hash begins with the prefix, for each hash the newest step,
// sorted by source and step; an empty source stands for all. More than one means that the prefix is ambiguous.
func (s *Store) FindCommits(source, prefix string) []Commit {
	if prefix == "" {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	type origin struct{ source, hash string }
	newest := map[origin]*Commit{}
	for h := range from(s.ledger.hashes, hashed{prefix, &Commit{}}) {
		if !strings.HasPrefix(h.hash, prefix) {
			break
		}
		if source == "" || h.commit.Source == source {
			newest[origin{h.commit.Source, h.hash}] = h.commit // a later step comes later
		}
	}
	seen := map[*Commit]bool{}
	var commits []Commit
	for _, c := range newest {
		if !seen[c] {
			seen[c] = true
			commits = append(commits, *sharedCommit(c))
		}
	}
	slices.SortFunc(commits, func(a, b Commit) int { return compareCommits(&a, &b) })
	return commits
}

// FindHashes gives the full hashes that begin with the prefix, of the commits that steps cover and of those before a first
// sync that have rows, sorted, each once; an empty source stands for all. More than one means that the prefix is
// ambiguous. It costs what begins so.
func (s *Store) FindHashes(source, prefix string) []string {
	if prefix == "" {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var hashes []string
	for h := range from(s.ledger.hashes, hashed{prefix, &Commit{}}) {
		if !strings.HasPrefix(h.hash, prefix) {
			break
		}
		if source == "" || h.commit.Source == source {
			hashes = append(hashes, h.hash)
		}
	}
	for r := range from(s.ledger.past, &Row{Commit: prefix}) {
		if !strings.HasPrefix(r.Commit, prefix) {
			break
		}
		if source == "" || r.Source == source {
			hashes = append(hashes, r.Commit)
		}
	}
	slices.Sort(hashes)
	return slices.Compact(hashes)
}

// Cursor finds the cursor of a source.
func (s *Store) Cursor(source string) (Cursor, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return found(s.ledger.cursors[source], copyCursor)
}

// Template finds a template by its hash. It may read it from disk: one that the disk does not give, or that is on disk
// alone when the store is closed, is not found.
func (s *Store) Template(hash string) (Template, bool) {
	return found(readCold(s, &s.ledger.templates, hash), copyTemplate)
}

// Config finds what a ConfigMap or Secret held, by its hash, as Template does.
func (s *Store) Config(hash string) (Config, bool) {
	return found(readCold(s, &s.ledger.configs, hash), copyConfig)
}

// Managed says whether Git manages an object, and from where.
func (s *Store) Managed(key Key) (Managed, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return found(s.ledger.managed[key], func(m *Managed) *Managed { return m })
}

// Inventory gives the objects that Git manages from a source, sorted by source and key; an empty source stands for
// all.
func (s *Store) Inventory(source string) []Managed {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []Managed
	if source == "" {
		list = make([]Managed, 0, s.ledger.inventory.Len())
	}
	for m := range from(s.ledger.inventory, &Managed{Source: source}) {
		if source != "" && m.Source != source {
			break
		}
		list = append(list, *m)
	}
	return list
}

// Hold finds the hold of a Deployment.
func (s *Store) Hold(namespace, name string) (Hold, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ledger.hold(namespace, name)
}

func (l *ledger) hold(namespace, name string) (Hold, bool) {
	h, _ := l.holds.Get(&Hold{Namespace: namespace, Name: name})
	return found(h, func(h *Hold) *Hold { return h })
}

// Holds gives all holds, sorted by namespace and name.
func (s *Store) Holds() []Hold {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []Hold
	s.ledger.holds.Ascend(func(h *Hold) bool {
		list = append(list, *h)
		return true
	})
	return list
}

// What is read of rows and commits shares its lists with the store and with everybody else: to append to one copies it, to
// change what is in one is not for anybody.

func sharedRow(r *Row) *Row {
	c := *r
	c.Images, c.Digests, c.Configs = slices.Clip(r.Images), slices.Clip(r.Digests), slices.Clip(r.Configs)
	return &c
}

func sharedRows(rows []*Row) []Row {
	if len(rows) == 0 {
		return nil
	}
	out := make([]Row, len(rows))
	for i, r := range rows {
		out[i] = *sharedRow(r)
	}
	return out
}

func sharedCommit(r *Commit) *Commit {
	c := *r
	c.Commits, c.Rows = slices.Clip(r.Commits), slices.Clip(r.Rows)
	return &c
}

func found[T any](value *T, copied func(*T) *T) (T, bool) {
	if value == nil {
		var zero T
		return zero, false
	}
	return *copied(value), true
}
