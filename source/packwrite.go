package source

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
)

// fetchTarget is where a fetch puts what it brings.
type fetchTarget struct {
	dir    string
	limits Limits
	points points
	has    func(plumbing.Hash) bool
	// haves lists commits that are there, for a server to choose from; nil when there are none.
	haves func() []plumbing.Hash
	// whole is set by a fetch that knows that nothing is missing in what it brought.
	whole bool
}

// writePack runs write with a writer for one pack. The pack is checked object by object and indexed before it gets its
// name, and must have all objects listed; nothing of it stays when write or a check fails.
func (t *fetchTarget) writePack(ctx context.Context, list []found, write func(io.Writer) error) error {
	if err := t.keepPack(ctx, list, write); err != nil {
		return errors.Join(err, t.points.removeLitter(t.dir))
	}
	return nil
}

func (t *fetchTarget) keepPack(ctx context.Context, list []found, write func(io.Writer) error) error {
	dir := filepath.Join(t.dir, "objects", "pack")
	file, err := os.CreateTemp(dir, "tmp_pack_")
	if err != nil {
		return err
	}
	defer file.Close()
	limited := &limitedWriter{ctx: ctx, w: file, left: t.limits.PackBytes, limit: t.limits.PackBytes}
	buffered := bufio.NewWriterSize(limited, 64<<10)
	if err := errors.Join(write(buffered), buffered.Flush()); err != nil {
		return err
	}
	index, err := indexPack(ctx, file, t.limits)
	if err != nil {
		return err
	}
	if index == nil { // nothing was written
		return t.points.removeLitter(t.dir)
	}
	for _, f := range list {
		if ok, err := index.Contains(f.id); err != nil || !ok {
			return errors.Join(fmt.Errorf("%w: %s %s", errDamaged, f.kind, f.id), err)
		}
	}
	name := filepath.Join(dir, "pack-"+plumbing.Hash(index.PackfileChecksum).String())
	if err := t.writeIndex(dir, name, index); err != nil {
		return err
	}
	// The index has its name first: without its pack it harms nothing.
	if err := file.Chmod(0o444); err != nil {
		return err
	}
	return t.points.do(PointPack, func() error { return os.Rename(file.Name(), name+".pack") })
}

func (t *fetchTarget) writeIndex(dir, name string, index *idxfile.MemoryIndex) error {
	file, err := os.CreateTemp(dir, "tmp_idx_")
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(file, 64<<10)
	_, err = idxfile.NewEncoder(out).Encode(index)
	if err = errors.Join(err, out.Flush(), file.Chmod(0o444), file.Close()); err != nil {
		return err
	}
	return t.points.do(PointIndex, func() error { return os.Rename(file.Name(), name+".idx") })
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
		return 0, tooLarge("pack", l.limit, "bytes")
	}
	return l.w.Write(p)
}

// writeObjects writes the objects listed, read from another repository, as one pack.
func (t *fetchTarget) writeObjects(ctx context.Context, from *reader, list []found) error {
	if len(list) == 0 {
		return nil
	}
	return t.writePack(ctx, list, func(w io.Writer) error { return copyObjects(ctx, from, list, w) })
}

// removeLitter deletes what an interrupted fetch leaves.
func (s points) removeLitter(dir string) error {
	var litter []string
	for _, sub := range []string{"objects/pack", "refs", "."} {
		top := filepath.Join(dir, filepath.FromSlash(sub))
		err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return nil //nolint:nilerr // not there, or Open says why
			case d.IsDir() && sub == "." && path != top:
				return fs.SkipDir
			case d.IsDir() || !strings.HasPrefix(d.Name(), "tmp_"):
			case strings.HasSuffix(d.Name(), lockSuffix) || sub == "objects/pack": // a branch may be named tmp_, but not .lock
				litter = append(litter, path)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	var first error
	for _, path := range litter {
		if err := s.do(PointCleared, func() error { return os.Remove(path) }); err != nil && first == nil {
			first = err
		}
	}
	return first
}
