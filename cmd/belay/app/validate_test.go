package app

import (
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
		"https://git.example.com/shop.git":       "https:// is not supported yet",
		"ssh://git@git.example.com/shop.git":     "ssh:// is not supported yet",
		"git@git.example.com:shop.git":           "addresses of the form host:path are not supported yet",
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

func TestRuntimeResolve(t *testing.T) {
	t.Parallel()
	for r, want := range map[Runtime]string{
		RuntimeAuto:      "simulated: no runtime for real pods is built in",
		RuntimeSimulated: "simulated: configured",
	} {
		if used, reason := r.Resolve(); string(used)+": "+reason != want {
			t.Errorf("%s: got %s: %s, want %s", r, used, reason, want)
		}
	}
}
