package trigger

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

const (
	hookSecret = "It's a Secret to Everybody"
	pushed     = "3f2a91cd00000000000000000000000000000001"
)

// hooked is a handler for two sources, and what it asked for.
type hooked struct {
	*Hooks
	shop, infra atomic.Int64
	has         atomic.Bool
	secret      atomic.Value
}

func newHooked() *hooked {
	h := &hooked{}
	h.secret.Store(hookSecret)
	h.Hooks = NewHooks(HooksConfig{
		Secret: func() (string, error) { return h.secret.Load().(string), nil },
		Now:    time.Now, Log: zerolog.Nop(),
	})
	h.Follow([]HookSource{
		{"shop", "https://git.example.com/team/shop.git", "main", func() { h.shop.Add(1) }, func(string) bool { return h.has.Load() }},
		{"infra", "git@git.example.com:team/infra.git", "release/1", func() { h.infra.Add(1) }, func(string) bool { return h.has.Load() }},
	})
	return h
}

func (h *hooked) post(path, body string, headers ...string) (status int, text string) {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

func sign(body string) string {
	return hex.EncodeToString(mac(sha256.New, []byte(hookSecret), []byte(body)))
}

func TestPublishedVectors(t *testing.T) {
	t.Parallel()
	github := http.Header{}
	github.Set("X-GitHub-Event", "push")
	github.Set("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")
	if !authentic(hostGitHub, github, []byte("Hello, World!"), hookSecret, time.Now()) {
		t.Error("GitHub's published signature is refused")
	}
	const key, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", `{"test": 2432232314}`
	gitlab := http.Header{}
	gitlab.Set("X-Gitlab-Event", "Push Hook")
	gitlab.Set("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
	gitlab.Set("webhook-timestamp", "1614265330")
	gitlab.Set("webhook-signature", "v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v2,zz")
	at := time.Unix(1614265330, 0)
	for name, tt := range map[string]struct {
		from   host
		now    time.Time
		body   string
		secret string
		want   bool
	}{
		"GitLab":            {hostGitLab, at, body, key, true},
		"Standard Webhooks": {hostStandard, at.Add(4 * time.Minute), body, key, true},
		"too old":           {hostGitLab, at.Add(6 * time.Minute), body, key, false},
		"too far ahead":     {hostGitLab, at.Add(-6 * time.Minute), body, key, false},
		"another body":      {hostGitLab, at, body + " ", key, false},
		"another key":       {hostGitLab, at, body, "whsec_AAAA", false},
		"no key":            {hostGitLab, at, body, "whsec_", false},
		"a broken key":      {hostGitLab, at, body, "whsec_%", false},
	} {
		if got := authentic(tt.from, gitlab, []byte(tt.body), tt.secret, tt.now); got != tt.want {
			t.Errorf("%s: authentic %v, want %v", name, got, tt.want)
		}
	}
}

// hosts are pushes of shop's main as each kind of host sends them.
func hostPushes() map[string]struct{ body, headers string } {
	github := `{"ref":"refs/heads/main","after":"` + pushed + `","repository":{"clone_url":"https://git.example.com/team/shop.git"}}`
	form := "payload=" + url.QueryEscape(github)
	gitlab := `{"object_kind":"push","ref":"refs/heads/main","after":"` + pushed + `","project":{"git_ssh_url":"git@git.example.com:team/shop.git"}}`
	cloud := `{"push":{"changes":[{"new":{"type":"branch","name":"main","target":{"hash":"` + pushed + `"}},"old":null}]},"repository":{"links":{"self":{"href":"x"},"html":{"href":"https://git.example.com/team/shop"}}}}`
	server := `{"changes":[{"ref":{"id":"refs/heads/main","displayId":"main","type":"BRANCH"},"refId":"refs/heads/main","toHash":"` + pushed +
		`","type":"UPDATE"}],"repository":{"links":{"self":[{"href":"y"}],"clone":[{"href":"ssh://git@Git.example.com:7999/team/shop.git","name":"ssh"}]}}}`
	stamp := fmt.Sprint(time.Now().Unix())
	standard := "v1," + base64.StdEncoding.EncodeToString(mac(sha256.New, []byte(hookSecret), []byte("id1."+stamp+"."+gitlab)))
	return map[string]struct{ body, headers string }{
		"GitHub":                     {github, "X-GitHub-Event:push|X-GitHub-Delivery:1|X-Hub-Signature-256:sha256=" + sign(github)},
		"GitHub's form":              {form, "Content-Type:application/x-www-form-urlencoded|X-GitHub-Event:push|X-Hub-Signature-256:sha256=" + sign(form)},
		"Gitea":                      {github, "X-Gitea-Event:push|X-Gogs-Event:push|X-GitHub-Event:push|X-Hub-Signature:sha1=00|X-Gitea-Signature:" + sign(github)},
		"Forgejo":                    {github, "X-Forgejo-Event:push|X-Gitea-Event:push|X-GitHub-Event:push|X-Forgejo-Signature:" + sign(github)},
		"Forgejo, by Gitea's header": {github, "X-Forgejo-Event:push|X-Gitea-Signature:" + sign(github)},
		"Gogs":                       {github, "X-Gogs-Event:push|X-GitHub-Event:push|X-Gogs-Signature:" + sign(github)},
		"GitLab":                     {gitlab, "X-Gitlab-Event:Push Hook|X-Gitlab-Token:" + hookSecret},
		"GitLab of a system":         {gitlab, "X-Gitlab-Event:System Hook|X-Gitlab-Token:" + hookSecret},
		"GitLab, signed":             {gitlab, "X-Gitlab-Event:Push Hook|webhook-id:id1|webhook-timestamp:" + stamp + "|webhook-signature:" + standard},
		"Standard Webhooks":          {gitlab, "webhook-id:id1|webhook-timestamp:" + stamp + "|webhook-signature:" + standard},
		"Bitbucket Cloud":            {cloud, "X-Event-Key:repo:push|X-Hook-UUID:u|X-Hub-Signature:sha256=" + sign(cloud)},
		"Bitbucket Server":           {server, "X-Event-Key:repo:refs_changed|X-Hub-Signature:sha256=" + sign(server)},
		"generic":                    {github, "X-Signature:sha256=" + sign(github)},
	}
}

func headersOf(s string) []string {
	var out []string
	for h := range strings.SplitSeq(s, "|") {
		name, value, _ := strings.Cut(h, ":")
		out = append(out, name, value)
	}
	return out
}

func TestHosts(t *testing.T) {
	t.Parallel()
	for name, tt := range hostPushes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			headers := headersOf(tt.headers)
			for _, path := range []string{"/hooks", "/hooks/shop"} {
				h := newHooked()
				if status, text := h.post(path, tt.body, headers...); status != 202 || text != "looking at shop" || h.shop.Load() != 1 || h.infra.Load() != 0 {
					t.Errorf("%s: %d %s, looks %d and %d", path, status, text, h.shop.Load(), h.infra.Load())
				}
				if c := <-h.expects["shop"]; c != pushed {
					t.Errorf("%s: expects %s", path, c)
				}
				if status, text := h.post(path, tt.body, headers...); status != 202 || text != "seen before" || h.shop.Load() != 1 {
					t.Errorf("%s: a replay: %d %s, looks %d", path, status, text, h.shop.Load())
				}
				if status, _ := h.post(path, tt.body+" ", headers...); status != 401 && !strings.Contains(tt.headers, "Token") {
					t.Errorf("%s: another body: %d", path, status)
				}
				h.secret.Store("another")
				if status, _ := h.post(path, tt.body, headers...); status != 401 {
					t.Errorf("%s: another secret: %d", path, status)
				}
				h.secret.Store("")
				if status, _ := h.post(path, tt.body, headers...); status != 503 {
					t.Errorf("%s: no secret: %d", path, status)
				}
			}
		})
	}
}

