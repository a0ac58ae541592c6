package source

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// pushTransports are the ways a repository is written.
var pushTransports = []struct {
	name   string
	config func(testing.TB, *repo) Config
}{
	{"path", func(_ testing.TB, r *repo) Config { return r.config() }},
	{"http", func(t testing.TB, r *repo) Config { return serveHTTP(t, r).config(r) }},
	{"ssh", func(t testing.TB, r *repo) Config { return serveSSH(t, false).config(r) }},
}

// writable makes a repository that takes pushes over HTTP, and notes every move of a ref that a push makes.
func writable(t testing.TB) *repo {
	t.Helper()
	r := newRepo(t)
	r.git("", "config", "http.receivepack", "true")
	return r
}

// writer opens a mirror and what writes to it.
func writer(t testing.TB, cfg Config, push Push) (*Mirror, *Writer) {
	t.Helper()
	m := openMirror(t, cfg)
	t.Cleanup(m.Close)
	return m, m.Writer(push)
}

// plain lands a change of one file and returns its commit.
func plain(w *Writer, path, content, message string) func(context.Context, *Snapshot) (*Proposal, error) {
	return func(_ context.Context, s *Snapshot) (*Proposal, error) {
		d, err := s.Draft(s.Head())
		if err != nil {
			return nil, err
		}
		if d, err = d.Edit([]FileEdit{{Path: path, Content: []byte(content)}}); err != nil {
			return nil, err
		}
		return w.Commit(d, Text{Message: message, At: time.Unix(1700000100, 0)})
	}
}

// sound checks the repository as git does, and that the branch holds every commit it ever had.
func sound(t testing.TB, r *repo) {
	t.Helper()
	if out, err := r.tryGit("", "fsck", "--strict", "--no-dangling"); err != nil || strings.Contains(out, "error") || strings.Contains(out, "warning") {
		t.Errorf("git fsck: %v\n%s", err, out)
	}
}

func TestLand(t *testing.T) {
	t.Parallel()
	for _, tr := range pushTransports {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			r := writable(t)
			r.commit("main", "first", map[string]string{"app/web.yaml": "image: web:1\n", "README": "hello\n"})
			bad := r.commit("main", "image: web:2", map[string]string{"app/web.yaml": "image: web:2\n"})
			m, w := writer(t, tr.config(t, r), Push{})
			var readme []string
			p, err := w.Land(t.Context(), func(ctx context.Context, s *Snapshot) (*Proposal, error) {
				d, err := s.Draft(s.Head())
				if err != nil {
					return nil, err
				}
				if d, err = d.Revert(ctx, bad); err != nil {
					return nil, err
				}
				if readme, err = d.Changed(); err != nil {
					return nil, err
				}
				return w.Commit(d, Text{
					Message:  d.Message(),
					Trailers: []Trailer{{"Belay-Rollback", "01J8"}, {"Belay-Deployment", ""}, {"Belay-Requested-By", "al\nice\x1b[0m"}},
					At:       time.Unix(1700000100, 0),
				})
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := r.git("", "rev-parse", "main"); got != string(p.Commit) || p.Base != bad {
				t.Fatalf("main is at %s, the proposal is %s on %s", got, p.Commit, p.Base)
			}
			if !slices.Equal(readme, []string{"app/web.yaml"}) {
				t.Errorf("changed %v", readme)
			}
			want := "tree " + r.git("", "rev-parse", string(bad)+"^^{tree}") + "\nparent " + string(bad) +
				"\nauthor Belay <belay@localhost> 1700000100 +0000\ncommitter Belay <belay@localhost> 1700000100 +0000\n\n" +
				"Revert \"image: web:2\"\n\nThis reverts commit " + string(bad) + ".\n\nBelay-Rollback: 01J8\nBelay-Requested-By: al ice[0m"
			if got := r.git("", "cat-file", "commit", "main"); got != want {
				t.Errorf("the commit is\n%s\nwant\n%s", got, want)
			}
			if got := r.git(r.git("", "log", "-1", "--format=%B", "main"), "interpret-trailers", "--parse"); got != "Belay-Rollback: 01J8\nBelay-Requested-By: al ice[0m" {
				t.Errorf("trailers %q", got)
			}
			sound(t, r)
			if head := poll(t, m); head.Commit != p.Commit {
				t.Errorf("the mirror is at %+v", head)
			}
			if ok, err := snapshot(t, m).Contains(t.Context(), bad); !ok || err != nil {
				t.Errorf("Contains = %v, %v", ok, err)
			}
			if got, err := w.RemoteBranch(t.Context(), "main"); got != p.Commit || err != nil {
				t.Errorf("RemoteBranch = %s, %v", got, err)
			}
			if got, err := w.RemoteBranch(t.Context(), "nope"); got != "" || err != nil {
				t.Errorf("RemoteBranch of none = %s, %v", got, err)
			}
		})
	}
}

