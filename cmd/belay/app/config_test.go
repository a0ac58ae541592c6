package app

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func mustParse(t *testing.T, text string) Config {
	t.Helper()
	c, err := parseConfig("belay.yaml", []byte(text))
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	return c
}

func TestAnnotatedConfigIsTheDefault(t *testing.T) {
	t.Parallel()
	got := mustParse(t, AnnotatedConfig())
	want := DefaultConfig()
	// An empty list in the file and none in the code are the same configuration.
	want.Sources, want.Simulate, want.HostPaths = []SourceConfig{}, []string{}, []string{}
	got.Sources, got.Simulate = append([]SourceConfig{}, got.Sources...), append([]string{}, got.Simulate...)
	got.HostPaths = append([]string{}, got.HostPaths...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the annotated file differs from DefaultConfig (-default +file):\n%s", diff)
	}
	if diff := cmp.Diff(DefaultConfig(), mustParse(t, "")); diff != "" {
		t.Errorf("the empty file differs from DefaultConfig (-default +file):\n%s", diff)
	}
}

// The example of a source is commented out in the annotated file; it must say the defaults of a source and an app.
func TestAnnotatedSourceIsTheDefault(t *testing.T) {
	t.Parallel()
	text := strings.Replace(AnnotatedConfig(), "sources: []", "sources:", 1)
	text = regexp.MustCompile(`(?m)^#(-|  )`).ReplaceAllString(text, "$1") // prose has one space after the #

	got := mustParse(t, text)
	short := mustParse(t, "sources: [{name: shop, url: /srv/git/shop.git, apps: [{name: shop}]}]")
	if diff := cmp.Diff(short.Sources, got.Sources); diff != "" {
		t.Errorf("the example source differs from one that leaves every optional key out (-short +example):\n%s", diff)
	}
	s, a := DefaultSource(), DefaultApp()
	s.Name, s.URL, a.Name = "shop", "/srv/git/shop.git", "shop"
	s.Apps = []AppConfig{a}
	if diff := cmp.Diff([]SourceConfig{s}, got.Sources); diff != "" {
		t.Errorf("the example source differs from DefaultSource and DefaultApp (-default +example):\n%s", diff)
	}
}

// Every key there is must be shown and explained.
func TestAnnotatedConfigNamesEveryKey(t *testing.T) {
	t.Parallel()
	for _, typ := range []reflect.Type{
		reflect.TypeFor[Config](), reflect.TypeFor[SourceConfig](), reflect.TypeFor[AppConfig](), reflect.TypeFor[Auth](), reflect.TypeFor[Verify](),
		reflect.TypeFor[WebhookConfig](), reflect.TypeFor[ServicesConfig](), reflect.TypeFor[Limits](),
	} {
		for i := range typ.NumField() {
			key := typ.Field(i).Tag.Get("yaml")
			if !regexp.MustCompile(`(?m)^[#\- ]*([a-z]+: \{)?` + key + `: `).MatchString(AnnotatedConfig()) {
				t.Errorf("%s.%s: the annotated file does not show key %q", typ.Name(), typ.Field(i).Name, key)
			}
		}
	}
}

func TestParseConfig(t *testing.T) {
	t.Parallel()
	got := mustParse(t, `
sources:
- name: shop
  url: file:///srv/git/shop.git
  branch: release/1.10
  interval: 1m30s
  verify: {mode: none}
  apps:
  - {name: shop, path: ./apps//shop/, namespace: prod, prune: false, onFailure: hold}
  - {name: root, path: .}
  import: 0
- &second
  name: "2"
  url: ../deploy
  apps: [{name: all, path: apps/../clusters}]
writes: git
maxRollouts: 0
limits: {pack: 1Gi, blob: 300k, files: 1000}
runtime: simulated
simulate: ["web:2=missing", "registry:5000/web@sha256:aa=crash", delay=200ms]
`)
	want := Config{
		Sources: []SourceConfig{
			{
				Name: "shop", URL: "file:///srv/git/shop.git", Branch: "release/1.10", Interval: 90 * time.Second,
				Verify: Verify{Mode: VerifyNone},
				Apps: []AppConfig{
					{Name: "shop", Path: "apps/shop", Namespace: "prod", OnFailure: "hold"},
					{Name: "root", Namespace: "default", Prune: true, OnFailure: "none"},
				},
			},
			{
				Name: "2", URL: "../deploy", Branch: "main", Interval: 15 * time.Second,
				Verify: Verify{Mode: VerifyNone}, Import: 50,
				Apps: []AppConfig{{Name: "all", Path: "clusters", Namespace: "default", Prune: true, OnFailure: "none"}},
			},
		},
		Writes:   WritesGit,
		Limits:   Limits{Pack: 1 << 30, Blob: 300_000, Files: 1000, Depth: 64},
		Runtime:  RuntimeSimulated,
		Simulate: []string{"web:2=missing", "registry:5000/web@sha256:aa=crash", "delay=200ms"},
		Listen:   DefaultListen,
		Services: ServicesConfig{Listen: "127.0.0.1", Range: "10.96.0.0/16"}, PodRange: "10.244.0.0/16",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parsed (-want +got):\n%s", diff)
	}
}

