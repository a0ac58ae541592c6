package source

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/go-git/go-git/v5/plumbing"
)

// readRef returns what a branch or other full ref name of a Git directory points at, loose before packed. A ref that
// is not there is fs.ErrNotExist.
func readRef(dir, name string) (plumbing.Hash, error) {
	for range 5 { // a symbolic ref may point at another
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		switch {
		case err == nil:
			text := strings.TrimSpace(string(data))
			target, symbolic := strings.CutPrefix(text, "ref:")
			if !symbolic {
				return refHash(name, text)
			}
			if name = strings.TrimSpace(target); !strings.HasPrefix(name, "refs/") || strings.Contains(name, "..") {
				return plumbing.ZeroHash, fmt.Errorf("%w: ref points at %s", errMalformed, quote(name))
			}
			continue
		case errors.Is(err, fs.ErrNotExist) || isDirectory(err):
		default:
			return plumbing.ZeroHash, err
		}
		var found string
		err = eachPackedRef(dir, func(ref, hash string) {
			if ref == name {
				found = hash
			}
		})
		switch {
		case err != nil:
			return plumbing.ZeroHash, err
		case found == "":
			return plumbing.ZeroHash, fmt.Errorf("ref %s: %w", name, fs.ErrNotExist)
		}
		return refHash(name, found)
	}
	return plumbing.ZeroHash, fmt.Errorf("%w: ref %s points in a circle", errMalformed, name)
}

// isDirectory tells whether a read failed because the path, or a part of it, is of the wrong kind: the ref a/b where
// a is a ref, or the ref a where a/b is one.
func isDirectory(err error) bool {
	return errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.ENOTDIR)
}

func refHash(name, text string) (plumbing.Hash, error) {
	if len(text) == 64 {
		return plumbing.ZeroHash, &Error{
			Kind: KindUnsupported, Op: "read ref", Subject: name, Err: errorText("the repository uses SHA-256 object names"),
			Hint: "only SHA-1 repositories are read",
		}
	}
	h, err := toGit(Hash(text))
	if err != nil {
		return h, fmt.Errorf("%w: ref %s holds no hash", errDamaged, name)
	}
	return h, nil
}

func eachPackedRef(dir string, f func(ref, hash string)) error {
	in, err := os.Open(filepath.Join(dir, "packed-refs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' || line[0] == '^' {
			continue
		}
		if hash, ref, ok := strings.Cut(line, " "); ok {
			f(ref, hash)
		}
	}
	return lines.Err()
}

// listRefs returns the names below prefix, which ends in a slash, without it, sorted.
func listRefs(dir, prefix string) ([]string, error) {
	var out []string
	if err := eachPackedRef(dir, func(ref, _ string) {
		if name, ok := strings.CutPrefix(ref, prefix); ok {
			out = append(out, name)
		}
	}); err != nil {
		return nil, err
	}
	root := filepath.Join(dir, filepath.FromSlash(prefix))
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if d.Type().IsRegular() && !strings.HasSuffix(path, ".lock") {
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			out = append(out, filepath.ToSlash(name))
		}
		return nil
	})
	slices.Sort(out)
	return slices.Compact(out), err
}

// write replaces a file in one step: a reader sees the old content or the new one, also after a crash.
func (s points) write(p Point, path string, data []byte) error {
	if err := s.mkdir(filepath.Dir(path)); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "tmp_*.lock")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.do(p, func() error { return os.Rename(f.Name(), path) })
	}
	if err != nil {
		return errors.Join(err, discard(f))
	}
	return nil
}

// writeHead moves a branch of a mirror.
func (s points) writeHead(dir, branch string, h plumbing.Hash) error {
	return s.write(PointHead, refFile(dir, branch), []byte(h.String()+"\n"))
}

// keepRef keeps a commit of a mirror.
func (s points) keepRef(dir string, h plumbing.Hash) error {
	return s.write(PointKept, filepath.Join(dir, filepath.FromSlash(keepPrefix), h.String()), []byte(h.String()+"\n"))
}
