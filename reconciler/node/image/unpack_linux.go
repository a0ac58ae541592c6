package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// unpacker writes the layers of an image over each other, the lowest first. No layer is trusted: links are followed inside
// the directory only, by the kernel, whatever they say.
type unpacker struct {
	root    *os.File
	prefix  int // how long the root's own path is
	limits  Limits
	left    int64 // bytes of archives that may still be read, all layers together
	size    int64
	entries int
	names   int
	mine    map[string]bool        // what the layer at work has brought, by clean path
	modes   map[string]fs.FileMode // of directories, set at the end: one may forbid to write into it
}

func newUnpacker(dir string, limits Limits) (*unpacker, error) {
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755)); err != nil { // whatever this process's umask is
		return nil, err
	}
	root, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	at, err := os.Readlink(opened(root))
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	left := limits.Size + int64(limits.Entries)*entryRoom
	return &unpacker{root: root, prefix: len(at), limits: limits, left: left, modes: map[string]fs.FileMode{}}, nil
}

func (u *unpacker) close() { _ = u.root.Close() } // only a path

// The names with which a layer removes what is below it.
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// layer writes one layer.
func (u *unpacker) layer(r io.Reader) error {
	u.mine = map[string]bool{}
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read layer: %w", err)
		}
		if err := u.count(h.Name); err != nil {
			return err
		}
		if err := u.entry(h, t); err != nil {
			return fmt.Errorf("unpack %q: %w", h.Name, err)
		}
	}
}

// What one entry may take beside its content: in the archive, and of names that are kept, on average.
const (
	entryRoom = 4 << 10
	nameRoom  = 256
)

// maxName is how long the path of a file may be, from the image's root. Any path on the machine can be longer by where images
// lie, and can be removed again.
const maxName = 3 << 10

// count counts one more file.
func (u *unpacker) count(name string) error {
	if u.entries++; u.entries > u.limits.Entries {
		return fmt.Errorf("the image has more than %d files", u.limits.Entries)
	}
	if u.names += len(name); u.names > u.limits.Entries*nameRoom {
		return fmt.Errorf("the names of the image's files are longer than %d bytes", u.limits.Entries*nameRoom)
	}
	return nil
}

// archive reads the archive of a layer, until the image is larger than it may be or ctx ends.
type archive struct {
	ctx context.Context
	io.Reader
	u *unpacker
}

func (a archive) Read(b []byte) (int, error) {
	if err := a.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := a.Reader.Read(b)
	if a.u.left -= int64(n); a.u.left < 0 {
		return 0, fmt.Errorf("the image is larger than %d bytes", a.u.limits.Size)
	}
	return n, err
}

// entry writes one entry of a layer.
func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	clean := path.Clean("/" + h.Name)
	if clean == "/" {
		return nil
	}
	dir, base := path.Split(clean)
	parent, err := u.directory(path.Clean(dir))
	if err != nil {
		return err
	}
	defer func() { _ = parent.Close() }()
	if err := u.near(parent); err != nil {
		return err
	}
	switch {
	case base == opaque:
		return u.clear(parent, path.Clean(dir))
	case strings.HasPrefix(base, whiteout):
		name := strings.TrimPrefix(base, whiteout)
		if name == "" || name == "." || name == ".." {
			return errors.New("a whiteout of nothing")
		}
		return remove(parent, name)
	}
	u.mine[clean] = true
	if h.Typeflag != tar.TypeDir {
		if err := remove(parent, base); err != nil {
			return err
		}
	}
	return u.make(h, content, parent, clean)
}

// near refuses a directory that lies too deep, by whatever links it was reached.
func (u *unpacker) near(dir *os.File) error {
	at, err := os.Readlink(opened(dir))
	if err != nil {
		return err
	}
	if len(at)-u.prefix > maxName-unix.NAME_MAX {
		return unix.ENAMETOOLONG
	}
	return nil
}

