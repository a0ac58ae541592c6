package image_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/image"
)

// shelf is a registry on loopback.
type shelf struct {
	t        *testing.T
	host     string
	requests atomic.Int64
	broken   atomic.Bool // blobs come with a byte changed
	secret   string      // password of user "puller"; empty: nobody is asked
}

func newShelf(t *testing.T) *shelf {
	s := &shelf{t: t}
	inner := registry.New()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if _, password, _ := r.BasicAuth(); s.secret != "" && password != s.secret {
			w.Header().Set("WWW-Authenticate", `Basic realm="shelf"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if s.broken.Load() && r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			rec := httptest.NewRecorder()
			inner.ServeHTTP(rec, r)
			b := rec.Body.Bytes()
			b[len(b)/2] ^= 0xff
			_, _ = w.Write(b)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.host = strings.TrimPrefix(server.URL, "http://")
	return s
}

// push puts an image of layers on the shelf.
func (s *shelf) push(tag string, layers ...[]tar.Header) string {
	s.t.Helper()
	img := empty.Image
	for _, headers := range layers {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range headers {
			content := h.PAXRecords["BELAY.content"]
			h.PAXRecords = nil
			h.Size = int64(len(content))
			if h.Mode == 0 {
				h.Mode = 0o644
			}
			if err := w.WriteHeader(&h); err != nil {
				s.t.Fatal(err)
			}
			if _, err := io.WriteString(w, content); err != nil {
				s.t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			s.t.Fatal(err)
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
		if err != nil {
			s.t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			s.t.Fatal(err)
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		s.t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	config.Config = v1.Config{Entrypoint: []string{"/bin/web"}, Env: []string{"A=b"}, User: "1000", WorkingDir: "/srv", StopSignal: "SIGQUIT"}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		s.t.Fatal(err)
	}
	ref, err := name.ParseReference(s.host + "/" + tag)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		s.t.Fatal(err)
	}
	return ref.String()
}

func file(name, content string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, PAXRecords: map[string]string{"BELAY.content": content}}
}

func dir(name string, mode int64) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode}
}

func link(kind byte, name, to string) tar.Header {
	return tar.Header{Name: name, Typeflag: kind, Linkname: to}
}

func openStore(t *testing.T, dir string, l image.Limits) *image.Store {
	t.Helper()
	s, err := image.OpenStore(dir, l)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tree lists a directory: names, what links say, and the content of files.
func tree(t *testing.T, root string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		line := strings.TrimPrefix(p, root+"/")
		switch {
		case d.IsDir():
			line += "/"
		case d.Type() == fs.ModeSymlink:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += " → " + to
		default:
			text, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += " " + string(text)
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	const sym, hard = tar.TypeSymlink, tar.TypeLink
	s := newShelf(t)
	for i, c := range []struct {
		name   string
		layers [][]tar.Header
		want   string // the tree, or "error: " and a part of the error
	}{
		{"files of two layers", [][]tar.Header{{dir("etc", 0o755), file("etc/a", "1"), file("etc/b", "1")}, {file("etc/b", "2")}}, "etc/\netc/a 1\netc/b 2"},
		{"missing directories", [][]tar.Header{{file("a/b/c", "1")}}, "a/\na/b/\na/b/c 1"},
		{"whiteout", [][]tar.Header{{file("a/x", "1"), file("a/y", "1")}, {file("a/.wh.x", "")}}, "a/\na/y 1"},
		{"whiteout of a directory", [][]tar.Header{{file("a/x/y", "1")}, {file("a/.wh.x", "")}}, "a/"},
		{"opaque", [][]tar.Header{{file("a/x", "1"), file("a/d/y", "1")}, {file("a/.wh..wh..opq", ""), file("a/z", "2")}}, "a/\na/z 2"},
		{"opaque after its own", [][]tar.Header{{file("a/x", "1"), file("a/d/y", "1")}, {dir("a", 0o755), file("a/d/z", "2"), dir("a/d", 0o755), file("a/.wh..wh..opq", "")}}, "a/\na/d/\na/d/z 2"},
		{"usrmerge", [][]tar.Header{{dir("usr/bin", 0o755), link(sym, "bin", "usr/bin")}, {file("bin/sh", "1")}}, "bin → usr/bin\nusr/\nusr/bin/\nusr/bin/sh 1"},
		{"absolute link", [][]tar.Header{{dir("run", 0o755), link(sym, "var/run", "/run")}, {file("var/run/x", "1")}}, "run/\nrun/x 1\nvar/\nvar/run → /run"},
		{"hard link", [][]tar.Header{{file("a", "1"), link(hard, "b", "a")}}, "a 1\nb 1"},
		{"a file over a directory", [][]tar.Header{{file("a/x", "1")}, {file("a", "2")}}, "a 2"},
		{"a directory over a file", [][]tar.Header{{file("a", "1")}, {dir("a", 0o755), file("a/x", "2")}}, "a/\na/x 2"},
		{"a directory that may not be written to", [][]tar.Header{{dir("a", 0o555), file("a/x", "1")}, {file("a/y", "2")}}, "a/\na/x 1\na/y 2"},
		{"devices are left out", [][]tar.Header{{{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, {Name: "disk", Typeflag: tar.TypeBlock, Devmajor: 8}, file("a", "1")}}, "a 1"},

		{"out by name", [][]tar.Header{{file("../../escaped", "1")}}, "escaped 1"},
		{"out by a link", [][]tar.Header{{link(sym, "out", "../../..")}, {file("out/escaped", "1")}}, "escaped 1\nout → ../../.."},
		{"out by an absolute link", [][]tar.Header{{link(sym, "out", "/tmp")}, {file("out/escaped", "1")}}, "error: file exists"},
		{"out by a link to itself", [][]tar.Header{{link(sym, "out", "out")}, {file("out/x", "1")}}, "error: too many levels of symbolic links"},
		{"out by a hard link", [][]tar.Header{{link(hard, "passwd", "../../../../../../etc/passwd")}}, "error: no such file or directory"},
		{"out by a hard link over a link", [][]tar.Header{{link(sym, "out", "/etc"), link(hard, "passwd", "out/passwd")}}, "error: no such file or directory"},
		{"whiteout of the parent", [][]tar.Header{{file("a/x", "1"), file("a/.wh...", "")}}, "error: a whiteout of nothing"},
		{"too large", [][]tar.Header{{file("a", strings.Repeat("0", 3000))}, {file("a", strings.Repeat("0", 3000))}}, "error: the image is larger than 5000 bytes"},
		{"too many", [][]tar.Header{slices.Repeat([]tar.Header{file("a", "")}, 101)}, "error: the image has more than 100 files"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ref := s.push(fmt.Sprintf("web:%d", i), c.layers...)
			base := t.TempDir()
			store := openStore(t, filepath.Join(base, "deep", "images"), image.Limits{Size: 5000, Entries: 100})
			got, err := store.Pull(t.Context(), ref, nil)
			if want, refused := strings.CutPrefix(c.want, "error: "); refused {
				var pull *image.PullError
				if !errors.As(err, &pull) || pull.Class != image.Corrupt || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
				if left, _ := filepath.Glob(filepath.Join(base, "deep", "images", "*", "*")); len(left) > 0 {
					t.Errorf("left %v", left)
				}
			} else if err != nil {
				t.Errorf("refused: %v", err)
			} else if text := tree(t, got.Rootfs); text != c.want {
				t.Errorf("tree\n%s\nwant\n%s", text, c.want)
			}
			if _, err := os.Lstat(filepath.Join(base, "escaped")); err == nil {
				t.Error("wrote outside of the image")
			}
		})
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	at := t.TempDir()
	store := openStore(t, at, image.Limits{})
	ref := s.push("shop/web:1", []tar.Header{file("bin/web", "1")})
	if _, ok, err := store.Find(ref); ok || err != nil {
		t.Errorf("found before it was pulled: %v, %v", ok, err)
	}
	pulled, err := store.Pull(t.Context(), ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	if pulled.User != "1000" || pulled.WorkingDir != "/srv" || pulled.StopSignal != "SIGQUIT" || pulled.Size != 1 ||
		!strings.HasPrefix(pulled.Digest, s.host+"/shop/web@sha256:") || !slices.Equal(pulled.Entrypoint, []string{"/bin/web"}) {
		t.Errorf("%+v", pulled)
	}

	// Another process finds it without the registry, by any of its names; the same image is unpacked once.
	other := s.push("shop/web:same", []tar.Header{file("bin/web", "1")})
	if again, err := store.Pull(t.Context(), other, nil); err != nil || again.Rootfs != pulled.Rootfs {
		t.Errorf("%+v, %v", again, err)
	}
	if err := os.Mkdir(filepath.Join(at, "unpack-left"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := s.requests.Load()
	reopened := openStore(t, at, image.Limits{})
	for _, name := range []string{ref, other} {
		if found, ok, err := reopened.Find(name); !ok || err != nil || found.ID != pulled.ID || found.Rootfs != pulled.Rootfs {
			t.Errorf("%s: %+v, %v, %v", name, found, ok, err)
		}
	}
	if s.requests.Load() != before {
		t.Error("asked the registry for what is here")
	}
	if _, err := os.Stat(filepath.Join(at, "unpack-left")); err == nil {
		t.Error("what was not finished is still there")
	}

	// A tag that moved is another image.
	s.push("shop/web:1", []tar.Header{file("bin/web", "2")})
	if moved, err := reopened.Pull(t.Context(), ref, nil); err != nil || moved.ID == pulled.ID || tree(t, moved.Rootfs) != "bin/\nbin/web 2" {
		t.Errorf("%+v, %v", moved, err)
	}
}

func TestPullErrors(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	ref := s.push("web:1", []tar.Header{file("a", strings.Repeat("content ", 1000))})
	store := openStore(t, t.TempDir(), image.Limits{})
	check := func(name, ref string, class image.Class, words string, credentials ...node.Credential) {
		t.Helper()
		_, err := store.Pull(t.Context(), ref, credentials)
		var pull *image.PullError
		if !errors.As(err, &pull) || pull.Class != class || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v (%T), want class %s and %q", name, err, err, class, words)
		}
	}
	check("missing tag", s.host+"/web:9", image.NotFound, fmt.Sprintf("failed to pull and unpack image %q: failed to resolve reference %[1]q: %[1]s: not found", s.host+"/web:9"))
	check("no registry", "127.0.0.1:1/web:1", image.Network, "connection refused")
	s.broken.Store(true)
	check("corrupt", ref, image.Corrupt, "")
	s.broken.Store(false)

	s.secret = "open sesame"
	check("anonymous", ref, image.Denied, "")
	check("wrong", ref, image.Denied, "", node.Credential{Username: "puller", Password: "wrong"})
	if _, err := store.Pull(t.Context(), ref, []node.Credential{{Username: "puller", Password: "wrong"}, {Username: "puller", Password: "open sesame"}}); err != nil {
		t.Errorf("with a second credential that fits: %v", err)
	}
}
