package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"
)

// fetchTarget is where a fetch puts what it brings.
type fetchTarget struct {
	dir    string
	limits Limits
	has    func(plumbing.Hash) bool
	haves  []plumbing.Hash
}

// writePack runs write with a writer for one pack. The pack is checked object by object and indexed before it gets its
// name; nothing of it stays when write or the check fails.
func (t *fetchTarget) writePack(ctx context.Context, write func(io.Writer) error) (err error) {
	w, err := dotgit.New(osfs.New(t.dir)).NewObjectPack()
	if err != nil {
		return err
	}
	limited := &limitedWriter{ctx: ctx, w: w, left: t.limits.PackBytes, limit: t.limits.PackBytes}
	err = write(limited)
	if closed := w.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return errors.Join(err, removeLitter(t.dir))
	}
	return nil
}

// limitedWriter stops at the limit of a pack and when its context ends.
type limitedWriter struct {
	ctx         context.Context //nolint:containedctx // lives for one call
	w           io.Writer
	left, limit int64
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	if err := l.ctx.Err(); err != nil {
		return 0, err
	}
	if l.left -= int64(len(p)); l.left < 0 {
		return 0, fmt.Errorf("pack: %w: the limit is %d bytes", errTooLarge, l.limit)
	}
	return l.w.Write(p)
}

// writeObjects writes the objects listed, read from another repository, as one pack.
func (t *fetchTarget) writeObjects(ctx context.Context, from *reader, list []found) error {
	if len(list) == 0 {
		return nil
	}
	kinds := make(map[plumbing.Hash]plumbing.ObjectType, len(list))
	ids := make([]plumbing.Hash, len(list))
	for i, f := range list {
		kinds[f.id], ids[i] = f.kind, f.id
	}
	return t.writePack(ctx, func(w io.Writer) error {
		_, err := packfile.NewEncoder(w, lazyStorer{from: from, kinds: kinds}, false).Encode(ids, 0)
		return err
	})
}

// lazyStorer gives the encoder objects that are read when they are written and dropped after.
type lazyStorer struct {
	storer.EncodedObjectStorer
	from  *reader
	kinds map[plumbing.Hash]plumbing.ObjectType
}

func (s lazyStorer) EncodedObject(_ plumbing.ObjectType, h plumbing.Hash) (plumbing.EncodedObject, error) {
	return &lazyObject{from: s.from, id: h, kind: s.kinds[h]}, nil
}

type lazyObject struct {
	plumbing.EncodedObject
	from *reader
	id   plumbing.Hash
	kind plumbing.ObjectType
	err  error
}

func (o *lazyObject) Hash() plumbing.Hash       { return o.id }
func (o *lazyObject) Type() plumbing.ObjectType { return o.kind }

func (o *lazyObject) load() {
	if o.EncodedObject == nil && o.err == nil {
		o.EncodedObject, o.err = o.from.object(o.kind, o.id)
	}
}

// Size is asked for right before Reader; an object that cannot be read makes Reader fail.
func (o *lazyObject) Size() int64 {
	if o.load(); o.err != nil {
		return 0
	}
	return o.EncodedObject.Size()
}

func (o *lazyObject) Reader() (io.ReadCloser, error) {
	if o.load(); o.err != nil {
		return nil, o.err
	}
	in, err := o.EncodedObject.Reader()
	o.EncodedObject = nil
	return in, err
}

// removeLitter deletes what an interrupted fetch leaves.
func removeLitter(dir string) error {
	var first error
	for _, sub := range []string{"objects/pack", "refs/heads", "refs/belay/keep", "."} {
		entries, err := os.ReadDir(filepath.Join(dir, filepath.FromSlash(sub)))
		if err != nil {
			continue // not there, or Open says why
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "tmp_") && !e.IsDir() {
				if err := os.Remove(filepath.Join(dir, filepath.FromSlash(sub), e.Name())); err != nil && first == nil {
					first = err
				}
			}
		}
	}
	return first
}
