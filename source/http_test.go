package source

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

const secret = "s3cr3t-t0ken"

// answer makes every request be answered with a status and headers, given in pairs.
func answer(status int, headers ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "<html>nothing for a machine</html>")
		return true
	}
}

func TestHTTPAnswersThatAreNoSuccess(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	first := r.commit("main", "first", map[string]string{"f": "1"})
	rows := []struct {
		name  string
		fault func(http.ResponseWriter, *http.Request) bool
		kind  Kind
		after time.Duration
	}{
		{"401", answer(401, "WWW-Authenticate", "Basic"), KindAuth, 0},
		{"403", answer(403), KindForbidden, 0},
		{"403 of a spent rate", answer(403, "X-RateLimit-Remaining", "0"), KindRateLimited, 0},
		{"403 with a time", answer(403, "Retry-After", "60"), KindRateLimited, time.Minute},
		{"404", answer(404), KindNotFound, 0},
		{"410", answer(410), KindNotFound, 0},
		{"407", answer(407), KindAuth, 0},
		{"413", answer(413), KindTooLarge, 0},
		{"429", answer(429, "Retry-After", "7"), KindRateLimited, 7 * time.Second},
		{"429 for ever", answer(429, "Retry-After", "99999999"), KindRateLimited, 24 * time.Hour},
		{"500", answer(500), KindServer, 0},
		{"503 with a time", answer(503, "Retry-After", "120"), KindServer, 2 * time.Minute},
		{"504", answer(504), KindTimeout, 0},
		{"a web page", answer(200, "Content-Type", "text/html"), KindNotFound, 0},
		{"no packets", answer(200, "Content-Type", "application/x-git-upload-pack-advertisement"), KindServer, 0},
		{"cut off", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			_, _ = io.WriteString(w, "001e# service=git-upload-pack\n0000000eversio")
			return true
		}, KindNetwork, 0},
		{"words of the server", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			_, _ = io.WriteString(w, "0020ERR Repository not found.\x1b[0m")
			return true
		}, KindNotFound, 0},
		{"hang up", func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, KindNetwork, 0},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := serveHTTP(t, r)
			cfg := w.config(r)
			m := openMirror(t, cfg)
			defer m.Close()
			w.fault(row.fault)
			_, err := m.Poll(t.Context())
			wantKind(t, err, row.kind)
			e := new(Error)
			if asError(err, &e); e.RetryAfter != row.after {
				t.Errorf("retry after %v, want %v", e.RetryAfter, row.after)
			}
			if strings.ContainsRune(err.Error(), 0x1b) {
				t.Errorf("control characters in %q", err)
			}
			w.fault(nil)
			if head := poll(t, m); head.Commit != first {
				t.Fatalf("head %+v after the fault", head)
			}
			w.fault(row.fault) // now that version 2 is known
			_, err = m.Poll(t.Context())
			if KindOf(err) == "" {
				t.Fatal("no error")
			}
			w.fault(nil)
			if head := poll(t, m); head.Commit != first || head.Changed {
				t.Fatalf("head %+v after the second fault", head)
			}
		})
	}
}

func TestTokenIsReadAnewWhenItChanges(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.commit("main", "first", map[string]string{"f": "1"})
	w := serveHTTP(t, r)
	valid := "old"
	w.fault(func(out http.ResponseWriter, req *http.Request) bool {
		user, pass, _ := req.BasicAuth()
		if user == "x-access-token" && pass == valid {
			return false
		}
		return answer(401)(out, req)
	})
	cfg := w.config(r)
	cfg.Auth.TokenFile = filepath.Join(t.TempDir(), "token")
	m := openMirror(t, cfg)
	defer m.Close()
	_, err := m.Poll(t.Context())
	wantKind(t, err, KindAuth)
	write(t, cfg.Auth.TokenFile, "old\n")
	poll(t, m)
	w.mu.Lock()
	valid = "new"
	w.mu.Unlock()
	_, err = m.Poll(t.Context())
	wantKind(t, err, KindAuth)
	write(t, cfg.Auth.TokenFile, "new\n")
	poll(t, m)
	for _, text := range []string{"", " \n", "two\nlines"} {
		write(t, cfg.Auth.TokenFile, text)
		_, err = m.Poll(t.Context())
		wantKind(t, err, KindAuth)
	}
}

func TestBasicAuthShowsTheUser(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.commit("main", "first", map[string]string{"f": "1"})
	w := serveHTTP(t, r)
	cfg := w.config(r)
	cfg.Auth = Auth{User: "bot", TokenFile: write(t, filepath.Join(t.TempDir(), "p"), secret)}
	w.fault(func(out http.ResponseWriter, req *http.Request) bool {
		if user, pass, _ := req.BasicAuth(); user == "bot" && pass == secret {
			return false
		}
		return answer(403)(out, req)
	})
	m := openMirror(t, cfg)
	defer m.Close()
	poll(t, m)
}

