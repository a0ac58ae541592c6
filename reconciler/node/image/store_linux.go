package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/belay-dev/belay/reconciler/node"
)

// Limits bound what one image may bring. The zero value of a field is its default.
type Limits struct {
	Size    int64 // bytes of all files, as unpacked; 16 GiB
	Entries int   // files, directories and links of all layers; 1,000,000
	Layers  int   // 1,000
}

func (l Limits) orDefault() Limits {
	if l.Size == 0 {
		l.Size = 16 << 30
	}
	if l.Entries == 0 {
		l.Entries = 1_000_000
	}
	if l.Layers == 0 {
		l.Layers = 1000
	}
	return l
}

// Stored is an image on this machine, unpacked.
type Stored struct {
	node.Image
	Rootfs string // directory with its files; never to be written to

	Entrypoint []string
	Cmd        []string
	Env        []string
	WorkingDir string
	StopSignal string
}

// Store keeps images as directories: for drivers that start processes themselves. An image is there as a whole or not at
// all, and under its ID once, whatever names it has: those that it was pulled by, and its digest in each repository.
//
//	refs.json        complete name → ID
//	sha256/HEX       an image: image.json and rootfs/
//	unpack-*         one that was not finished; removed when the store is opened
type Store struct {
	dir    string
	limits Limits

	mu    sync.Mutex // guards what follows, and refs.json
	refs  map[string]string
	pulls map[string]*sync.Mutex // one pull of a name at a time
}

// maxConfig is how many bytes an image's configuration may have.
const maxConfig = 8 << 20

const refsFile, imageFile, rootfsDir = "refs.json", "image.json", "rootfs"

