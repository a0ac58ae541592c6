package api

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"github.com/belay-dev/belay/state"
)

// The words of Kubernetes for versions that are no longer kept.
const (
	expired              = "The resourceVersion for the provided list is too old."
	expiredWatch         = "The resourceVersion for the provided watch is too old."
	continueExpired      = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter."
	inconsistentContinue = "The provided continue parameter is too old to display a consistent list result. " +
		"You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. " +
		"Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted " +
		"between the time the first chunk was returned and now may show up in the list."
)

func (s *objects) GetList(ctx context.Context, key string, opts storage.ListOptions, out runtime.Object) error {
	p, err := s.place(key, opts.Recursive)
	if err != nil {
		return err
	}
	at, from, err := storage.ValidateListOptions(p.path, s.APIObjectVersioner, opts)
	if err != nil {
		return err
	}
	stored, at, err := s.listAt(p, at)
	if errors.Is(err, state.ErrExpired) {
		return expiredList(from, p.path, opts)
	}
	if err != nil {
		return err
	}
	if err := s.atLeast(opts.ResourceVersion, s.store.Version()); err != nil {
		return err
	}
	if err := s.durable(ctx, at); err != nil {
		return err
	}
	if from != "" {
		stored = stored[s.search(stored, from):]
	}
	last, more, err := s.fill(ctx, stored, opts, out)
	if err != nil {
		return err
	}
	token, remaining, err := storage.PrepareContinueToken(last, p.path, at, int64(len(stored)), more, opts)
	if err != nil {
		return err
	}
	return s.UpdateList(out, uint64(at), token, remaining)
}

// listAt gives what lies at a place, at a version or with 0 now, and which version that is.
func (s *objects) listAt(p place, at int64) ([]state.Object, int64, error) {
	if now := s.store.Version(); at > now {
		return nil, 0, storage.NewTooLargeResourceVersionError(uint64(at), uint64(now), 0)
	}
	if at != 0 {
		if at < s.oldest.Load() {
			return nil, 0, state.ErrExpired
		}
		stored, err := s.store.ListVersion(s.kind, p.namespace, at)
		return only(p, stored), at, err
	}
	if p.name == "" && !p.none {
		stored, now := s.store.ListAt(s.kind, p.namespace)
		return stored, now, nil
	}
	now := s.store.Version()
	o, ok := s.store.Get(p.key(s.kind))
	if !ok || p.none {
		return nil, now, nil
	}
	return []state.Object{o}, max(now, version(o)), nil
}

// only leaves what lies at a place.
func only(p place, stored []state.Object) []state.Object {
	switch {
	case p.none:
		return nil
	case p.name == "":
		return stored
	}
	return slices.DeleteFunc(stored, func(o state.Object) bool { return o.GetName() != p.name })
}

// search finds where a list goes on that ended before a path.
func (s *objects) search(stored []state.Object, from string) int {
	parts := strings.SplitN(strings.TrimPrefix(from, s.prefix), "/", 2)
	after := state.Key{Kind: s.kind, Name: parts[len(parts)-1]}
	if !s.global {
		after.Namespace, after.Name = parts[0], ""
		if len(parts) == 2 {
			after.Name = parts[1]
		}
	}
	if s.tell != nil {
		after = s.tell.after(parts[0])
	}
	n, _ := slices.BinarySearchFunc(stored, after, func(o state.Object, k state.Key) int {
		return state.KeyOf(o).Compare(k)
	})
	return n
}

// fill puts into a list what the options select, up to their limit: the path of the last object looked at, and
// whether there are more.
func (s *objects) fill(ctx context.Context, stored []state.Object, opts storage.ListOptions, out runtime.Object) (last string, more bool, err error) {
	items, err := meta.GetItemsPtr(out)
	if err != nil {
		return "", false, err
	}
	list, err := conversionSlice(items)
	if err != nil {
		return "", false, err
	}
	size := len(stored)
	if opts.Predicate.Limit > 0 {
		size = min(size, int(opts.Predicate.Limit))
	}
	if !opts.Predicate.Empty() {
		size = min(size, 64)
	}
	list.Set(reflect.MakeSlice(list.Type(), 0, size))
	for _, o := range stored {
		if opts.Predicate.Limit > 0 && int64(list.Len()) >= opts.Predicate.Limit {
			return last, true, nil
		}
		if err := ctx.Err(); err != nil {
			return "", false, storage.NewTimeoutError(s.path(o), "request did not complete within requested timeout")
		}
		last = s.path(o)
		into := s.fresh()
		if err := s.decode(o, into); err != nil {
			return "", false, err
		}
		if matched, err := opts.Predicate.Matches(into); err == nil && matched {
			list.Set(reflect.Append(list, reflect.ValueOf(into).Elem()))
		}
	}
	return last, false, nil
}

func conversionSlice(items any) (reflect.Value, error) {
	v := reflect.ValueOf(items)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Slice {
		return v, errors.New("the list has no items")
	}
	return v.Elem(), nil
}

// expiredList is the error about a version that is no longer kept. Who continues a list may go on from now.
func expiredList(from, prefix string, opts storage.ListOptions) error {
	if opts.Predicate.Continue == "" {
		return apierrors.NewResourceExpired(expired)
	}
	token, err := storage.EncodeContinue(from, prefix, -1)
	if err != nil {
		return apierrors.NewResourceExpired(continueExpired)
	}
	e := apierrors.NewResourceExpired(inconsistentContinue)
	e.ErrStatus.ListMeta.Continue = token
	return e
}
