package image

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/belay-dev/belay/reconciler/node"
)

// Discard takes away the names that an image was pulled under, where they still stand for it, and the image with the last of
// its names. That nothing is made from it, nor begins to be, is the caller's to see to.
func (s *Store) Discard(i node.PulledImage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	refs := maps.Clone(s.refs)
	for _, text := range []string{i.Ref, i.Digest} {
		if parsed, err := Parse(text); err == nil && refs[parsed.String()] == i.ID {
			delete(refs, parsed.String())
		}
	}
	if err := s.rename(refs); err != nil {
		return fmt.Errorf("discard image: %w", err)
	}
	return s.sweep(i.ID)
}

// Sweep removes images without a name, but for those to keep: what a process that was killed left.
func (s *Store) Sweep(keep func(id string) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	const algorithm = "sha256"
	entries, err := os.ReadDir(filepath.Join(s.dir, algorithm))
	if err != nil {
		return fmt.Errorf("sweep images: %w", err)
	}
	for _, e := range entries {
		if id := algorithm + ":" + e.Name(); !keep(id) {
			err = errors.Join(err, s.sweep(id))
		}
	}
	return err
}

// sweep removes an image that has no name. It is out of sight in one step; what is left of it when the process is killed
// goes when the store is opened. s.mu is held.
func (s *Store) sweep(id string) error {
	if slices.Contains(slices.Collect(maps.Values(s.refs)), id) {
		return nil
	}
	hash, err := v1.NewHash(id)
	if err != nil {
		return nil //nolint:nilerr // what cannot be is not there
	}
	away := filepath.Join(s.dir, "unpack-swept-"+hash.Hex)
	err = os.Rename(filepath.Join(s.dir, hash.Algorithm, hash.Hex), away)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = RemoveTree(away)
	}
	if err != nil {
		return fmt.Errorf("remove image: %w", err)
	}
	return nil
}

// Filled is how much of the disk that holds the images is in use: 0 to 1.
func (s *Store) Filled() (float64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return 0, fmt.Errorf("disk of %s: %w", s.dir, err)
	}
	if st.Blocks == 0 {
		return 0, nil
	}
	return 1 - float64(st.Bavail)/float64(st.Blocks), nil
}
