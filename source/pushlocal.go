package source

import (
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// localPusher writes into a repository on this machine as Git does: objects first, then the branch, under its lock.
// What only the git program can do there, running hooks and moving a branch that is checked out, is refused.
type localPusher struct {
	path   string
	points points
}

func (l *localPusher) close() {}

func (l *localPusher) branch(_ context.Context, branch string) (plumbing.Hash, error) {
	dir, err := gitDir(l.path)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	return refOrNone(dir, branch)
}

func refOrNone(dir, branch string) (plumbing.Hash, error) {
	h, err := readRef(dir, branchRef(branch))
	if errors.Is(err, fs.ErrNotExist) {
		return plumbing.ZeroHash, nil
	}
	return h, err
}

func (l *localPusher) push(ctx context.Context, branch string, old plumbing.Hash, p *Proposal) error {
	dir, err := gitDir(l.path)
	if err != nil {
		return err
	}
	if err := (&localRemote{path: l.path}).supported(dir); err != nil {
		return err
	}
	if err := allowed(dir, branch); err != nil {
		return err
	}
	if done, err := mayMove(dir, branch, old, p); done || err != nil {
		return err
	}
	for _, f := range p.parts() {
		if err := ctx.Err(); err != nil {
			return err
		}
		content, err := p.objects.bytes(f.kind, f.id)
		if err != nil {
			return err
		}
		if err := l.points.writeLoose(filepath.Join(dir, "objects"), f, content); err != nil {
			return err
		}
	}
	return l.points.moveRef(dir, branch, old, p)
}

// mayMove tells whether the branch is at the proposal already, and refuses when it is not where it is to be.
func mayMove(dir, branch string, old plumbing.Hash, p *Proposal) (bool, error) {
	is, err := refOrNone(dir, branch)
	switch {
	case err != nil:
		return false, err
	case is == p.id:
		return true, nil
	case is != old && old.IsZero():
		return false, occupied(branch, is)
	case is != old:
		return false, raced(branch, old, is)
	}
	return false, nil
}

// hooks are those that Git would run for a push.
var hooks = []string{"pre-receive", "update", "proc-receive", "post-receive", "post-update", "reference-transaction"}

// allowed refuses what a push of the git program would do more than write.
func allowed(dir, branch string) error {
	refuse := func(kind Kind, text, hint string) error {
		return &Error{Kind: kind, Op: "push", Err: errorText(text), Hint: hint}
	}
	config, err := os.ReadFile(filepath.Join(dir, "config"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if strings.Contains(strings.ToLower(string(config)), "hookspath") {
		return refuse(KindUnsupported, "the repository has hooks, which are not run for a local path", "give its address over ssh or http")
	}
	for _, name := range hooks {
		info, err := os.Stat(filepath.Join(dir, "hooks", name))
		if err == nil && info.Mode()&0o111 != 0 {
			return refuse(KindUnsupported, "the repository has the hook "+name+", which is not run for a local path", "give its address over ssh or http")
		}
	}
	heads := []string{}
	if filepath.Base(dir) == ".git" { // with a working tree
		heads = append(heads, filepath.Join(dir, "HEAD"))
	}
	added, err := filepath.Glob(filepath.Join(dir, "worktrees", "*", "HEAD"))
	if err != nil {
		return err
	}
	for _, head := range append(heads, added...) {
		data, err := os.ReadFile(head)
		if err == nil && strings.TrimSpace(string(data)) == "ref: "+branchRef(branch) {
			return refuse(KindRejected, "branch "+branch+" is checked out there", "push to a bare repository, or check another branch out")
		}
	}
	return nil
}

// writeLoose puts an object into an object directory, unless it is there.
func (s points) writeLoose(objects string, f found, content []byte) error {
	path := loosePath(objects, f.id)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := s.mkdir(filepath.Dir(path)); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), "tmp_obj_")
	if err != nil {
		return err
	}
	z := zlib.NewWriter(file)
	_, err = fmt.Fprintf(z, "%s %d\x00", f.kind, len(content))
	if err == nil {
		_, err = z.Write(content)
	}
	err = errors.Join(err, z.Close(), file.Chmod(0o444), file.Sync(), file.Close())
	if err == nil {
		err = s.do(PointObject, func() error { return os.Rename(file.Name(), path) })
	}
	if err != nil {
		return errors.Join(err, discard(file))
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// moveRef moves the branch from one commit to another under Git's lock.
func (s points) moveRef(dir, branch string, old plumbing.Hash, p *Proposal) error {
	for above := path.Dir(branch); above != "."; above = path.Dir(above) {
		if h, err := refOrNone(dir, above); err != nil || !h.IsZero() {
			return errors.Join(err, &Error{Kind: KindRejected, Op: "push", Err: fmt.Errorf("branch %s is in the way of %s", above, branch)})
		}
	}
	file := refFile(dir, branch)
	if err := s.mkdir(filepath.Dir(file)); err != nil {
		return err
	}
	unlock, err := s.lockRef(dir, branch, p.id)
	if err != nil {
		return err
	}
	drop := func() error { return s.do(PointUnlock, func() error { return os.Remove(file + lockSuffix) }) }
	if done, err := mayMove(dir, branch, old, p); done || err != nil {
		return errors.Join(err, drop(), unlock())
	}
	if err := s.do(PointBranch, func() error { return os.Rename(file+lockSuffix, file) }); err != nil {
		return errors.Join(err, drop(), unlock())
	}
	return errors.Join(unlock(), syncDir(filepath.Dir(file)))
}
