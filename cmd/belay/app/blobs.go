package app

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/state"
)

// blobs keeps rendered results in files below a directory that may be deleted at any time.
type blobs struct {
	dir   string
	files state.Files
}

var _ manifests.Blobs = blobs{}

// freshDir is where a value is until it has its name: what is left there nobody reads.
const freshDir = "new"

// newBlobs makes it on a directory that no other process uses.
func newBlobs(dir string, files state.Files) blobs { return blobs{dir: dir, files: files} }

// clear drops what killed processes left. Nothing is being put meanwhile.
func (b blobs) clear() error {
	fresh := filepath.Join(b.dir, freshDir)
	if _, err := os.Stat(fresh); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return b.files.Do(FileCacheCleared, func() error { return os.RemoveAll(fresh) })
}

// file is where a key's value lies: its hash, spread over 256 directories.
func (b blobs) file(key string) string {
	sum := sha256.Sum256([]byte(key))
	name := hex.EncodeToString(sum[:])
	return filepath.Join(b.dir, name[:2], name[2:])
}

// Get returns what Put stored, if it is there.
func (b blobs) Get(key string) ([]byte, bool) {
	data, err := os.ReadFile(b.file(key))
	return data, err == nil
}

// Put stores a value so that a reader finds all of it or nothing; an empty one removes the key. It is not made durable:
// what is lost is rendered again.
func (b blobs) Put(key string, value []byte) error {
	name := b.file(key)
	if len(value) == 0 {
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return b.files.Do(FileForgotten, func() error { return os.Remove(name) })
	}
	fresh := filepath.Join(b.dir, freshDir)
	for _, dir := range []string{fresh, filepath.Dir(name)} {
		if _, err := os.Stat(dir); err == nil {
			continue
		}
		if err := b.files.Do(FileCache, func() error { return os.MkdirAll(dir, 0o700) }); err != nil {
			return err
		}
	}
	f, err := os.CreateTemp(fresh, "")
	if err != nil {
		return err
	}
	_, err = f.Write(value)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = b.files.Do(FileCached, func() error { return os.Rename(f.Name(), name) })
	}
	if err != nil {
		_ = b.files.Do(FileForgotten, func() error { return os.Remove(f.Name()) }) // what is left of it nobody reads
	}
	return err
}
