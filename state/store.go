package state

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Options of a store.
type Options struct {
	// Now is the clock, called outside of every lock. It must be given.
	Now func() time.Time
	// Random is where uids and the suffixes of generated names come from; nil stands for crypto/rand.
	Random io.Reader
	// HistorySize is how many changes are kept for watches; 0 stands for 8192.
	HistorySize int
	// ServiceRange is where ClusterIPs come from; the zero value stands for 10.96.0.0/16.
	ServiceRange netip.Prefix
	// RetryDisk is how long to wait before writing again what the disk refused; 0 stands for one second.
	RetryDisk time.Duration
	// Reserve is how many bytes of the disk are kept for transactions with UseReserve; 0: none.
	Reserve int64
	// Disk is for tests: it is called at every point, by whoever gets there, and may fail, wait or end the process. nil:
	// nothing is.
	Disk func(DiskPoint) error
}

const (
	defaultHistorySize = 8192
	defaultRetryDisk   = time.Second
)

var (
	defaultServiceRange = netip.MustParsePrefix("10.96.0.0/16")
	defaultNamespace    = Key{Kind: KindNamespace, Name: metav1.NamespaceDefault}
)

func (o Options) withDefaults() (Options, error) {
	if o.Now == nil {
		return o, errors.New("state options: Now is missing")
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.HistorySize <= 0 {
		o.HistorySize = defaultHistorySize
	}
	if o.RetryDisk <= 0 {
		o.RetryDisk = defaultRetryDisk
	}
	if !o.ServiceRange.IsValid() {
		o.ServiceRange = defaultServiceRange
	}
	return o, nil
}

// Store keeps objects and the ledger. Its methods may be called from any goroutine.
type Store struct {
	options   Options
	addresses addressRange
	randomMu  sync.Mutex // guards options.Random

	mu      sync.RWMutex // guards what follows; nobody waits for anything while holding it
	version int64
	index   index
	ledger  ledger
	history history
	touched touched
	closed  bool

	waiters  waiters
	disk     *committer // nil for a store in memory
	file     *disk      // what the committer writes to; nil for a store in memory
	instance string
}

// Open gives the store whose file lies in the directory; both are made when they are missing. What was there before is
// read into memory. Versions begin at the end of the lease of the process before: all older ones are expired. The
// error is an *Error: it wraps ErrLocked, ErrForeign, ErrNewer or ErrDamaged where one of these is the reason.
func Open(dir string, options Options) (*Store, error) {
	return openThrough(dir, options, func(d *disk) writer { return d })
}

// openThrough lets a test put something between the store and its disk.
func openThrough(dir string, options Options, through func(*disk) writer) (*Store, error) {
	s, err := newStore(options)
	if err != nil {
		return nil, err
	}
	d, err := openDisk(dir, options.Disk)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(d.sweep(), d.migrate()); err != nil {
		return nil, errors.Join(d.openError(err), d.close())
	}
	start, err := d.load(s)
	if err == nil {
		s.instance, err = d.claim(start+leaseBlock, s.instance)
	}
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	if err := d.prepareReserve(s.options.Reserve); err != nil {
		return nil, errors.Join(err, d.close())
	}
	s.startAt(start)
	s.file = d
	s.disk = startCommitter(through(d), start, s.options.RetryDisk)
	if err := s.begin(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) startAt(version int64) {
	s.version = version
	s.history = newHistory(s.options.HistorySize, version)
}

// OpenMemory gives a store that forgets everything when it is closed. Everything is durable at once.
func OpenMemory(options Options) (*Store, error) {
	s, err := newStore(options)
	if err != nil {
		return nil, err
	}
	return s, s.begin()
}

func newStore(options Options) (*Store, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	addresses, err := newAddressRange(options.ServiceRange)
	if err != nil {
		return nil, err
	}
	id, err := newInstance(options.Random)
	if err != nil {
		return nil, err
	}
	return &Store{
		options: options, instance: id,
		addresses: addresses,
		index:     newIndex(),
		ledger:    newLedger(),
		history:   newHistory(options.HistorySize, 0),
		touched:   touched{size: options.HistorySize},
	}, nil
}

// begin makes the namespace that is always there.
func (s *Store) begin() error {
	if _, ok := s.Get(defaultNamespace); ok {
		return nil
	}
	_, err := s.Commit(Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: defaultNamespace.Name}}))
	return err
}

// Close makes everything durable and ends the store: who waits gets ErrClosed, and so does every later Commit. Reads
// go on working. The error says what could not be written.
func (s *Store) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.waiters.wake(everyChange)
	s.mu.Unlock()
	if closed || s.disk == nil {
		return nil
	}
	return s.disk.stop()
}

// lockForWrite takes the lock when so many versions may be given out and the store takes writes. It waits, without
// the lock, while the disk is a whole lease behind.
func (s *Store) lockForWrite(versions int64, spare bool) error {
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return ErrClosed
		}
		if s.disk == nil {
			return nil
		}
		progress, err := s.disk.reserve(s.version+versions, spare)
		if progress == nil && err == nil {
			return nil
		}
		s.mu.Unlock()
		if err != nil {
			return err
		}
		<-progress
	}
}

