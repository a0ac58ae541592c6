package source

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// silence begins an answer and says no more until the client gives up.
func silence(text string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if text != "" {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			_, _ = io.WriteString(w, text)
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
		return true
	}
}

func TestSilenceEndsAtTheDeadline(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	first := r.commit("main", "first", map[string]string{"f": "1"})
	drip := func(w http.ResponseWriter, req *http.Request) bool {
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		word := "00ff# service=git-upload-pack"
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			_, _ = io.WriteString(w, word[:1])
			word = word[1:] + "."
			_ = http.NewResponseController(w).Flush()
			select {
			case <-req.Context().Done():
				return true
			case <-tick.C:
			}
		}
	}
	for name, fault := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"before headers": silence(""), "after headers": silence("001e"), "amid the refs": silence("001e# service=git-upload-pack\n0000000eversion 2\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := serveHTTP(t, r)
			w.fault(fault)
			cfg := w.config(r)
			cfg.Timeout = 200 * time.Millisecond
			m := openMirror(t, cfg)
			defer m.Close()
			_, err := m.Poll(t.Context())
			wantKind(t, err, KindTimeout)
		})
	}
	t.Run("slow drip", func(t *testing.T) {
		t.Parallel()
		w := serveHTTP(t, r)
		w.fault(drip)
		cfg := w.config(r)
		cfg.Timeout = 200 * time.Millisecond
		m := openMirror(t, cfg)
		defer m.Close()
		_, err := m.Poll(t.Context())
		if k := KindOf(err); k != KindTimeout && k != KindServer {
			t.Fatalf("%v", err)
		}
	})
	for name, all := range map[string]time.Duration{"silence amid the pack": time.Hour, "a pack that never ends": 700 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := serveHTTP(t, r)
			posts := 0
			w.fault(func(out http.ResponseWriter, req *http.Request) bool {
				if req.Method != http.MethodPost {
					return false
				}
				if posts++; posts < 2 {
					return false
				}
				out.Header().Set("Content-Type", "application/x-git-upload-pack-result")
				_, _ = io.WriteString(out, "000dpackfile\n0011\x01PACK\x00\x00\x00\x02\x00\x00\x00\x03")
				tick := time.NewTicker(50 * time.Millisecond)
				defer tick.Stop()
				for {
					_ = http.NewResponseController(out).Flush()
					select {
					case <-req.Context().Done():
						return true
					case <-tick.C:
						if all < time.Hour {
							_, _ = io.WriteString(out, "0006\x02.")
						}
					}
				}
			})
			cfg := w.config(r)
			cfg.Timeout, cfg.FetchTimeout = 300*time.Millisecond, all
			m := openMirror(t, cfg)
			defer m.Close()
			_, err := m.Poll(t.Context())
			wantKind(t, err, KindTimeout)
			if left := packs(t, cfg.Dir, ""); len(left) > 0 {
				t.Errorf("litter: %v", left)
			}
			w.fault(nil)
			cfg.Timeout, cfg.FetchTimeout = time.Minute, time.Minute
			patient := openMirror(t, cfg)
			defer patient.Close()
			if head := poll(t, patient); head.Commit != first {
				t.Errorf("head %+v", head)
			}
		})
	}
}

func TestDamagedPacksOnTheWay(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	first := r.commit("main", "first", map[string]string{"f": noise(100_000)})
	for _, row := range []struct {
		name string
		edit func([]byte) []byte
	}{
		{"truncated", half},
		{"flipped", flip},
		{"without its end", func(b []byte) []byte { return b[:len(b)-4] }},
		{"fatal error in the middle", func(b []byte) []byte { return append(b[:len(b)/2:len(b)/2], "0010\x03out of air"...) }},
		{"nothing", empty},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := serveHTTP(t, r)
			posts := 0
			w.fault(func(out http.ResponseWriter, req *http.Request) bool {
				if req.Method != http.MethodPost {
					return false
				}
				if posts++; posts < 2 {
					return false
				}
				rec := httptest.NewRecorder()
				w.backend.ServeHTTP(rec, req)
				out.Header().Set("Content-Type", "application/x-git-upload-pack-result")
				_, _ = out.Write(row.edit(rec.Body.Bytes()))
				return true
			})
			cfg := w.config(r)
			m := openMirror(t, cfg)
			defer m.Close()
			if _, err := m.Poll(t.Context()); err == nil || m.Head().Commit != "" {
				t.Fatalf("a damaged pack was taken: %v", err)
			}
			if left := packs(t, cfg.Dir, ""); strings.Contains(fmt.Sprint(left), "tmp_") {
				t.Errorf("litter: %v", left)
			}
			w.fault(nil)
			if head := poll(t, m); head.Commit != first {
				t.Errorf("head %+v", head)
			}
		})
	}
}

func TestCancellationLeavesNothingRunning(t *testing.T) {
	r := newRepo(t)
	r.commit("main", "first", map[string]string{"f": "1"})
	web := serveHTTP(t, r)
	reached := make(chan struct{}, 100)
	web.fault(func(w http.ResponseWriter, req *http.Request) bool {
		reached <- struct{}{}
		return silence("")(w, req)
	})
	mute := listen(t, func(c net.Conn) {
		reached <- struct{}{}
		_, _ = io.Copy(io.Discard, c)
	})
	shell := serveSSH(t, false)
	ssh := shell.config(r)
	ssh.URL = "ssh://git@" + mute + "/x"
	ssh.Auth.KnownHostsFile = write(t, filepath.Join(t.TempDir(), "known"), strings.ReplaceAll(must(readFile(shell.known)), shell.addr[strings.LastIndex(shell.addr, ":")+1:], mute[strings.LastIndex(mute, ":")+1:]))
	for name, cfg := range map[string]Config{"http": web.config(r), "ssh": ssh} {
		cfg.Timeout = time.Hour
		m := openMirror(t, cfg)
		before := runtime.NumGoroutine()
		for range 5 {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() {
				_, err := m.Poll(ctx)
				ended <- err
			}()
			<-reached
			cancel()
			wantKind(t, <-ended, KindCanceled)
		}
		m.Close()
		deadline := time.Now().Add(2 * time.Minute)
		for runtime.NumGoroutine() > before+3 { // the server's own
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d goroutines before, %d after", name, before, runtime.NumGoroutine())
			}
			runtime.Gosched()
		}
	}
}