func TestSecretsAreNeverShown(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	w := serveHTTP(t, r)
	base := w.config(r)
	base.Auth.TokenFile = write(t, filepath.Join(t.TempDir(), "token"), secret)
	m := openMirror(t, base)
	defer m.Close()
	for _, fault := range []func(http.ResponseWriter, *http.Request) bool{
		answer(401), answer(500), answer(302, "Location", "http://u:"+secret+"@other.example/x?token="+secret),
	} {
		w.fault(fault)
		_, err := m.Poll(t.Context())
		if text := fmt.Sprintf("%v %+v", err, err); err == nil || strings.Contains(text, secret) {
			t.Errorf("the secret shows: %s", text)
		}
		if e := new(Error); asError(err, &e) && strings.Contains(e.Hint, secret) {
			t.Errorf("the secret shows: %s", e.Hint)
		}
	}
	for _, address := range []string{
		"https://" + secret + "@host/x", "https://u:" + secret + "@host/x", "http://u:" + secret + "@host/x", "ssh://u:" + secret + "@host/x",
		"https://host/x?token=" + secret, "ftp://u:" + secret + "@host/x", "https://u:" + secret + "@", "https://u:" + secret + "%zz@host",
	} {
		cfg := r.config()
		cfg.URL = address
		_, err := Open(t.Context(), cfg, zerolog.Nop())
		wantKind(t, err, KindInvalid)
		if strings.Contains(fmt.Sprintf("%v %+v", err, err), secret) {
			t.Errorf("the secret shows: %v", err)
		}
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	h := r.commit("main", "first", map[string]string{"f": "1"})
	w := serveHTTP(t, r)
	other := serveHTTP(t, r)
	leaked := false
	other.fault(func(_ http.ResponseWriter, req *http.Request) bool {
		leaked = leaked || req.Header.Get("Authorization") != ""
		return false
	})
	target := other.URL
	redirect := func(to string, status int) func(http.ResponseWriter, *http.Request) bool {
		return func(out http.ResponseWriter, req *http.Request) bool {
			if !strings.HasPrefix(req.URL.Path, "/old") {
				return false
			}
			http.Redirect(out, req, to+strings.Replace(req.URL.RequestURI(), "/old", "/remote.git", 1), status)
			return true
		}
	}
	rows := []struct {
		name  string
		fault func(http.ResponseWriter, *http.Request) bool
		kind  Kind
	}{
		{"within the host", redirect("", 301), ""},
		{"within the host, temporarily", redirect("", 302), ""},
		{"to another host", redirect("http://other.example", 301), KindRedirect},
		{"to another port", redirect(target, 301), KindRedirect},
		{"to another kind of address", redirect("ftp://127.0.0.1", 301), KindRedirect},
		{"in a circle", answer(301, "Location", "/old/info/refs?service=git-upload-pack"), KindRedirect},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w.fault(row.fault)
			cfg := r.config()
			cfg.URL = w.URL + "/old"
			cfg.Auth.TokenFile = write(t, filepath.Join(t.TempDir(), "token"), secret)
			m := openMirror(t, cfg)
			defer m.Close()
			head, err := m.Poll(t.Context())
			wantKind(t, err, row.kind)
			if err == nil && head.Commit != h {
				t.Errorf("head %+v", head)
			}
			if e := new(Error); row.kind != "" && (!asError(err, &e) || !strings.Contains(e.Hint+e.Error(), "redirected")) {
				t.Errorf("error %v does not say where", err)
			}
		})
	}
	if leaked {
		t.Error("credentials went to another host")
	}
	t.Run("of the request for data", func(t *testing.T) {
		w.fault(func(out http.ResponseWriter, req *http.Request) bool {
			if req.Method == http.MethodPost {
				http.Redirect(out, req, target+req.URL.RequestURI(), http.StatusTemporaryRedirect)
				return true
			}
			return false
		})
		m := openMirror(t, w.config(r))
		defer m.Close()
		_, err := m.Poll(t.Context())
		wantKind(t, err, KindRedirect)
	})
}