func TestHookAnswers(t *testing.T) {
	t.Parallel()
	body := func(ref, address string) string {
		return fmt.Sprintf(`{"ref":%q,"after":%q,"repository":{"clone_url":%q}}`, ref, pushed, address)
	}
	main := body("refs/heads/main", "https://git.example.com/team/shop")
	github := func(b string) []string {
		return []string{"X-GitHub-Event", "push", "X-Hub-Signature-256", "sha256=" + sign(b)}
	}
	infra := body("refs/heads/release/1", "ssh://git@git.example.com:22/team/infra.git")
	other := body("refs/heads/other", "https://git.example.com/team/shop")
	tag := body("refs/tags/v1", "https://git.example.com/team/shop")
	stranger := body("refs/heads/main", "https://git.example.com/team/other")
	ping := `{"zen":"x"}`
	for name, tt := range map[string]struct {
		path, body string
		headers    []string
		status     int
		text       string
	}{
		"another source by its address": {"/hooks", infra, github(infra), 202, "looking at infra"},
		"another branch":                {"/hooks", other, github(other), 202, "nothing to look at: another branch than that of shop"},
		"a tag":                         {"/hooks/shop", tag, github(tag), 202, "nothing to look at: another branch than that of shop"},
		"a ping":                        {"/hooks/shop", ping, []string{"X-GitHub-Event", "ping", "X-Hub-Signature-256", "sha256=" + sign(ping)}, 202, "nothing to look at: event ping"},
		"a repository of nobody":        {"/hooks", stranger, github(stranger), 404, "no source follows this repository: send to /hooks/SOURCE"},
		"no such source":                {"/hooks/none", main, github(main), 404, "no such source"},
		"no such source, unsigned":      {"/hooks/none", main, nil, 401, "not signed"},
		"no such path":                  {"/hooks/shop/x", main, github(main), 404, "not found"},
		"a path that begins alike":      {"/hooksshop", main, github(main), 404, "not found"},
		"not JSON":                      {"/hooks/shop", "{", github("{"), 400, "read the payload: unexpected end of JSON input"},
		"text of a generic sender":      {"/hooks/shop", "go", []string{"X-Signature", "sha256=" + sign("go")}, 202, "looking at shop"},
		"SHA-1":                         {"/hooks/shop", main, []string{"X-GitHub-Event", "push", "X-Hub-Signature", "sha1=00"}, 401, "not signed"},
		"the digits alone":              {"/hooks/shop", main, []string{"X-GitHub-Event", "push", "X-Hub-Signature-256", sign(main)}, 401, "wrong signature"},
		"no digits":                     {"/hooks/shop", main, []string{"X-GitHub-Event", "push", "X-Hub-Signature-256", "sha256="}, 401, "wrong signature"},
		"a signature cut short":         {"/hooks/shop", main, []string{"X-GitHub-Event", "push", "X-Hub-Signature-256", "sha256=" + sign(main)[:60]}, 401, "wrong signature"},
		"two signatures":                {"/hooks/shop", main, append(github(main), "X-Hub-Signature-256", "sha256=00"), 401, "not signed"},
		"Gitea's name, GitHub's proof":  {"/hooks/shop", main, append(github(main), "X-Gitea-Event", "push"), 401, "wrong signature"},
		"an empty token":                {"/hooks/shop", main, []string{"X-Gitlab-Event", "Push Hook", "X-Gitlab-Token", ""}, 401, "not signed"},
		"Azure's Basic":                 {"/hooks/shop", main, []string{"Authorization", "Basic eDp5"}, 401, "not signed"},
		"too large":                     {"/hooks/shop", strings.Repeat("x", 30<<20), github(main), 413, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHooked()
			if status, text := h.post(tt.path, tt.body, tt.headers...); status != tt.status || text != tt.text {
				t.Errorf("got %d %s, want %d %s", status, text, tt.status, tt.text)
			}
			if looks := h.shop.Load() + h.infra.Load(); looks != 0 && !strings.HasPrefix(tt.text, "looking") {
				t.Errorf("%d looks", looks)
			}
		})
	}
	h := newHooked()
	r := httptest.NewRequest(http.MethodPost, "/hooks/shop", io.LimitReader(endless{}, 30<<20)) // of no declared length
	r.ContentLength = -1
	r.Header.Set("X-Signature", "sha256=00")
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != 413 {
		t.Errorf("a body of no declared length: %d", w.Code)
	}
	r = httptest.NewRequest(http.MethodGet, "/hooks/shop", http.NoBody)
	w = httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != 405 {
		t.Errorf("GET: %d", w.Code)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// Senders that hold their bodies back keep others of their address out, and nobody else.
func TestHookFlood(t *testing.T) {
	t.Parallel()
	h := newHooked()
	stop := make(chan struct{})
	held := make(chan int, 100)
	for range maxHooksPerHost {
		pr, pw := io.Pipe()
		go func() { <-stop; pw.CloseWithError(errors.New("gone")) }()
		go func() {
			r := httptest.NewRequest(http.MethodPost, "/hooks/shop", pr)
			r.Header.Set("X-Signature", "sha256=00")
			r.RemoteAddr = "192.0.2.9:1"
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			held <- w.Code
		}()
		if _, err := pw.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "/hooks/shop", strings.NewReader("go"))
	r.Header.Set("X-Signature", "sha256="+sign("go"))
	r.RemoteAddr = "192.0.2.9:2"
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != 429 || w.Header().Get("Retry-After") == "" {
		t.Errorf("from the address of the flood: %d", w.Code)
	}
	if status, _ := h.post("/hooks/shop", "go", "X-Signature", "sha256="+sign("go")); status != 202 {
		t.Errorf("from another address: %d", status)
	}
	close(stop)
	for range maxHooksPerHost {
		if code := <-held; code != 400 {
			t.Errorf("a body that broke off: %d", code)
		}
	}
	if len(h.reads) != 0 || h.total != 0 {
		t.Errorf("%v and %d are still counted", h.reads, h.total)
	}
	for range 10000 {
		h.post("/hooks/shop", "x", "X-Signature", "sha256="+sign("go"))
	}
	if status, _ := h.post("/hooks/shop", "go", "X-Signature", "sha256="+sign("go")); status != 202 {
		t.Errorf("after 10,000 wrong ones: %d", status)
	}
}

func TestAuthenticFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHooked()
		accepted := 0
		for range 1000 {
			if status, _ := h.post("/hooks/shop", "go", "X-Signature", "sha256="+sign("go")); status == 202 {
				accepted++
			}
		}
		if accepted != acceptedBurst {
			t.Errorf("%d of 1000 at once are accepted", accepted)
		}
		time.Sleep(time.Second)
		if status, _ := h.post("/hooks/shop", "go", "X-Signature", "sha256="+sign("go")); status != 202 {
			t.Errorf("a second later: %d", status)
		}
	})
}

func TestAnnouncedCommitIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHooked()
		done := make(chan struct{})
		go func() { defer close(done); h.Run(t.Context()) }()
		t.Cleanup(func() { <-done })
		push := func(n int) {
			body := fmt.Sprintf(`{"n":%d,"ref":"refs/heads/main","after":%q}`, n, pushed)
			if status, _ := h.post("/hooks/shop", body, "X-Signature", "sha256="+sign(body)); status != 202 {
				t.Fatal(status)
			}
		}
		push(1)
		time.Sleep(10 * time.Second)
		h.has.Store(true)
		if n := h.shop.Load(); n < 4 || n > 6 {
			t.Errorf("%d looks in ten seconds", n)
		}
		time.Sleep(time.Minute)
		if n := h.shop.Load(); n > 6 {
			t.Errorf("%d looks although the commit is there", n)
		}
		h.has.Store(false)
		before := h.shop.Load()
		push(2)
		time.Sleep(time.Hour)
		if n := h.shop.Load() - before; n < 5 || n > 9 {
			t.Errorf("%d looks for a commit that never comes", n)
		}
	})
}

func TestAddress(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"https://git.example.com/team/shop.git":     "git.example.com/team/shop",
		"https://u@GIT.example.com:8443/team/shop/": "git.example.com/team/shop",
		"ssh://git@git.example.com:7999/team/shop":  "git.example.com/team/shop",
		"git@git.example.com:team/shop.git":         "git.example.com/team/shop",
		"git.example.com:/team/shop":                "git.example.com/team/shop",
		"https://[::1]:80/x":                        "[::1]/x",
		"/srv/git/shop.git":                         "/srv/git/shop",
		"file:///srv/git/shop.git":                  "/srv/git/shop",
	} {
		if got := address(raw); got != want {
			t.Errorf("%q: got %q, want %q", raw, got, want)
		}
	}
}

// Whatever is sent, the handler answers, and looks at nothing without a signature.
func FuzzHooks(f *testing.F) {
	for _, p := range hostPushes() {
		f.Add("/hooks", p.body, p.headers, true)
		f.Add("/hooks/shop", p.body, p.headers, false)
	}
	f.Fuzz(func(t *testing.T, path, body, headers string, signed bool) {
		h := newHooked()
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.URL.Path = path
		for i, s := 0, headersOf(headers); i+1 < len(s); i += 2 {
			r.Header.Add(s[i], s[i+1])
		}
		if signed {
			r.Header = http.Header{"X-Signature": {"sha256=" + sign(body)}, "Content-Type": r.Header["Content-Type"]}
		} else {
			h.secret.Store("a secret that nobody has")
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if !signed && (w.Code == 202 || h.shop.Load()+h.infra.Load() > 0) {
			t.Errorf("unsigned: %d", w.Code)
		}
	})
}
