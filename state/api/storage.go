package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"github.com/belay-dev/belay/state"
)

// bookmarkEvery is how long a watch that asked for bookmarks may be quiet.
const bookmarkEvery = time.Minute

// resource is how the objects of one resource lie in the store.
type resource struct {
	kind   state.Kind
	global bool
	prefix string // of its paths, with slashes at both ends
	fresh  func() runtime.Object
	// encode gives the object as the store keeps it, decode puts a stored one into an object of the registry. Neither
	// shares memory between the two.
	encode func(runtime.Object) (state.Object, error)
	decode func(from state.Object, into runtime.Object) error
	tell   *teller // nil: the objects are those that the store keeps
}

// objects is the storage of one resource: every read, write and watch of its registry ends here.
type objects struct {
	storage.APIObjectVersioner
	resource
	store    *state.Store
	ask      func(ctx context.Context, key state.Key, before, after state.Object, dryRun bool) (bool, error)
	watches  *sync.WaitGroup // of the goroutines of all watches
	bookmark time.Duration
	shared   shared
	oldest   atomic.Int64 // tests set it: earlier versions count as no longer kept
}

var _ storage.Interface = (*objects)(nil)

func (s *objects) Versioner() storage.Versioner { return s.APIObjectVersioner }

// place is one path of the storage: an object, or with an empty name all of them, of a namespace or of all.
type place struct {
	path            string
	namespace, name string
	none            bool // there is nothing there and never will be
}

func (s *objects) place(key string, recursive bool) (place, error) {
	path, err := storage.PrepareKey(s.prefix, key, recursive)
	if err != nil {
		return place{}, err
	}
	p := place{path: path}
	rest := strings.TrimSuffix(strings.TrimPrefix(path, s.prefix), "/")
	parts := strings.Split(rest, "/")
	switch {
	case recursive && rest == "":
	case recursive && len(parts) == 1 && !s.global:
		p.namespace = parts[0]
	case !recursive && s.global && len(parts) == 1 && rest != "":
		p.name = rest
	case !recursive && !s.global && len(parts) == 2:
		p.namespace, p.name = parts[0], parts[1]
	default:
		p.none = true
	}
	if s.tell != nil {
		p = s.tell.at(p)
	}
	return p, nil
}

func (p place) key(kind state.Kind) state.Key {
	return state.Key{Kind: kind, Namespace: p.namespace, Name: p.name}
}

// settle makes an object lie at a place.
func (p place) settle(o state.Object) {
	o.SetNamespace(p.namespace)
	o.SetName(p.name)
	o.SetSelfLink("")
}

// path is the key under which the registry knows a stored object.
func (s *objects) path(o state.Object) string {
	if s.tell != nil {
		return s.tell.path(s.prefix, o.GetName())
	}
	if s.global {
		return s.prefix + o.GetName()
	}
	return s.prefix + o.GetNamespace() + "/" + o.GetName()
}

// version is an object's, as a number.
func version(o interface{ GetResourceVersion() string }) int64 {
	v, _ := strconv.ParseInt(o.GetResourceVersion(), 10, 64) // the store numbers its objects
	return v
}

func (s *objects) Create(ctx context.Context, key string, obj, out runtime.Object, _ uint64) error {
	p, err := s.place(key, false)
	if err != nil {
		return err
	}
	if v, err := s.ObjectResourceVersion(obj); err == nil && v != 0 {
		return storage.ErrResourceVersionSetOnCreate
	}
	o, err := s.encode(obj)
	if err != nil {
		return err
	}
	p.settle(o)
	asked, err := s.ask(ctx, p.key(s.kind), nil, o, false)
	if asked && err == nil {
		return s.Get(ctx, key, storage.GetOptions{}, out)
	}
	if err != nil {
		return err
	}
	stored, err := s.commit(ctx, state.Place(o))
	if apierrors.IsAlreadyExists(err) {
		return storage.NewKeyExistsError(p.path, 0)
	}
	if err != nil || out == nil {
		return err
	}
	return s.decode(stored, out)
}

