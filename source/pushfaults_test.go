package source

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A push whose answer is lost is found in the history, and not made again; the server was away in between.
func TestAnswerLost(t *testing.T) {
	t.Parallel()
	r := writable(t)
	r.commit("main", "first", map[string]string{"f": "0"})
	web := serveHTTP(t, r)
	_, w := writer(t, web.config(r), Push{})
	web.fault(func(_ http.ResponseWriter, req *http.Request) bool {
		if req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, receivePack) {
			web.backend.ServeHTTP(httptest.NewRecorder(), req)
			panic(http.ErrAbortHandler)
		}
		return false
	})
	var made *Proposal
	plan := func(ctx context.Context, s *Snapshot) (*Proposal, error) {
		if made != nil {
			if there, err := s.Contains(ctx, made.Commit); there || err != nil {
				return nil, err
			}
		}
		var err error
		made, err = plain(w, "g", "mine", "mine")(ctx, s)
		return made, err
	}
	_, err := w.Land(t.Context(), plan)
	wantKind(t, err, KindNetwork)
	web.fault(answer(503))
	_, err = w.Land(t.Context(), plan)
	wantKind(t, err, KindServer)
	web.fault(nil)
	if p, err := w.Land(t.Context(), plan); p != nil || err != nil {
		t.Fatalf("Land = %v, %v", p, err)
	}
	if got := r.git("", "log", "--format=%H", "main"); !strings.HasPrefix(got, string(made.Commit)) || strings.Count(got, "\n") != 1 {
		t.Errorf("history %q", got)
	}
}

// A hook that takes its time is waited for.
func TestSlowHook(t *testing.T) {
	t.Parallel()
	for _, tr := range pushTransports[1:] {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			r := writable(t)
			r.commit("main", "first", map[string]string{"f": "0"})
			gate := filepath.Join(t.TempDir(), "gate")
			if out, err := exec.Command("mkfifo", gate).CombinedOutput(); err != nil {
				t.Skipf("mkfifo: %v %s", err, out)
			}
			r.hook("pre-receive", "echo thinking >&2; cat "+gate+" >/dev/null")
			_, w := writer(t, tr.config(t, r), Push{Timeout: time.Minute})
			done := make(chan error, 1)
			go func() {
				_, err := w.Land(t.Context(), plain(w, "g", "x", "mine"))
				done <- err
			}()
			out, err := os.OpenFile(gate, os.O_WRONLY, 0) // returns when the hook reads
			if err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-done:
				t.Fatalf("done before the hook: %v", err)
			default:
			}
			_ = out.Close()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		})
	}
}
