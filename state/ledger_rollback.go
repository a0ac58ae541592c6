package state

import (
	"cmp"
	"errors"
	"time"

	appsv1 "k8s.io/api/apps/v1"
)

// Mark is what a rollback left as bad of one Deployment's pod template. Which templates it taints is the reconciler's to
// say.
type Mark struct {
	ID        string    `json:"id"` // the rollback's
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	By        string    `json:"by,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Door      string    `json:"door,omitempty"`
	Since     time.Time `json:"since,omitzero"`
	From      string    `json:"from,omitempty"`   // ID of the row that was left
	To        string    `json:"to,omitempty"`     // ID of the row that was gone back to
	Commit    string    `json:"commit,omitempty"` // of the rollback in Git, once it landed

	Images    []BadImage `json:"images,omitempty"`
	Leaves    []BadLeaf  `json:"leaves,omitempty"`    // bad together only
	Templates []string   `json:"templates,omitempty"` // digests, restartedAt left out
}

// BadImage is one image of one container, and the commit that brought it.
type BadImage struct {
	Container string `json:"container"`
	Image     string `json:"image"`
	Commit    string `json:"commit,omitempty"`
}

// BadLeaf is one field of a pod template, its value as JSON, and the commit that brought it. Absent says that the field
// was taken away.
type BadLeaf struct {
	Path   string `json:"path"`
	Value  string `json:"value,omitempty"`
	Absent bool   `json:"absent,omitempty"`
	Commit string `json:"commit,omitempty"`
}

// Override is one field of a Deployment that a person set past Git.
type Override struct {
	ID        string    `json:"id"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Field     string    `json:"field"`
	Value     string    `json:"value"`
	Template  string    `json:"template,omitempty"` // digest of the pod template that it is for; empty: for any
	By        string    `json:"by,omitempty"`
	Since     time.Time `json:"since,omitzero"`
}

// Departed is the whole of a Deployment as it was when it was deleted because its manifest was gone.
type Departed struct {
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	At        time.Time         `json:"at,omitzero"`
	Managed   Managed           `json:"managed"`
	Object    appsv1.Deployment `json:"object"`
}

func compareMarks(a, b *Mark) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
}

func compareOverrides(a, b *Override) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Field, b.Field))
}

func compareDeparted(a, b *Departed) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// PutMark sets what a rollback left as bad. There is one mark for each rollback of a Deployment.
func PutMark(m Mark) Write {
	given := copyMark(&m)
	return ledgerWrite(given, func(l *ledger) (func(), diskChange, error) {
		if given.ID == "" || given.Namespace == "" || given.Name == "" {
			return nil, diskChange{}, errors.New("ledger mark: id, namespace and name are needed")
		}
		return l.putMark(given, given)
	})
}

// RemoveMark takes a mark of a Deployment away, if it is there.
func RemoveMark(namespace, name, id string) Write {
	return ledgerWrite(nil, func(l *ledger) (func(), diskChange, error) {
		return l.putMark(&Mark{Namespace: namespace, Name: name, ID: id}, nil)
	})
}

func (l *ledger) putMark(pivot, after *Mark) (func(), diskChange, error) {
	before, _ := l.marks.Get(pivot)
	set := func(before, after *Mark) { replace(l.marks, before, after) }
	return put(set, before, after, bucketMarks, nameKey(pivot.Namespace, pivot.Name, pivot.ID))
}

// Marks gives what rollbacks of a Deployment left as bad, sorted by ID.
func (s *Store) Marks(namespace, name string) []Mark {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ledger.marksOf(namespace, name)
}

func (l *ledger) marksOf(namespace, name string) []Mark {
	var list []Mark
	for m := range from(l.marks, &Mark{Namespace: namespace, Name: name}) {
		if m.Namespace != namespace || m.Name != name {
			break
		}
		list = append(list, *copyMark(m))
	}
	return list
}

// AllMarks gives what all rollbacks left as bad, sorted by namespace, name and ID.
func (s *Store) AllMarks() []Mark {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []Mark
	s.ledger.marks.Ascend(func(m *Mark) bool {
		list = append(list, *copyMark(m))
		return true
	})
	return list
}

// PutOverride sets one field of a Deployment past Git; there is one override for each field.
func PutOverride(o Override) Write {
	o.Since = plain(o.Since)
	return ledgerWrite(o, func(l *ledger) (func(), diskChange, error) {
		if o.Namespace == "" || o.Name == "" || o.Field == "" {
			return nil, diskChange{}, errors.New("ledger override: namespace, name and field are needed")
		}
		return l.putOverride(&o, &o)
	})
}

// RemoveOverride takes the override of a field away, if there is one.
func RemoveOverride(namespace, name, field string) Write {
	return ledgerWrite(nil, func(l *ledger) (func(), diskChange, error) {
		return l.putOverride(&Override{Namespace: namespace, Name: name, Field: field}, nil)
	})
}

func (l *ledger) putOverride(pivot, after *Override) (func(), diskChange, error) {
	before, _ := l.overrides.Get(pivot)
	set := func(before, after *Override) { replace(l.overrides, before, after) }
	return put(set, before, after, bucketOverrides, nameKey(pivot.Namespace, pivot.Name, pivot.Field))
}

// Overrides gives the fields of a Deployment that were set past Git, sorted by field.
func (s *Store) Overrides(namespace, name string) []Override {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ledger.overridesOf(namespace, name)
}

func (l *ledger) overridesOf(namespace, name string) []Override {
	var list []Override
	for o := range from(l.overrides, &Override{Namespace: namespace, Name: name}) {
		if o.Namespace != namespace || o.Name != name {
			break
		}
		list = append(list, *o)
	}
	return list
}

// PutDeparted keeps a Deployment that is being deleted, in the place of one of that name that was deleted before.
func PutDeparted(d Departed) Write {
	given := copyDeparted(&d)
	return ledgerWrite(given, func(l *ledger) (func(), diskChange, error) {
		if given.Namespace == "" || given.Name == "" {
			return nil, diskChange{}, errors.New("ledger departed: namespace and name are needed")
		}
		before, _ := l.departed.Get(given)
		set := func(before, after *Departed) { replace(l.departed, before, after) }
		return put(set, before, given, bucketDeparted, nameKey(given.Namespace, given.Name))
	})
}

// Departed finds the Deployment of a name as it was when it was deleted last.
func (s *Store) Departed(namespace, name string) (Departed, bool) {
	s.mu.RLock()
	d, _ := s.ledger.departed.Get(&Departed{Namespace: namespace, Name: name})
	s.mu.RUnlock()
	return found(d, copyDeparted)
}

func copyMark(m *Mark) *Mark {
	c := *m
	c.Since = plain(m.Since)
	c.Images = append([]BadImage(nil), m.Images...)
	c.Leaves = append([]BadLeaf(nil), m.Leaves...)
	c.Templates = clone(m.Templates)
	return &c
}

func copyDeparted(d *Departed) *Departed {
	c := *d
	c.At = plain(d.At)
	d.Object.DeepCopyInto(&c.Object)
	return &c
}