// commit makes one write durable. The answer is the object as stored, or the last state of the one removed.
func (s *objects) commit(ctx context.Context, w state.Write) (state.Object, error) {
	r, err := s.store.Commit(w)
	if err == nil {
		err = s.store.WaitDurable(ctx, r.Version)
	}
	if errors.Is(err, state.ErrDisk) || errors.Is(err, state.ErrClosed) {
		return nil, apierrors.NewServiceUnavailable(err.Error())
	}
	if err != nil {
		return nil, err
	}
	if r.Objects[0] != nil {
		return r.Objects[0], nil
	}
	return r.Removed[0], nil
}

// durable makes an answer wait until what it tells is on disk.
func (s *objects) durable(ctx context.Context, version int64) error {
	err := s.store.WaitDurable(ctx, version)
	if errors.Is(err, state.ErrDisk) {
		return apierrors.NewServiceUnavailable(err.Error())
	}
	return err
}

func (s *objects) Get(ctx context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	p, err := s.place(key, false)
	if err != nil {
		return err
	}
	if err := s.atLeast(opts.ResourceVersion, s.store.Version()); err != nil {
		return err
	}
	o, ok := s.store.Get(p.key(s.kind))
	ok = ok && !p.none
	switch {
	case !ok && opts.IgnoreNotFound:
		return runtime.SetZeroValue(out)
	case !ok:
		return storage.NewKeyNotFoundError(p.path, 0)
	}
	if err := s.durable(ctx, version(o)); err != nil {
		return err
	}
	return s.decode(o, out)
}

// atLeast refuses to answer for a version that is yet to come.
func (s *objects) atLeast(asked string, have int64) error {
	v, err := s.ParseResourceVersion(asked)
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: %v", err))
	}
	if v > uint64(have) {
		return storage.NewTooLargeResourceVersionError(v, uint64(have), 0)
	}
	return nil
}

// attempt is an object to be changed, in the version that the change is computed from.
type attempt struct {
	object  runtime.Object // the registry's
	stored  state.Object   // nil: there is none
	current bool           // it has been read from the store, and not been handed over by the registry
}

func (a attempt) version() int64 {
	if a.stored == nil {
		return 0
	}
	return version(a.stored)
}

// begin takes what the registry read a moment ago, or else reads.
func (s *objects) begin(p place, cached runtime.Object, orNone bool) (attempt, error) {
	if cached == nil {
		return s.read(p, orNone)
	}
	o, err := s.encode(cached)
	if err != nil || o.GetResourceVersion() == "" {
		return s.read(p, orNone)
	}
	return attempt{object: cached.DeepCopyObject(), stored: o}, nil
}

func (s *objects) read(p place, orNone bool) (attempt, error) {
	a := attempt{object: s.fresh(), current: true}
	o, ok := s.store.Get(p.key(s.kind))
	switch {
	case ok:
		a.stored = o
		return a, s.decode(o, a.object)
	case orNone:
		return a, nil
	}
	return a, storage.NewKeyNotFoundError(p.path, 0)
}

// refresh reads an attempt again that failed because it may have been outdated. It gives back the failure when it
// was not.
func (s *objects) refresh(p place, a attempt, failure error, orNone bool) (attempt, error) {
	if a.current {
		return a, failure
	}
	again, err := s.read(p, orNone)
	if err != nil {
		return a, err
	}
	if again.version() == a.version() {
		return a, failure
	}
	return again, nil
}

func (s *objects) GuaranteedUpdate(ctx context.Context, key string, out runtime.Object, orNone bool,
	pre *storage.Preconditions, try storage.UpdateFunc, cached runtime.Object) error {
	p, err := s.place(key, false)
	if err != nil {
		return err
	}
	if err := settable(out); err != nil {
		return err
	}
	a, err := s.begin(p, cached, orNone)
	for err == nil {
		if err = ctx.Err(); err != nil {
			return storage.NewTimeoutError(p.path, err.Error())
		}
		var o state.Object
		if o, err = s.change(p, a, pre, try); err != nil {
			a, err = s.refresh(p, a, err, orNone)
			continue
		}
		same, encodeErr := s.same(a, o)
		switch {
		case encodeErr != nil:
			return encodeErr
		case same && !a.current:
			a, err = s.read(p, orNone)
			continue
		case same:
			return s.decode(a.stored, out)
		}
		asked, refused := s.ask(ctx, p.key(s.kind), a.stored, o, false)
		switch {
		case refused != nil:
			return refused
		case asked:
			return s.Get(ctx, key, storage.GetOptions{}, out)
		}
		stored, commitErr := s.commit(ctx, state.Place(o))
		if commitErr == nil {
			return s.decode(stored, out)
		}
		if !s.outdated(p, a) {
			return commitErr
		}
		a, err = s.read(p, orNone)
	}
	return err
}