// Each row is a whole file and the whole error, line by line.
func TestParseConfigProblems(t *testing.T) {
	t.Parallel()
	const app = "  apps: [{name: a}]\n"
	tests := map[string]struct {
		file string
		want []string
	}{
		"services": {
			"services: {listen: localhost, range: 10.96.0.1/16}\n",
			[]string{
				`f:1: services.listen: "localhost" is not an IP address`,
				`f:1: services.range: "10.96.0.1/16" is not an IPv4 network of eight addresses or more`,
			},
		},
		"pods": {"podRange: 10.244.0.0\n", []string{`f:1: podRange: "10.244.0.0" is not an IPv4 network of eight addresses or more`}},
		"pods among Services": {
			"services: {range: 10.96.0.0/16}\npodRange: 10.96.128.0/17\n",
			[]string{"f:2: podRange: 10.96.128.0/17 overlaps services.range, 10.96.0.0/16"},
		},
		"webhooks": {
			"webhook: {listen: here}\n",
			[]string{
				"f:1: webhook.listen: \"here\" is not host:port",
				"f:1: webhook.secretFile: required: whoever could send without a secret could keep this service busy",
			},
		},
		"schedules": {
			"sources:\n- name: shop\n  url: /r\n  schedule: 'CRON_TZ=Europe/Berln 0 9 * * *'\n  interval: 5s\n" + app,
			[]string{
				`f:4: sources[0].schedule: "CRON_TZ=Europe/Berln 0 9 * * *": unknown time zone "Europe/Berln"`,
				"f:5: sources[0].interval: has no meaning beside schedule: leave one of them out",
			},
		},
		"unknown key with a neighbour": {
			"sources:\n- name: shop\n  url: /r\n  intervall: 15s\n" + app,
			[]string{"f:4: sources[0].intervall: unknown key, did you mean interval"},
		},
		"limits": {"limits:\n  pack: many\n  blob: 5Ti\n  files: 0\n  depth: 2\n  refs: 3\n", []string{
			`f:2: limits.pack: want a size such as 512Mi, not "many"`, "f:3: limits.blob: must be 1Ki to 1Gi",
			"f:4: limits.files: must be 100 to 10000000", "f:5: limits.depth: must be 4 to 1024", "f:6: limits.refs: unknown key",
		}},
		"case":       {"maxrollouts: 3", []string{"f:1: maxrollouts: unknown key, did you mean maxRollouts"}},
		"writes":     {"writes: allow\n", []string{`f:1: writes: unknown value "allow": there are refuse and git`}},
		"odd key":    {"\"a b\": 1\n<<: {runtime: auto}\n", []string{`f:1: "a b": unknown key`, `f:2: "<<": unknown key`}},
		"twice":      {"runtime: auto\nmaxRollouts: 1\nruntime: auto\n", []string{"f:3: runtime: set twice, first on line 1"}},
		"no value":   {"runtime:\nsources:\n", []string{"f:1: runtime: has no value"}},
		"not YAML":   {"sources:\n  - a: [\n", []string{"f:2: did not find expected node content"}},
		"not keys":   {"- a\n", []string{"f:1: want keys and values, not a list"}},
		"plain text": {"hello\n", []string{`f:1: want keys and values, not "hello"`}},
		"documents":  {"runtime: auto\n---\nruntime: auto\n", []string{"f:2: a second document: one file holds one configuration"}},
		"wrong kinds": {"sources: {a: b}\nmaxRollouts: many\nruntime: [auto]\nsimulate: delay=1s\n", []string{
			"f:1: sources: want a list, not keys and values",
			`f:2: maxRollouts: want a whole number, not "many"`,
			"f:3: runtime: want one value, not a list",
			`f:4: simulate: want a list, not "delay=1s"`,
		}},
		"wrong scalars": {
			"sources:\n- name: a\n  url: /r\n  interval: 15\n  apps:\n  - name: a\n    prune: perhaps\n", []string{
				`f:4: sources[0].interval: want a duration with its unit, such as 15s, not "15"`,
				`f:7: sources[0].apps[0].prune: want true or false, not "perhaps"`,
			},
		},
		"contains itself": {"sources: &a [*a]\n", []string{"f:1: sources[0]: want keys and values, not a list"}},
		"everything is reported at once": {`maxRollouts: -1
runtime: podman
simulate: [web=broken, delay=fast, web]
sources:
- name: Shop
  url: https://alice:s3cret@git.example.com/shop.git
  branch: a..b
  interval: 10ms
  verify: {mode: signed}
- name: two
  url: git@git.example.com:shop.git
  apps:
  - {name: x, path: ../up, namespace: No}
  - {name: x, path: /etc, namesapce: y}
  - {path: a}
  - {name: z, path: a/.}
  import: -1
- name: two
`, []string{
			"f:1: maxRollouts: must not be negative: 0 means no limit",
			`f:2: runtime: unknown runtime "podman": want auto, docker, embedded or simulated`,
			`f:3: simulate[0]: "web=broken": unknown behaviour "broken", want missing, crash or unready`,
			`f:3: simulate[1]: "delay=fast": "fast" is not a duration such as 200ms or 3s`,
			`f:3: simulate[2]: "web": want IMAGE=missing, IMAGE=crash, IMAGE=unready, delay=DURATION or stop=DURATION`,
			`f:5: sources[0].name: "Shop" is not a DNS label: at most 63 of a-z, 0-9 and -, a letter or digit first and last`,
			"f:5: sources[0].apps: none: a source needs at least one",
			"f:6: sources[0].url: has credentials inside",
			`f:7: sources[0].branch: "a..b" cannot be the name of a branch`,
			"f:8: sources[0].interval: must be at least 1s",
			`f:9: sources[0].verify.mode: unknown mode "signed": only none exists`,
			"f:10: sources[1].auth.keyFile: required: the private key for ssh",
			"f:10: sources[1].auth.knownHostsFile: required: ssh hosts are never trusted unseen",
			`f:13: sources[1].apps[0].path: "../up" leaves the repository`,
			`f:13: sources[1].apps[0].namespace: "No" is not a DNS label: at most 63 of a-z, 0-9 and -, a letter or digit first and last`,
			"f:14: sources[1].apps[1].namesapce: unknown key, did you mean namespace",
			`f:14: sources[1].apps[1].name: "x" is taken by sources[1].apps[0]`,
			`f:14: sources[1].apps[1].path: must be relative to the root of the repository, not "/etc"`,
			"f:15: sources[1].apps[2].name: required",
			"f:16: sources[1].apps[3].path: same path and namespace as sources[1].apps[2]",
			"f:17: sources[1].import: must be 0 (none) to 1000",
			`f:18: sources[2].name: "two" is taken by sources[1]`,
			"f:18: sources[2].url: required",
			"f:18: sources[2].apps: none: a source needs at least one",
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parseConfig("f", []byte(tt.file))
			if err == nil {
				t.Fatal("no problem found")
			}
			if diff := cmp.Diff(tt.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			var h interface{ Hint() string }
			if !errors.As(err, &h) || h.Hint() == "" {
				t.Error("no hint")
			}
		})
	}
}

func TestFromFlags(t *testing.T) {
	t.Parallel()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	got, err := FromFlags(Flags{Repo: "Shop_Deploy.git/", Path: "./apps/", Simulate: []string{"delay=1s"}})
	if err != nil {
		t.Fatal(err)
	}
	s, a := DefaultSource(), DefaultApp()
	s.Name, s.URL = "shop-deploy", filepath.Join(wd, "Shop_Deploy.git")
	a.Name, a.Path = s.Name, "apps"
	s.Apps = []AppConfig{a}
	want := DefaultConfig()
	want.Sources, want.Simulate = []SourceConfig{s}, []string{"delay=1s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	got, err = FromFlags(Flags{
		Repo: "file:///srv/shop/.git", Branch: "b", Path: "p", Namespace: "n", Interval: time.Minute, Runtime: "simulated",
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Name, s.URL, s.Branch, s.Interval = "shop", "file:///srv/shop/.git", "b", time.Minute
	s.Apps = []AppConfig{{Name: "shop", Path: "p", Namespace: "n", Prune: true, OnFailure: "none"}}
	want.Sources, want.Simulate, want.Runtime = []SourceConfig{s}, nil, RuntimeSimulated
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFromFlagsNamesTheFlag(t *testing.T) {
	t.Parallel()
	_, err := FromFlags(Flags{
		Repo: "ftp://x/y", Branch: "a b", Path: "..", Namespace: "N", Interval: 1, Runtime: "podman", Simulate: []string{"x"},
		Listen: "7443",
	})
	if err == nil {
		t.Fatal("no problem found")
	}
	want := `--repo: ftp:// is not supported
--branch: "a b" cannot be the name of a branch
--interval: must be at least 1s
--path: ".." leaves the repository
--namespace: "N" is not a DNS label: at most 63 of a-z, 0-9 and -, a letter or digit first and last
--runtime: unknown runtime "podman": want auto, docker, embedded or simulated
--simulate: "x": want IMAGE=missing, IMAGE=crash, IMAGE=unready, delay=DURATION or stop=DURATION
--listen: "7443" is not host:port`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNameOf(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"/srv/git/shop.git":           "shop",
		"/srv/shop/.git":              "shop",
		"/srv/shop/":                  "shop",
		"/srv/My Shop_2":              "my-shop-2",
		"/":                           "repository",
		"/srv/商店":                     "repository",
		"/" + strings.Repeat("a", 70): strings.Repeat("a", 63),
	} {
		if got := nameOf(url); got != want {
			t.Errorf("%q: got %q, want %q", url, got, want)
		}
	}
}

func TestReadConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	good := write("good.yaml", "sources: [{name: a, url: repos/a, apps: [{name: a}]}]\nsimulate: [a=crash]\n")
	empty := write("empty.yaml", AnnotatedConfig())
	bad := write("bad.yaml", "runtim: auto\n")
	big := write("big.yaml", strings.Repeat("#", maxConfigSize+1))

	c, err := ReadConfig(good, Flags{Runtime: "simulated", Simulate: []string{"delay=1s"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Sources[0].URL, filepath.Join(dir, "repos/a"); got != want {
		t.Errorf("url %q, want %q: a relative path counts from the file", got, want)
	}
	if diff := cmp.Diff([]string{"a=crash", "delay=1s"}, c.Simulate); diff != "" || c.Runtime != RuntimeSimulated {
		t.Errorf("flags beside a file: runtime %s, simulate (-want +got):\n%s", c.Runtime, diff)
	}

	tests := map[string]struct {
		file  string
		flags Flags
		want  string
	}{
		"nothing":        {"", Flags{}, "nothing to follow"},
		"both":           {good, Flags{Repo: "/r"}, "--config and flags about one repository exclude each other"},
		"branch of file": {good, Flags{Branch: "b"}, "--config and flags about one repository exclude each other"},
		"no sources":     {empty, Flags{}, empty + ": sources: none"},
		"bad file":       {bad, Flags{}, bad + ":1: runtim: unknown key, did you mean runtime"},
		"bad flag":       {good, Flags{Runtime: "podman"}, `runtime: unknown runtime "podman": want auto, docker, embedded or simulated`},
		"no file":        {filepath.Join(dir, "none"), Flags{}, "read configuration: open " + filepath.Join(dir, "none") + ": no such file or directory"},
		"too large":      {big, Flags{}, "read configuration: " + big + ": larger than 1048576 bytes"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ReadConfig(tt.file, tt.flags)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	if _, err := ReadConfig(filepath.Join(dir, "none"), Flags{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the cause is lost: %v", err)
	}
}

// Whatever the file, parsing ends, an error names something, and what it accepts is valid.
func FuzzParseConfig(f *testing.F) {
	f.Add(AnnotatedConfig())
	f.Add("sources: &a [*a]")
	f.Add("sources: [{name: a, url: /r, apps: [{name: a, path: a}]}]\nsimulate: [delay=1s]")
	f.Add("a: [\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseConfig("f", []byte(text))
		var invalid *InvalidError
		switch {
		case err == nil:
			if err := c.Validate(); err != nil {
				t.Errorf("accepted by the parser, refused by Validate: %v", err)
			}
		case !errors.As(err, &invalid) || len(invalid.Problems) == 0 || invalid.Hint() == "":
			t.Errorf("an error that explains nothing: %#v", err)
		}
	})
}
