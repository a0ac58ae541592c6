package trigger

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// put makes a file at once, as far as anybody sees.
func put(t *testing.T, name, text string) {
	t.Helper()
	do(t, os.MkdirAll(filepath.Dir(name), 0o755))
	temporary := filepath.Join(t.TempDir(), "file")
	do(t, os.WriteFile(temporary, []byte(text), 0o600))
	do(t, os.Rename(temporary, name))
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// watchFiles reports the files that change. It returns when the first check is over.
func watchFiles(t *testing.T, names ...string) <-chan string {
	t.Helper()
	changed, done, asked := make(chan string, 100), make(chan struct{}), make(chan struct{}, 100)
	ctx := t.Context()
	go func() {
		defer close(done)
		WatchFiles(ctx, FilesConfig{
			List: func() []string {
				select {
				case asked <- struct{}{}:
				default:
				}
				return names
			},
			Changed: func(name string) { changed <- name }, Log: zerolog.Nop(),
		})
	}()
	t.Cleanup(func() { <-done })
	<-asked
	<-asked // the second check began: the first is over
	return changed
}

// expect waits until a file is reported.
func expect(t *testing.T, changed <-chan string, want, why string) {
	t.Helper()
	select {
	case got := <-changed:
		if got != want {
			t.Fatalf("%s: %s was reported, want %s", why, got, want)
		}
	case <-time.After(time.Minute):
		t.Fatalf("%s was not reported", why)
	}
}

func TestWatchFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name, other := filepath.Join(dir, "conf", "belay.yaml"), filepath.Join(dir, "conf", "token")
	put(t, name, "one")
	changed := watchFiles(t, name, other)
	put(t, filepath.Join(dir, "conf", "unrelated"), "x")
	put(t, name, "two")
	expect(t, changed, name, "a file replaced")
	put(t, other, "s3cret")
	expect(t, changed, other, "a file that came")
	do(t, os.Remove(other))
	expect(t, changed, other, "a file that went")
	put(t, filepath.Join(dir, "next", "belay.yaml"), "three")
	do(t, os.Rename(filepath.Join(dir, "conf"), filepath.Join(dir, "old")))
	do(t, os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "conf")))
	expect(t, changed, name, "a file in a directory that took the place of another")
	put(t, name+".x", "x")
	do(t, os.WriteFile(name, []byte("four"), 0o600))
	expect(t, changed, name, "a file written in place, in the new directory")
}

// What Kubernetes mounts is exchanged by one rename of a link to a directory.
func TestWatchFilesBehindLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "belay.yaml")
	put(t, filepath.Join(dir, "..1", "belay.yaml"), "one")
	do(t, os.Symlink("..1", filepath.Join(dir, "..data")))
	do(t, os.Symlink("..data/belay.yaml", name))
	changed := watchFiles(t, name)
	for i, n := range []string{"..2", "..3", "..4"} {
		put(t, filepath.Join(dir, n, "belay.yaml"), "version "+n)
		do(t, os.Symlink(n, filepath.Join(dir, "..data_tmp")))
		do(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		expect(t, changed, name, "a link to another directory")
		do(t, os.RemoveAll(filepath.Join(dir, []string{"..1", "..2", "..3"}[i])))
	}
}