// OpenStore opens the store in a directory, which one process has at a time, and makes it when it is not there.
func OpenStore(dir string, limits Limits) (*Store, error) {
	err := os.MkdirAll(filepath.Join(dir, "sha256"), 0o700)
	if err == nil { // nobody passes: a set-user-ID program of an image would be one for the machine's users too
		err = os.Chmod(dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("open images: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "unpack-*"))
	if err != nil {
		return nil, fmt.Errorf("open images: %w", err)
	}
	for _, l := range left {
		if err := RemoveTree(l); err != nil {
			return nil, fmt.Errorf("open images: %w", err)
		}
	}
	s := &Store{dir: dir, limits: limits.orDefault(), refs: map[string]string{}, pulls: map[string]*sync.Mutex{}}
	text, err := os.ReadFile(filepath.Join(dir, refsFile))
	if err == nil {
		err = json.Unmarshal(text, &s.refs)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open images: %w", err)
	}
	return s, nil
}

// Find finds an image by the name that a pod has for it; false: it is not there.
func (s *Store) Find(ref string) (Stored, bool, error) {
	parsed, err := Parse(ref)
	if err != nil {
		return Stored{}, false, err
	}
	s.mu.Lock()
	id := s.refs[parsed.String()]
	s.mu.Unlock()
	if id == "" {
		return Stored{}, false, nil
	}
	found, ok, err := s.ByID(id)
	return found.in(parsed), ok, err
}

// in is the image as the repository of a name has it: the same may come from several.
func (s Stored) in(ref Reference) Stored {
	if _, digest, ok := strings.Cut(s.Digest, "@"); ok {
		s.Digest = ref.ref.Context().Digest(digest).String()
	}
	return s
}

// ByID finds an image by its ID.
func (s *Store) ByID(id string) (Stored, bool, error) {
	hash, err := v1.NewHash(id)
	if err != nil {
		return Stored{}, false, fmt.Errorf("image %q: %w", id, err)
	}
	dir := filepath.Join(s.dir, hash.Algorithm, hash.Hex)
	text, err := os.ReadFile(filepath.Join(dir, imageFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Stored{}, false, nil
	}
	var found Stored
	if err == nil {
		err = json.Unmarshal(text, &found)
	}
	if err != nil {
		return Stored{}, false, fmt.Errorf("image %s: %w", id, err)
	}
	found.Rootfs = filepath.Join(dir, rootfsDir)
	return found, true, nil
}

// Pull fetches an image and unpacks it, unless the very same is there already. The credentials are tried in their order;
// none means an anonymous pull. Errors are *PullError, or the end of ctx.
func (s *Store) Pull(ctx context.Context, ref string, credentials []node.Credential) (Stored, error) {
	parsed, err := Parse(ref)
	if err != nil {
		return Stored{}, &PullError{Class: Unknown, Err: err}
	}
	alone := s.alone(parsed.String())
	alone.Lock()
	defer alone.Unlock()
	if len(credentials) == 0 {
		credentials = []node.Credential{{}}
	}
	for _, c := range credentials {
		var found Stored
		if found, err = s.pull(ctx, parsed, c); err == nil {
			return found, nil
		}
		err = s.worded(classify(err), parsed)
		if denied, ok := errors.AsType[*PullError](err); !ok || denied.Class != Denied {
			break
		}
	}
	return Stored{}, err
}

// alone is the lock of a name's pulls.
func (s *Store) alone(ref string) *sync.Mutex {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pulls[ref] == nil {
		s.pulls[ref] = &sync.Mutex{}
	}
	return s.pulls[ref]
}

// worded tells an error as containerd does, where that is short enough to be read.
func (s *Store) worded(err error, ref Reference) error {
	pull, ok := errors.AsType[*PullError](err)
	if !ok {
		return err
	}
	cause := pull.Err
	if pull.Class == NotFound {
		cause = fmt.Errorf("failed to resolve reference %q: %s: not found", ref, ref)
	}
	return &PullError{Class: pull.Class, Err: fmt.Errorf("failed to pull and unpack image %q: %w", ref, cause)}
}

func (s *Store) pull(ctx context.Context, ref Reference, c node.Credential) (Stored, error) {
	auth := authn.FromConfig(authn.AuthConfig{
		Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken,
	})
	if c == (node.Credential{}) {
		auth = authn.Anonymous
	}
	img, err := remote.Image(ref.ref, remote.WithContext(ctx), remote.WithAuth(auth),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}),
		remote.WithRetryStatusCodes(http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout))
	if err != nil {
		return Stored{}, err
	}
	id, err := img.ConfigName()
	if err != nil {
		return Stored{}, err
	}
	digest, err := img.Digest()
	if err != nil {
		return Stored{}, err
	}
	byDigest := ref.ref.Context().Digest(digest.String())
	for {
		found, ok, err := s.ByID(id.String())
		if err == nil && !ok {
			found, err = s.unpack(ctx, img, id, byDigest)
		}
		if err != nil {
			return Stored{}, err
		}
		// Between the two it may have been discarded as one that nobody names.
		if ok, err := s.name(id.String(), ref.String(), byDigest.Name()); ok || err != nil {
			return found.in(ref), err
		}
	}
}

// unpack puts an image beside the others, all of it in one step.
func (s *Store) unpack(ctx context.Context, img v1.Image, id v1.Hash, digest name.Digest) (Stored, error) {
	manifest, err := img.Manifest()
	if err != nil {
		return Stored{}, err
	}
	if n := manifest.Config.Size; n > maxConfig {
		return Stored{}, &PullError{Class: Corrupt, Err: fmt.Errorf("its configuration is larger than %d bytes", maxConfig)}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return Stored{}, err
	}
	layers, err := img.Layers()
	if err != nil {
		return Stored{}, err
	}
	if len(layers) > s.limits.Layers {
		return Stored{}, &PullError{Class: Corrupt, Err: fmt.Errorf("it has more than %d layers", s.limits.Layers)}
	}
	dir, err := os.MkdirTemp(s.dir, "unpack-")
	if err != nil {
		return Stored{}, &PullError{Class: Disk, Err: err}
	}
	found := Stored{
		Image:  node.Image{ID: id.String(), Digest: digest.String(), User: config.Config.User},
		Rootfs: filepath.Join(dir, rootfsDir), Entrypoint: config.Config.Entrypoint, Cmd: config.Config.Cmd,
		Env: config.Config.Env, WorkingDir: config.Config.WorkingDir, StopSignal: config.Config.StopSignal,
	}
	found.Size, err = s.layers(ctx, found.Rootfs, layers)
	if err == nil {
		err = writeJSON(filepath.Join(dir, imageFile), found)
	}
	if err == nil {
		return s.put(found, dir, id)
	}
	return Stored{}, errors.Join(err, RemoveTree(dir))
}

// put has an unpacked image be one of the store. Another name of it may have been pulled at the same time, and be discarded at
// any moment.
func (s *Store) put(found Stored, dir string, id v1.Hash) (Stored, error) {
	final := filepath.Join(s.dir, id.Algorithm, id.Hex)
	const tries = 1000
	var err error
	for range tries {
		if err = os.Rename(dir, final); err == nil {
			found.Rootfs = filepath.Join(final, rootfsDir)
			return found, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			break
		}
		if there, ok, _ := s.ByID(id.String()); ok {
			return there, RemoveTree(dir)
		}
	}
	return Stored{}, errors.Join(err, RemoveTree(dir))
}

// layers unpacks layers over each other and returns how many bytes of files they had.
func (s *Store) layers(ctx context.Context, dir string, layers []v1.Layer) (int64, error) {
	u, err := newUnpacker(dir, s.limits)
	if err != nil {
		return 0, &PullError{Class: Disk, Err: err}
	}
	defer u.close()
	for i, l := range layers {
		if err := unpackLayer(ctx, u, l); err != nil {
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			return 0, &PullError{Class: layerClass(err), Err: layerError(err, l, i, len(layers))}
		}
	}
	return u.size, u.finish()
}

// name makes an image be found by names; false: it is not there.
func (s *Store) name(id string, names ...string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok, err := s.ByID(id); !ok || err != nil {
		return false, err
	}
	refs := maps.Clone(s.refs)
	for _, n := range names {
		refs[n] = id
	}
	if err := s.rename(refs); err != nil {
		return false, &PullError{Class: Disk, Err: err}
	}
	return true, nil
}

// rename has images be found by these names and no others. s.mu is held.
func (s *Store) rename(refs map[string]string) error {
	if maps.Equal(refs, s.refs) {
		return nil
	}
	if err := writeJSON(filepath.Join(s.dir, refsFile), refs); err != nil {
		return err
	}
	s.refs = refs
	return nil
}

// writeJSON replaces a file as a whole.
func writeJSON(file string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// RemoveTree removes a directory with what images have put there: also what is not writable in it.
func RemoveTree(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil {
		return nil
	}
	walkErr := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && !strings.HasSuffix(path, "..") {
			return os.Chmod(path, 0o700) //nolint:gosec // it is about to be removed
		}
		return err
	})
	if err := os.RemoveAll(dir); err != nil {
		return errors.Join(err, walkErr)
	}
	return nil
}
