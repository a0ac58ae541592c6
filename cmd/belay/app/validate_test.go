package app

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t"
	tests := map[string]string{
		"/srv/git/shop.git":                      "",
		"../shop":                                "",
		"/srv/a@b?c#d":                           "",
		"file:///srv/git/shop.git":               "",
		"file://localhost/srv/git":               "",
		"file://srv/git":                         "want file:// and an absolute path, as in file:///srv/git/shop.git",
		"file://":                                "want file:// and an absolute path, as in file:///srv/git/shop.git",
		"file:///srv?x=1":                        "must not have ? or #",
		"~/shop":                                 "~ is not expanded here: write the whole path",
		"a\nb":                                   "has control characters",
		"":                                       "required",
		"https://git.example.com/shop.git":       "",
		"ssh://git@git.example.com/shop.git":     "",
		"git@git.example.com:shop.git":           "",
		"ftp://example.com/x":                    "ftp:// is not supported",
		"https:///x":                             "want a host and a path, as in https://git.example.com/shop.git",
		"https://" + secret + "@example.com/x":   "has credentials inside",
		"https://u:" + secret + "@example.com/x": "has credentials inside",
		"https://u:%zz" + secret + "@example.com/": "has credentials inside",
		"https://example.com/x?token=" + secret:    "has credentials inside",
		"ssh://u:" + secret + "@example.com/x":     "has credentials inside",
		"git+ssh://u:" + secret + "@example.com/x": "has credentials inside",
		"u:" + secret + "@example.com:x":           "has credentials inside",
		"file://u:" + secret + "@localhost/x":      "has credentials inside",
	}
	for address, want := range tests {
		var v validator
		v.url("url", address)
		got := (&InvalidError{Problems: v.problems}).Error()
		if want != "" {
			want = "url: " + want
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", address, got, want)
		}
		if strings.Contains(got, secret) {
			t.Errorf("%q: the message repeats the secret: %s", address, got)
		}
	}
}

