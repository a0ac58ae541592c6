package app

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/belay-dev/belay/manifests"
)

// blobs keeps rendered results in files below a directory that may be deleted at any time.
type blobs struct{ dir string }

var _ manifests.Blobs = blobs{}

func newBlobs(dir string) blobs { return blobs{dir: dir} }

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
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(value)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // what is left of it is litter that nobody reads
	}
	return err
}
