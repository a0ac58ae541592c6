package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The lock that a push left behind when it was killed is in nobody's way; that of anybody else is, and the hint names it.
func TestLockLeftBehind(t *testing.T) {
	t.Parallel()
	r := writable(t)
	r.commit("main", "first", map[string]string{"f": "0"})
	_, w := writer(t, r.config(), Push{})
	lock := filepath.Join(r.dir, "refs", "heads", "main.lock")
	locked := func(whose string) {
		t.Helper()
		_, err := w.Land(t.Context(), plain(w, "g", "x", "mine"))
		wantKind(t, err, KindServer)
		if e := new(Error); !asError(err, &e) || !strings.Contains(e.Hint, lock) {
			t.Errorf("%s: hint %q", whose, e.Hint)
		}
		if _, err := os.Stat(lock); err != nil {
			t.Errorf("%s: %v", whose, err)
		}
	}
	write(t, lock, "")
	locked("git's")
	remove(t, lock)

	twin, err := os.Create(filepath.Join(r.dir, "belay-push-1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Link(twin.Name(), lock); err != nil {
		t.Fatal(err)
	}
	if err := hold(twin); err != nil {
		t.Fatal(err)
	}
	locked("a push's that goes on")
	if err := twin.Close(); err != nil { // as its process ends
		t.Fatal(err)
	}
	err = errClosed
	for i := 0; i < 1000 && err != nil; i++ { // another test may be starting a program, which has the file for a moment longer
		_, err = w.Land(t.Context(), plain(w, "g", "x", "mine"))
	}
	if err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(r.dir, "belay-push-*")); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
	if got := r.git("", "log", "--format=%s", "main"); got != "mine\nfirst" {
		t.Errorf("history %q", got)
	}
	sound(t, r)
}
