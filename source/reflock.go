package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/go-git/go-git/v5/plumbing"
)

// refFile is where a branch of a repository's directory is written down.
func refFile(dir, branch string) string {
	return filepath.Join(dir, filepath.FromSlash(branchRef(branch)))
}

// lockSuffix makes of the name of a ref's file that of Git's lock on it.
const lockSuffix = ".lock"

// twinPattern names the files of which the locks of pushes are second names, in the directory of the repository.
const twinPattern = "belay-push-*"

// lockRef takes Git's lock on a branch of a repository's directory, with what the branch is to be at written in it. The lock is a second name of a
// file that the process holds as only a living one can: of the lock that a killed push left behind nobody does, and it is
// taken away. Who gets the lock renames or removes it, and then calls unlock.
func (s points) lockRef(dir, branch string, id plumbing.Hash) (unlock func() error, err error) {
	lock := refFile(dir, branch) + lockSuffix
	twin, err := os.CreateTemp(dir, twinPattern)
	if err != nil {
		return nil, err
	}
	unlock = func() error {
		return errors.Join(s.do(PointUnlock, func() error { return os.Remove(twin.Name()) }), twin.Close())
	}
	link := func() error { return s.do(PointLock, func() error { return os.Link(twin.Name(), lock) }) }
	_, err = fmt.Fprintf(twin, "%s\n", id)
	err = errors.Join(err, twin.Chmod(0o644), twin.Sync(), hold(twin))
	if err == nil {
		err = link()
	}
	if errors.Is(err, fs.ErrExist) && s.abandoned(dir, lock) {
		err = link()
	}
	if errors.Is(err, fs.ErrExist) {
		err = &Error{
			Kind: KindServer, Op: "push", Err: fmt.Errorf("branch %s is locked", branch), Hint: "if no git runs there, remove " + lock,
		}
	}
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	return unlock, nil
}

// abandoned takes away a lock that a push of a process which is no more left behind, and reports whether it did. A lock of
// anybody else stays.
func (s points) abandoned(dir, lock string) bool {
	entries, _ := os.ReadDir(dir) // of what cannot be read nothing is taken away
	for _, e := range entries {
		if is, _ := filepath.Match(twinPattern, e.Name()); !is { // the pattern is well-formed
			continue
		}
		twin, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		gone := hold(twin) == nil && same(twin, lock) && s.do(PointLock, func() error { return os.Remove(lock) }) == nil
		if gone {
			_ = s.do(PointUnlock, func() error { return os.Remove(twin.Name()) }) // what is left over keeps nobody from anything
		}
		_ = twin.Close() // it was only read
		if gone {
			return true
		}
	}
	return false
}

// hold has this process hold a file until it is closed, unless another one does.
func hold(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

// same reports whether a path is another name of a file.
func same(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}
