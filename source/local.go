package source

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// localRemote is a repository on this machine, read in place and never written.
type localRemote struct {
	path    string
	indexes *indexes
	limits  Limits
}

// localPath returns the path of a local address, or false when url is an address of another kind.
func localPath(address string) (string, bool, error) {
	if rest, ok := strings.CutPrefix(address, "file://"); ok {
		u, err := url.Parse(address)
		if err != nil || u.Host != "" && u.Host != "localhost" || !strings.HasPrefix(u.Path, "/") {
			return "", true, fmt.Errorf("%w: file address %s has no absolute path", errMalformed, quote(rest))
		}
		return filepath.FromSlash(u.Path), true, nil
	}
	if strings.Contains(address, "://") {
		return "", false, nil
	}
	// host:path is an address of SSH, as Git reads it, unless a slash comes first.
	if colon := strings.IndexByte(address, ':'); colon > 0 && !strings.Contains(address[:colon], "/") {
		if _, err := os.Stat(address); err != nil {
			return "", false, nil //nolint:nilerr // no file of that name: not a path
		}
	}
	path, err := filepath.Abs(address)
	return path, true, err
}

// LocalDir finds the Git directory that holds the branches of a repository on this machine; false when the address is of
// another kind.
func LocalDir(address string) (dir string, local bool, err error) {
	path, local, err := localPath(address)
	if !local || err != nil {
		return "", local, err
	}
	dir, err = gitDir(path)
	return dir, true, err
}

// gitDir finds the Git directory of a path: the path itself when bare, its .git, or what a .git file points at.
func gitDir(path string) (string, error) {
	if _, err := os.Stat(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", &Error{Kind: KindNotFound, Op: "open repository", Subject: path, Err: errorText("no such directory"), Hint: "check the path of the repository"}
		}
		return "", err
	}
	if isGitDir(path) {
		return commonDir(path)
	}
	dot := filepath.Join(path, ".git")
	if isGitDir(dot) {
		return commonDir(dot)
	}
	if data, err := os.ReadFile(dot); err == nil {
		target, ok := strings.CutPrefix(strings.TrimSpace(string(data)), "gitdir:")
		target = strings.TrimSpace(target)
		if !filepath.IsAbs(target) {
			target = filepath.Join(path, target)
		}
		if _, err := os.Stat(filepath.Join(target, "HEAD")); ok && err == nil {
			return commonDir(target)
		}
	}
	return "", &Error{
		Kind: KindNotFound, Op: "open repository", Subject: path, Err: errorText("not a git repository"),
		Hint: "give the top directory of a working tree, or a bare repository",
	}
}

func isGitDir(path string) bool {
	if _, err := os.Stat(filepath.Join(path, "HEAD")); err != nil {
		return false
	}
	info, err := os.Stat(filepath.Join(path, "objects"))
	return err == nil && info.IsDir()
}

// commonDir follows the pointer that the Git directory of an added working tree has to the shared one.
func commonDir(dir string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, "commondir"))
	if errors.Is(err, fs.ErrNotExist) {
		return dir, nil
	}
	if err != nil {
		return "", err
	}
	common := strings.TrimSpace(string(data))
	if !filepath.IsAbs(common) {
		common = filepath.Join(dir, common)
	}
	return filepath.Clean(common), nil
}

// objectDirs returns the object directory of a Git directory and those it borrows from.
func objectDirs(dir string) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	var add func(objects string, depth int) error
	add = func(objects string, depth int) error {
		if objects = filepath.Clean(objects); seen[objects] || depth > 5 {
			return nil
		}
		seen[objects] = true
		out = append(out, objects)
		f, err := os.Open(filepath.Join(objects, "info", "alternates"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			line := strings.TrimSpace(lines.Text())
			if line == "" || line[0] == '#' {
				continue
			}
			if !filepath.IsAbs(line) {
				line = filepath.Join(objects, line)
			}
			if err := add(line, depth+1); err != nil {
				return err
			}
		}
		return lines.Err()
	}
	return out, add(filepath.Join(dir, "objects"), 0)
}

// supported refuses what cannot be read rightly.
func (l *localRemote) supported(dir string) error {
	unsupported := func(text, hint string) error {
		return &Error{Kind: KindUnsupported, Op: "open repository", Subject: l.path, Err: errorText(text), Hint: hint}
	}
	if _, err := os.Stat(filepath.Join(dir, "reftable")); err == nil {
		return unsupported("the repository keeps its refs in reftable format", "git refs migrate --ref-format=files")
	}
	if info, err := os.Stat(filepath.Join(dir, "shallow")); err == nil && info.Size() > 0 {
		return unsupported("the repository is shallow: its history is cut off", "git fetch --unshallow")
	}
	return nil
}

func (l *localRemote) close() {}

func (l *localRemote) address() string { return l.path }

func (l *localRemote) look(_ context.Context, branches []string) (seen, error) {
	out := seen{heads: map[string]plumbing.Hash{}}
	dir, err := gitDir(l.path)
	if err != nil {
		return out, err
	}
	for _, b := range branches {
		h, err := readRef(dir, branchRef(b))
		if err == nil {
			out.heads[b] = h
			continue
		}
		if e := l.supported(dir); e != nil {
			return out, e
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return out, err
		}
		if out.branches, err = listRefs(dir, "refs/heads/"); err != nil {
			return out, err
		}
	}
	return out, nil
}

// noBranch is the error for a branch that is not among branches.
func noBranch(subject, branch string, branches []string) error {
	if len(branches) == 0 {
		return &Error{Kind: KindEmpty, Op: "poll", Subject: subject, Err: errorText("the repository is empty"), Hint: "push a first commit to branch " + branch}
	}
	list := branches
	more := ""
	if len(list) > 10 {
		list, more = list[:10], ", …"
	}
	names := make([]string, len(list))
	for i, name := range list {
		names[i] = strings.Map(printable, name)
	}
	return &Error{
		Kind: KindBranchGone, Op: "poll", Subject: subject, Err: fmt.Errorf("no branch %s", branch),
		Hint: "branches there: " + strings.Join(names, ", ") + more,
	}
}

func printable(r rune) rune {
	if r < 0x20 || r >= 0x7f && r < 0xa0 {
		return '?'
	}
	return r
}

// fetch copies what is wanted and everything behind it that the mirror lacks, as one pack.
func (l *localRemote) fetch(ctx context.Context, wants []plumbing.Hash, to *fetchTarget) error {
	dir, err := gitDir(l.path)
	if err != nil {
		return err
	}
	if err := l.supported(dir); err != nil {
		return err
	}
	dirs, err := objectDirs(dir)
	if err != nil {
		return err
	}
	from, err := newReader(l.indexes, false, dirs...)
	if err != nil {
		return remoteDamage(l.path, err)
	}
	defer from.Close()
	from.most = l.limits.ObjectBytes
	list, err := collect(ctx, from, to.has, wants...)
	if err != nil {
		return remoteDamage(l.path, err)
	}
	to.whole = true
	return remoteDamage(l.path, to.writeObjects(ctx, from, list))
}

// remoteDamage says of damage that it is the remote's and not the mirror's.
func remoteDamage(path string, err error) error {
	if errors.Is(err, errMissing) || errors.Is(err, errDamaged) {
		return &Error{Kind: KindCorrupt, Op: "read repository", Subject: path, Err: err, Hint: "run git fsck there"}
	}
	return err
}