func TestTLS(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	h := r.commit("main", "first", map[string]string{"f": "1"})
	plain := serveHTTP(t, r)
	s := httptest.NewUnstartedServer(plain)
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	cfg := r.config()
	cfg.URL = s.URL + "/remote.git"
	m := openMirror(t, cfg)
	_, err := m.Poll(t.Context())
	wantKind(t, err, KindHostKey)
	m.Close()

	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	cfg.Auth.CAFile = write(t, filepath.Join(t.TempDir(), "ca.pem"), string(ca))
	m = openMirror(t, cfg)
	if head := poll(t, m); head.Commit != h {
		t.Errorf("head %+v", head)
	}
	plain.fault(func(out http.ResponseWriter, req *http.Request) bool { // from https to http
		http.Redirect(out, req, plain.URL+"/remote.git"+strings.TrimPrefix(req.URL.RequestURI(), "/remote.git"), http.StatusFound)
		return true
	})
	m.Close()
	m = openMirror(t, cfg)
	_, err = m.Poll(t.Context())
	wantKind(t, err, KindRedirect)
	m.Close()

	for _, text := range []string{"", "no certificate"} {
		cfg.Auth.CAFile = write(t, filepath.Join(t.TempDir(), "ca.pem"), text)
		_, err := Open(t.Context(), cfg, zerolog.Nop())
		wantKind(t, err, KindInvalid)
	}
	cfg.Auth.CAFile = filepath.Join(t.TempDir(), "nope")
	_, err = Open(t.Context(), cfg, zerolog.Nop())
	wantKind(t, err, KindInvalid)
}

func TestProxy(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	h := r.commit("main", "first", map[string]string{"f": "1"})
	w := serveHTTP(t, r)
	through := 0
	proxy := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, req *http.Request) {
		through++
		w.ServeHTTP(out, req)
	}))
	t.Cleanup(proxy.Close)
	cfg := r.config()
	cfg.URL = "http://git.invalid/remote.git"
	cfg.Auth.Proxy = proxy.URL
	m := openMirror(t, cfg)
	defer m.Close()
	if head := poll(t, m); head.Commit != h || through == 0 {
		t.Errorf("head %+v, %d requests through the proxy", head, through)
	}
	cfg.Auth.Proxy = "::nonsense"
	_, err := Open(t.Context(), cfg, zerolog.Nop())
	wantKind(t, err, KindInvalid)
}

func TestPollWithoutChangeIsOneSmallRequest(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	h := r.commit("main", "first", map[string]string{"f": "1"})
	manyRefs(r, h, 5000)
	w := serveHTTP(t, r)
	m := openMirror(t, w.config(r))
	defer m.Close()
	poll(t, m)
	w.requests.Store(0)
	w.bytes.Store(0)
	poll(t, m)
	if n, size := w.requests.Load(), w.bytes.Load(); n != 1 || size > 1024 {
		t.Errorf("%d requests, %d bytes", n, size)
	}
}

func TestServerThatForgetsVersionTwo(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.commit("main", "first", map[string]string{"f": "1"})
	w := serveHTTP(t, r)
	m := openMirror(t, w.config(r))
	defer m.Close()
	poll(t, m)
	w.noTwo.Store(true)
	next := r.commit("main", "second", map[string]string{"f": "2"})
	if head := poll(t, m); head.Commit != next {
		t.Errorf("head %+v", head)
	}
}

func readFile(path string) (string, error) {
	data, err := os.ReadFile(path)
	return string(data), err
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "-5": 0, "nonsense": 0, "999999999": 24 * time.Hour,
		"Thu, 01 Jan 2026 00:01:00 GMT": time.Minute, "Thu, 01 Jan 2015 00:01:00 GMT": 0, "Thu, 01 Jan 2099 00:01:00 GMT": 24 * time.Hour,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// A reset of the rate that lies years ahead, by our clock, is a clock that is wrong.
func TestRateLimitReset(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	h := &httpCarrier{base: &url.URL{Scheme: "https", Host: "h"}, now: func() time.Time { return now }}
	for reset, want := range map[int64]time.Duration{
		now.Add(time.Minute).Unix(): time.Minute, now.Add(-time.Hour).Unix(): 0, now.AddDate(20, 0, 0).Unix(): 24 * time.Hour, 1 << 62: 24 * time.Hour,
	} {
		head := http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {strconv.FormatInt(reset, 10)}}
		err := h.statusError(&http.Response{StatusCode: http.StatusForbidden, Header: head})
		wantKind(t, err, KindRateLimited)
		var e *Error
		if !errors.As(err, &e) || e.RetryAfter != want {
			t.Errorf("%d: %v, want %v", reset, e.RetryAfter, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"https://host/a/b.git": "https://host/a/b.git", "ssh://git@host/a.git": "ssh://host/a.git", "ssh://host:2222/a.git": "ssh://host:2222/a.git",
		"git@host:a/b.git": "ssh://host/a/b.git", "host:a.git": "ssh://host/a.git", "ssh://git@host/~/a.git": "ssh://host/~/a.git",
	} {
		u, s, err := parseRemote(address)
		got := ""
		switch {
		case err != nil:
			t.Errorf("%s: %v", address, err)
		case u != nil:
			got = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
		default:
			got = s.String()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	for _, address := range []string{"ssh://-oProxyCommand=x/a", "-oProxyCommand=x:a", "ssh:///a", "ftp://host/a", "host:", "https://", "http://host/\x00", "ssh://host"} {
		if _, _, err := parseRemote(address); KindOf(err) != KindInvalid {
			t.Errorf("%s: %v", address, err)
		}
	}
}