func TestBranches(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"main", "release/1.10", "a-b_c", "ü", "a@b", "@a"} {
		var v validator
		if v.branch("b", good); len(v.problems) > 0 {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{
		"", "refs/heads/main", "a b", "-a", "a..b", "a~1", "a^", "a:b", "a?", "a*", "a[", `a\`, "/a", "a/", "a//b",
		".a", "a/.b", "a.", "a.lock", "a.lock/b", "@", "a@{1}", "a\x00", "a\x7f",
	} {
		var v validator
		if v.branch("b", bad); len(v.problems) == 0 {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestValidateRefusesUncleanPaths(t *testing.T) {
	t.Parallel()
	c, err := FromFlags(Flags{Repo: "/srv/shop"})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		".":       `sources[0].apps[0].path: "." is not clean: write ""`,
		"a/":      `sources[0].apps[0].path: "a/" is not clean: write "a"`,
		"a/../..": `sources[0].apps[0].path: "a/../.." is not clean: write ".."`,
		"a\x1b":   `sources[0].apps[0].path: "a\x1b" has control characters`,
		"..a":     "",
	} {
		c.Sources[0].Apps[0].Path = path
		got := ""
		if err := c.Validate(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}

// Where no engine answers, and this binary cannot hold pods, they are simulated only when nobody asked for real ones.
func TestResolve(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(t.TempDir(), "no.sock"))
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"auto":             {Config{Runtime: RuntimeAuto}, "simulated: no engine for real pods: docker: failed to connect"},
		"auto, simulating": {Config{Runtime: RuntimeAuto, Simulate: []string{"delay=1s"}}, "simulated: simulate says how pods behave"},
		"simulated":        {Config{Runtime: RuntimeSimulated}, "simulated: configured"},
		"docker":           {Config{Runtime: RuntimeDocker}, "runtime docker: docker: failed to connect"},
		"embedded":         {Config{Runtime: RuntimeEmbedded}, "runtime embedded: belay-shim does not lie beside "}, // nor is this binary one
	} {
		used, err := (&App{config: c.config, dir: t.TempDir()}).resolve(t.Context())
		got := string(used.name) + ": " + used.reason
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, c.want) || used.Runtime != nil {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestAuth(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		url  string
		auth Auth
		want string
	}{
		{"https://git.example.com/x", Auth{TokenFile: "/t", CAFile: "/ca", Proxy: "http://proxy:3128"}, ""},
		{"http://git.example.com/x", Auth{TokenFile: "/t"}, "s.auth.tokenFile: would be sent unencrypted over http"},
		{"http://127.0.0.1:80/x", Auth{TokenFile: "/t"}, ""},
		{"git@example.com:x", Auth{KeyFile: "/k", KnownHostsFile: "/h"}, ""},
		{"ssh://git@example.com/x", Auth{KeyFile: "/k"}, "s.auth.knownHostsFile: required: ssh hosts are never trusted unseen"},
		{"ssh://git@example.com/x", Auth{KnownHostsFile: "/h"}, "s.auth.keyFile: required: the private key for ssh"},
		{"/srv/git/x", Auth{TokenFile: "/t"}, "s.auth.tokenFile: is for http and https addresses alone"},
		{"https://git.example.com/x", Auth{KeyFile: "/k"}, "s.auth.keyFile: is for ssh addresses alone"},
		{"https://git.example.com/x", Auth{Proxy: "http://u:p@proxy:1"}, "s.auth.proxy: has credentials inside"},
	} {
		var v validator
		v.auth("s.auth", tt.url, tt.auth)
		if got := (&InvalidError{Problems: v.problems}).Error(); got != tt.want {
			t.Errorf("%s %+v: got %q, want %q", tt.url, tt.auth, got, tt.want)
		}
	}
}

// What is kept for pushing is held to the same rules, and needs nothing when it is not there.
func TestPush(t *testing.T) {
	t.Parallel()
	parse := func(url, push string) (Config, error) {
		auth := ""
		if strings.HasPrefix(url, "ssh") {
			auth = "\n  auth: {keyFile: k, knownHostsFile: h}"
		}
		return parseConfig("f", []byte("sources:\n- name: shop\n  url: "+url+auth+"\n  apps: [{name: shop}]\n"+push))
	}
	for _, tt := range []struct{ url, push, want string }{
		{"https://h/x", "", ""},
		{"https://h/x", "  push: {}", ""},
		{"https://h/x", "  push: {user: bot, tokenFile: t, caFile: c, proxy: 'http://p:1'}", ""},
		{"ssh://h/x", "", ""},
		{"ssh://h/x", "  push: {keyFile: k, knownHostsFile: h, passphraseFile: p}", ""},
		{"ssh://h/x", "  push: {keyFile: k}", "f:6: sources[0].push.knownHostsFile: required: ssh hosts are never trusted unseen"},
		{"ssh://h/x", "  push: {knownHostsFile: h}", "f:6: sources[0].push.keyFile: required: the private key for ssh"},
		{"ssh://h/x", "  push: {keyFile: k, knownHostsFile: h, tokenFile: t}", "f:6: sources[0].push.tokenFile: is for http and https addresses alone"},
		{"/srv/x", "  push: {tokenFile: t}", "f:5: sources[0].push.tokenFile: is for http and https addresses alone"},
		{"http://h/x", "  push: {tokenFile: t}", "f:5: sources[0].push.tokenFile: would be sent unencrypted over http"},
		{"https://h/x", "  push: {proxy: 'http://u:p@p:1'}", "f:5: sources[0].push.proxy: has credentials inside"},
		{"https://h/x", "  push: {token: t}", "f:5: sources[0].push.token: unknown key"},
		{"https://h/x", "  push: yes", "f:5: sources[0].push: want keys and values, not \"yes\""},
	} {
		_, err := parse(tt.url, tt.push)
		if got := fmt.Sprint(err); err == nil && tt.want != "" || err != nil && (tt.want == "" || got != tt.want) {
			t.Errorf("%s %s: %v, want %q", tt.url, tt.push, err, tt.want)
		}
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "belay.yaml")
	text := "sources: [{name: shop, url: 'https://h/x', auth: {tokenFile: read}, push: {tokenFile: write, caFile: /ca}, apps: [{name: shop}]}]"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	s := c.Sources[0]
	if want := (Auth{TokenFile: filepath.Join(dir, "write"), CAFile: "/ca"}); s.Push.auth() != want || s.Auth != (Auth{TokenFile: filepath.Join(dir, "read")}) {
		t.Errorf("push %+v, want %+v; auth %+v", s.Push, want, s.Auth)
	}
}
