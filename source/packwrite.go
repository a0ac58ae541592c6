package source

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
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
		return errors.Join(err, removeLitter(t.dir))
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
		return removeLitter(t.dir)
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
	return errors.Join(file.Chmod(0o444), os.Rename(file.Name(), name+".pack"))
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
	return os.Rename(file.Name(), name+".idx")
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
