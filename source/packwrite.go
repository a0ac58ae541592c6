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
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"
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
	return t.writePack(ctx, func(w io.Writer) error { return copyObjects(ctx, from, list, w) })
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