// Whoever pushes between looking and pushing is never overwritten; the change is planned again on top.
func TestLandAfterRaces(t *testing.T) {
	t.Parallel()
	for _, tr := range pushTransports {
		for _, races := range []int{3, tries} {
			t.Run(fmt.Sprintf("%s %d", tr.name, races), func(t *testing.T) {
				t.Parallel()
				r := writable(t)
				r.commit("main", "first", map[string]string{"f": "0"})
				_, w := writer(t, tr.config(t, r), Push{})
				n := 0
				p, err := w.Land(t.Context(), func(ctx context.Context, s *Snapshot) (*Proposal, error) {
					p, err := plain(w, "g", "mine", "mine")(ctx, s)
					if n < races {
						n++
						r.commit("main", fmt.Sprintf("foreign %d", n), map[string]string{"f": fmt.Sprint(n)})
					}
					return p, err
				})
				want := "first foreign 1 foreign 2 foreign 3"
				if races == tries {
					wantKind(t, err, KindRace)
					want = "first foreign 1 foreign 2 foreign 3 foreign 4 foreign 5 foreign 6 foreign 7 foreign 8"
				} else if err != nil {
					t.Fatal(err)
				} else {
					want += " mine"
				}
				if got := strings.ReplaceAll(r.git("", "log", "--reverse", "--format=%s", "main"), "\n", " "); got != want {
					t.Errorf("history %s, want %s", got, want)
				}
				if err == nil && r.git("", "rev-parse", "main") != string(p.Commit) {
					t.Error("main is elsewhere")
				}
				sound(t, r)
			})
		}
	}
}

// The branch moves between the server's greeting and the push: the old value in the command keeps it.
func TestRaceWithinTheServer(t *testing.T) {
	t.Parallel()
	r := writable(t)
	r.commit("main", "first", map[string]string{"f": "0"})
	web := serveHTTP(t, r)
	once := sync.Once{}
	web.fault(func(_ http.ResponseWriter, req *http.Request) bool {
		if req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, receivePack) {
			once.Do(func() { r.commit("main", "foreign", map[string]string{"f": "1"}) })
		}
		return false
	})
	_, w := writer(t, web.config(r), Push{})
	plans := 0
	if _, err := w.Land(t.Context(), func(ctx context.Context, s *Snapshot) (*Proposal, error) {
		plans++
		return plain(w, "g", "mine", "mine")(ctx, s)
	}); err != nil {
		t.Fatal(err)
	}
	if got := r.git("", "log", "--reverse", "--format=%s", "main"); got != "first\nforeign\nmine" || plans != 2 {
		t.Errorf("history %q after %d plans", got, plans)
	}
}

func TestManyPushersAtOnce(t *testing.T) {
	t.Parallel()
	for _, tr := range pushTransports {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			r := writable(t)
			r.commit("main", "first", map[string]string{"f": "0"})
			cfg := tr.config(t, r)
			var all sync.WaitGroup
			for i := range 4 {
				all.Go(func() {
					c := cfg
					c.Dir += fmt.Sprint(i)
					m := openMirror(t, c)
					defer m.Close()
					for land(t, m.Writer(Push{}), fmt.Sprint("file", i)) != nil { // unlucky eight times, or locked
						if t.Context().Err() != nil {
							return
						}
					}
				})
			}
			all.Wait()
			if got := strings.Count(r.git("", "log", "--format=%p", "main"), " "); got != 0 {
				t.Errorf("%d merges", got)
			}
			if got := r.git("", "ls-tree", "--name-only", "main"); got != "f\nfile0\nfile1\nfile2\nfile3" {
				t.Errorf("files %q", got)
			}
			if got := r.git("", "rev-list", "--count", "main"); got != "5" {
				t.Errorf("%s commits", got)
			}
			sound(t, r)
		})
	}
}

func land(t testing.TB, w *Writer, file string) error {
	t.Helper()
	_, err := w.Land(t.Context(), plain(w, file, "x", file))
	if k := KindOf(err); err != nil && k != KindRace && k != KindServer {
		t.Error(err)
		return nil
	}
	return err
}

// hook installs a hook written for sh.
func (r *repo) hook(name, script string) {
	r.t.Helper()
	path := filepath.Join(r.dir, "hooks", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	// A program that another test starts meanwhile would hold this one open for writing, and it could not be run.
	syscall.ForkLock.RLock()
	err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755) //nolint:gosec // a program
	syscall.ForkLock.RUnlock()
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestProtectedBranch(t *testing.T) {
	t.Parallel()
	for _, tr := range pushTransports[1:] {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			r := writable(t)
			first := r.commit("main", "first", map[string]string{"f": "0"})
			r.hook("pre-receive", `while read old new ref; do
				if test "$ref" = refs/heads/main; then printf '\033[31mmain is protected:\033[0m open a pull request\n' >&2; yes "many words" | head -1000 >&2; exit 1; fi
			done`)
			_, w := writer(t, tr.config(t, r), Push{})
			var made *Proposal
			_, err := w.Land(t.Context(), func(ctx context.Context, s *Snapshot) (*Proposal, error) {
				p, err := plain(w, "g", "mine", "mine")(ctx, s)
				made = p
				return p, err
			})
			wantKind(t, err, KindRejected)
			if text := err.Error(); !strings.Contains(text, "pre-receive hook declined") || !strings.Contains(text, "main is protected:") ||
				strings.ContainsRune(text, 0x1b) || len(text) > 1000 {
				t.Errorf("error %q", text)
			}
			const branch = "belay/rollback/01J8"
			if err := w.PushBranch(t.Context(), branch, made); err != nil {
				t.Fatal(err)
			}
			if got := r.git("", "rev-parse", branch); got != string(made.Commit) {
				t.Errorf("the branch is at %s", got)
			}
			if err := w.PushBranch(t.Context(), branch, made); err != nil {
				t.Errorf("the same again: %v", err)
			}
			r.point(branch, first)
			err = w.PushBranch(t.Context(), branch, made)
			wantKind(t, err, KindRejected)
			if got := r.git("", "rev-parse", branch); got != string(first) {
				t.Error("the branch was overwritten")
			}
			sound(t, r)
		})
	}
}