// publish makes a transaction that succeeded the state of the store.
func (s *Store) publish(t *transaction) {
	if len(t.events) == 0 && len(t.ledger) == 0 {
		return
	}
	if len(t.events) == 0 {
		t.version++
	}
	s.version = t.version
	changed := kindSet(0)
	for _, e := range t.events {
		s.history.add(e)
		changed |= kindByName[e.key.Kind].bit
	}
	for _, c := range t.ledger {
		if r, ok := c.value.(*Row); ok {
			s.touched.add(s.version, r)
		}
	}
	if s.disk != nil {
		changes := t.diskChanges()
		s.ledger.chill(changes, s.version, s.disk.add(changes, s.version, t.spare))
	}
	s.waiters.wake(changed)
}

// Instance names this state among all others: it is drawn for a new file, and anew for a restored one.
func (s *Store) Instance() string { return s.instance }

// Version is the version of the last transaction that changed anything.
func (s *Store) Version() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.version
}

// Get finds an object.
func (s *Store) Get(key Key) (Object, bool) { return Find(s, key) }

// List gives the objects of a kind, sorted by namespace and name; an empty namespace stands for all.
func (s *Store) List(kind Kind, namespace string) []Object {
	list, _ := s.ListAt(kind, namespace)
	return list
}

// ListAt is List together with the version of the store at that moment: a Watch after it misses nothing and repeats
// nothing.
func (s *Store) ListAt(kind Kind, namespace string) ([]Object, int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []Object
	for o := range s.index.list(kind, namespace) {
		list = append(list, o)
	}
	return list, s.version
}

// ListVersion is what List gave when the store was at an earlier version. It is ErrExpired when changes of the kind
// after that version are no longer kept.
func (s *Store) ListVersion(kind Kind, namespace string, version int64) ([]Object, error) {
	w, err := s.Watch(version, kind)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	h := &s.history
	if h.lost[kind].version > version {
		return nil, ErrExpired
	}
	was := map[Key]Object{} // as it was before the first change after the version
	for n := max(w.next, h.first()); n < h.next; n++ {
		e := h.at(n)
		if _, known := was[e.key]; e.key.Kind == kind && !known && (namespace == "" || namespace == e.key.Namespace) {
			was[e.key] = e.Old
		}
	}
	var list []Object
	for o := range s.index.list(kind, namespace) {
		if _, changed := was[KeyOf(o)]; !changed {
			list = append(list, o)
		}
	}
	for _, o := range was {
		if o != nil {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b Object) int { return KeyOf(a).Compare(KeyOf(b)) })
	return list, nil
}

// Owned gives the objects that have an owner reference to the uid, sorted by kind, namespace and name.
func (s *Store) Owned(owner types.UID) []Object {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []Object
	for o := range s.index.ownedBy(owner, "") {
		list = append(list, o)
	}
	return list
}

// Get finds an object of the kind that T is.
func Get[T Object](r Reading, namespace, name string) (T, bool) {
	var t T
	o, ok := Find(r, Key{Kind: kindFor[T](), Namespace: namespace, Name: name})
	if ok {
		t = o.(T)
	}
	return t, ok
}

// List gives the objects of the kind that T is, sorted by namespace and name; an empty namespace stands for all.
func List[T Object](r Reading, namespace string) []T {
	x, _, done := r.reading()
	defer done()
	var list []T
	for o := range x.list(kindFor[T](), namespace) {
		list = append(list, o.(T))
	}
	return list
}

// OwnedBy gives the objects of the kind that T is and that have an owner reference to the uid, sorted by namespace
// and name.
func OwnedBy[T Object](r Reading, owner types.UID) []T {
	x, _, done := r.reading()
	defer done()
	var list []T
	for o := range x.ownedBy(owner, kindFor[T]()) {
		list = append(list, o.(T))
	}
	return list
}

// kindFor is a kind that no object has when T is not kept.
func kindFor[T Object]() Kind {
	var t T
	if i := infoOf(t); i != nil {
		return i.kind
	}
	return "(none)"
}

// WaitDurable returns once everything up to the version is on disk. While the disk refuses it fails with the reason,
// an *Error that wraps ErrDisk, and ErrClosed when the store was closed before.
func (s *Store) WaitDurable(ctx context.Context, version int64) error {
	if s.disk == nil {
		return ctx.Err()
	}
	return s.disk.wait(ctx, version)
}

// Hasten has everything up to the version written now, for somebody who is about to wait for it.
func (s *Store) Hasten(version int64) {
	if s.disk != nil {
		s.disk.hasten(version)
	}
}

// DiskError is why the disk refuses writes at the moment, an *Error that wraps ErrDisk, or nil.
func (s *Store) DiskError() error {
	if s.disk == nil {
		return nil
	}
	return s.disk.refusal()
}