// make writes what an entry is, where nothing but a directory can lie.
func (u *unpacker) make(h *tar.Header, content io.Reader, parent *os.File, clean string) error {
	at, base := int(parent.Fd()), path.Base(clean)
	mode := h.FileInfo().Mode()
	switch h.Typeflag {
	case tar.TypeDir:
		if err := u.makeDirectory(parent, base); err != nil {
			return err
		}
		u.modes[clean] = mode
		return owner(at, base, h)
	case tar.TypeReg:
		return u.file(h, content, parent, base, mode)
	case tar.TypeSymlink:
		if err := unix.Symlinkat(h.Linkname, at, base); err != nil {
			return err
		}
		return owner(at, base, h)
	case tar.TypeLink:
		return u.link(h.Linkname, parent, base)
	case tar.TypeFifo:
		if err := unix.Mkfifoat(at, base, uint32(mode.Perm())); err != nil {
			return err
		}
		return owner(at, base, h)
	case tar.TypeChar, tar.TypeBlock, tar.TypeXGlobalHeader:
		return nil // devices are the runtime's to give
	}
	return fmt.Errorf("an entry of type %q", h.Typeflag)
}

func (u *unpacker) makeDirectory(parent *os.File, base string) error {
	err := unix.Mkdirat(int(parent.Fd()), base, 0o755)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(parent.Fd()), base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return nil
	}
	if err := remove(parent, base); err != nil {
		return err
	}
	return unix.Mkdirat(int(parent.Fd()), base, 0o755)
}

func (u *unpacker) file(h *tar.Header, content io.Reader, parent *os.File, base string, mode fs.FileMode) error {
	if u.size += h.Size; u.size > u.limits.Size || h.Size < 0 {
		return fmt.Errorf("the image is larger than %d bytes", u.limits.Size)
	}
	fd, err := unix.Openat(int(parent.Fd()), base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	_, err = io.Copy(f, content)
	if err == nil {
		err = owner(int(parent.Fd()), base, h)
	}
	if err == nil { // after the owner: a change of that takes set-user-ID away
		err = f.Chmod(mode)
	}
	return errors.Join(err, f.Close())
}

// link makes another name for a file of the image.
func (u *unpacker) link(target string, parent *os.File, base string) error {
	clean := path.Clean("/" + target)
	from, err := u.open(path.Dir(clean), unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	return unix.Linkat(int(from.Fd()), path.Base(clean), int(parent.Fd()), base, 0)
}

// open finds a path in the image. The kernel follows links, as though the image were all there is.
func (u *unpacker) open(clean string, flags uint64) (*os.File, error) {
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | flags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(int(u.root.Fd()), clean, how)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: clean, Err: err}
	}
	return os.NewFile(uintptr(fd), clean), nil
}

// directory opens a directory of the image, and makes what is missing of it.
func (u *unpacker) directory(clean string) (*os.File, error) {
	f, err := u.open(clean, unix.O_DIRECTORY)
	if !errors.Is(err, unix.ENOENT) || clean == "/" {
		return f, err
	}
	parent, err := u.directory(path.Dir(clean))
	if err != nil {
		return nil, err
	}
	defer func() { _ = parent.Close() }()
	if err := errors.Join(u.near(parent), u.count(clean)); err != nil {
		return nil, err
	}
	if err := unix.Mkdirat(int(parent.Fd()), path.Base(clean), 0o755); err != nil {
		return nil, err
	}
	u.modes[clean] = 0o755 // whatever this process's umask is
	return u.open(clean, unix.O_DIRECTORY)
}

// remove removes what a directory has under a name; nothing is no error.
func remove(parent *os.File, base string) error {
	root, err := os.OpenRoot(opened(parent))
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return root.RemoveAll(base)
}

// clear removes what lower layers put into a directory.
func (u *unpacker) clear(dir *os.File, clean string) error {
	entries, err := os.ReadDir(opened(dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		inside := path.Join(clean, e.Name())
		switch {
		case !u.mine[inside]:
			err = remove(dir, e.Name())
		case e.IsDir():
			err = u.clearInside(inside)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) clearInside(clean string) error {
	dir, err := u.open(clean, unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return u.clear(dir, clean)
}

// owner gives a file to whom the layer says, where this process may.
func owner(at int, base string, h *tar.Header) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return unix.Fchownat(at, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW)
}

// finish sets what could not be set before everything was there: the deepest directories first.
func (u *unpacker) finish() error {
	paths := make([]string, 0, len(u.modes))
	for p := range u.modes {
		paths = append(paths, p)
	}
	slices.SortFunc(paths, func(a, b string) int { return strings.Compare(b, a) })
	for _, p := range paths {
		dir, err := u.open(p, unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue // a later layer took it away
		}
		if err != nil {
			return err
		}
		err = os.Chmod(opened(dir), u.modes[p])
		if err = errors.Join(err, dir.Close()); err != nil {
			return err
		}
	}
	return nil
}

// opened is a path of what is open, wherever it lies.
func opened(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