func TestPushErrors(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name, hint string
		edit       func(*repo, *webServer, *Push)
		kind       Kind
	}{
		{"read only", "write access", func(r *repo, _ *webServer, _ *Push) { r.git("", "config", "http.receivepack", "false") }, KindForbidden},
		{"wrong token", "write access", func(_ *repo, w *webServer, _ *Push) { w.fault(onPush(answer(401))) }, KindAuth},
		{"missing", "write access", func(_ *repo, w *webServer, _ *Push) { w.fault(onPush(answer(404))) }, KindNotFound},
		{"slow down", "", func(_ *repo, w *webServer, _ *Push) { w.fault(onPush(answer(429, "Retry-After", "9"))) }, KindRateLimited},
		{"broken", "", func(_ *repo, w *webServer, _ *Push) { w.fault(onPush(answer(502))) }, KindServer},
		{"hang up", "", func(_ *repo, w *webServer, _ *Push) {
			w.fault(onPush(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }))
		}, KindNetwork},
		{"no answer to the push", "", func(_ *repo, w *webServer, p *Push) {
			p.Timeout = 500 * time.Millisecond
			w.fault(func(_ http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPost || !strings.Contains(r.URL.Path, receivePack) {
					return false
				}
				_, _ = io.Copy(io.Discard, r.Body) // the end of the connection shows after it
				<-r.Context().Done()
				return true
			})
		}, KindTimeout},
		{"no token file", "write access", func(_ *repo, _ *webServer, p *Push) { p.Auth = &Auth{TokenFile: "/nonexistent/token"} }, KindAuth},
		{"checks of the server", "", func(r *repo, _ *webServer, _ *Push) { r.hook("update", "echo no >&2; exit 1") }, KindRejected},
		{"full disk", "", func(r *repo, _ *webServer, _ *Push) { r.git("", "config", "receive.maxInputSize", "1") }, KindServer},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := writable(t)
			r.commit("main", "first", map[string]string{"f": "0"})
			web, push := serveHTTP(t, r), Push{}
			row.edit(r, web, &push)
			_, w := writer(t, web.config(r), push)
			_, err := w.Land(t.Context(), plain(w, "g", "x", "mine"))
			wantKind(t, err, row.kind)
			if e := new(Error); !asError(err, &e) || e.Op != "push" || !strings.Contains(e.Hint, row.hint) {
				t.Errorf("error %v, hint %q", err, e.Hint)
			}
			if got := r.git("", "rev-list", "--count", "main"); got != "1" {
				t.Errorf("%s commits", got)
			}
		})
	}
}

// onPush makes what has to do with pushing fail.
func onPush(f func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(out http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.RequestURI(), receivePack) {
			return false
		}
		return f(out, r)
	}
}

func TestSignedCommits(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("ssh-keygen is not installed: git verifies with it")
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	_, ed := newSigner(t)
	for name, key := range map[string][]byte{"ed25519": ed, "rsa": pem.EncodeToMemory(block)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			r := writable(t)
			r.commit("main", "first", map[string]string{"f": "0"})
			_, w := writer(t, r.config(), Push{
				Author:         Identity{Name: "Rope <", Email: "rope@example.com"},
				SigningKeyFile: write(t, filepath.Join(dir, "key"), string(key)),
			})
			if _, err := w.Land(t.Context(), plain(w, "g", "x", "signed\n\nwith a body")); err != nil {
				t.Fatal(err)
			}
			signer, err := ssh.ParsePrivateKey(key)
			if err != nil {
				t.Fatal(err)
			}
			allowed := write(t, filepath.Join(dir, "allowed"), "rope@example.com "+string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
			out, err := r.tryGit("", "-c", "gpg.ssh.allowedSignersFile="+allowed, "verify-commit", "-v", "main")
			if err != nil || !strings.Contains(out, "signed\n\nwith a body") || !strings.Contains(out, "author Rope <rope@example.com>") {
				t.Errorf("git verify-commit: %v\n%s", err, out)
			}
			sound(t, r)
		})
	}
}