// change computes what to store, in the version that it replaces.
func (s *objects) change(p place, a attempt, pre *storage.Preconditions, try storage.UpdateFunc) (state.Object, error) {
	if err := pre.Check(p.path, a.object); err != nil {
		return nil, err
	}
	changed, _, err := try(a.object, storage.ResponseMeta{ResourceVersion: uint64(a.version())})
	if err != nil {
		return nil, err
	}
	o, err := s.encode(changed)
	if err != nil {
		return nil, err
	}
	p.settle(o)
	o.SetResourceVersion("")
	if a.stored != nil {
		o.SetResourceVersion(a.stored.GetResourceVersion())
	}
	return o, nil
}

// same says whether a change changes nothing. Both sides are compared as the registry writes them, so that defaults
// that a stored object lacks are no change.
func (s *objects) same(a attempt, o state.Object) (bool, error) {
	if a.stored == nil {
		return false, nil
	}
	before := s.fresh()
	if err := s.decode(a.stored, before); err != nil {
		return false, err
	}
	b, err := s.encode(before)
	if err != nil {
		return false, err
	}
	return equal(b, o)
}

func equal(a, b state.Object) (bool, error) {
	x, err := wire(a)
	if err != nil {
		return false, err
	}
	y, err := wire(b)
	return bytes.Equal(x, y), err
}

func wire(o state.Object) ([]byte, error) {
	m, ok := o.(interface{ Marshal() ([]byte, error) })
	if !ok {
		return nil, fmt.Errorf("%T has no written form", o)
	}
	return m.Marshal()
}

// outdated says whether the object is no longer in the version of the attempt.
func (s *objects) outdated(p place, a attempt) bool {
	o, ok := s.store.Get(p.key(s.kind))
	return ok != (a.stored != nil) || ok && version(o) != a.version()
}

func (s *objects) Delete(ctx context.Context, key string, out runtime.Object, pre *storage.Preconditions,
	validate storage.ValidateObjectFunc, cached runtime.Object, _ storage.DeleteOptions) error {
	p, err := s.place(key, false)
	if err != nil {
		return err
	}
	if err := settable(out); err != nil {
		return err
	}
	a, err := s.begin(p, cached, false)
	for err == nil {
		if err = ctx.Err(); err != nil {
			return storage.NewTimeoutError(p.path, err.Error())
		}
		if err = pre.Check(p.path, a.object); err == nil {
			err = validate(ctx, a.object)
		}
		if err != nil {
			a, err = s.refresh(p, a, err, false)
			continue
		}
		asked, refused := s.ask(ctx, p.key(s.kind), a.stored, nil, false)
		switch {
		case refused != nil:
			return refused
		case asked:
			return s.decode(a.stored, out)
		}
		last, removeErr := s.commit(ctx, state.Remove(p.key(s.kind), a.stored.GetResourceVersion()))
		if removeErr == nil {
			return s.decode(last, out)
		}
		if !s.outdated(p, a) {
			return removeErr
		}
		a, err = s.read(p, false)
	}
	return err
}

// settable says why out cannot be set; nil: it can.
func settable(out runtime.Object) error {
	if v := reflect.ValueOf(out); v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("unable to convert output object to pointer: %T", out)
	}
	return nil
}

// Stats counts. Their sizes are not estimated.
func (s *objects) Stats(context.Context) (storage.Stats, error) {
	return storage.Stats{ObjectCount: int64(len(s.store.List(s.kind, "")))}, nil
}

func (s *objects) ReadinessCheck() error                               { return s.store.DiskError() }
func (s *objects) RequestWatchProgress(context.Context) error          { return nil }
func (s *objects) EnableResourceSizeEstimation(storage.KeysFunc) error { return nil }
func (s *objects) CompactRevision() int64                              { return s.oldest.Load() }

func (s *objects) GetCurrentResourceVersion(context.Context) (uint64, error) {
	return uint64(s.store.Version()), nil
}
