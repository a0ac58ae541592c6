package app

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/belay-dev/belay/reconciler/rollback"
)

// Config is everything a person can set. The zero value is not useful: start from DefaultConfig.
type Config struct {
	// Sources are the repositories to follow, each under its own name.
	Sources []SourceConfig `yaml:"sources"`
	// Writes says what becomes of a write to what Git manages, such as kubectl set image.
	Writes Writes `yaml:"writes"`
	// MaxRollouts bounds how many rollouts may replace running pods at once; 0 means no limit.
	MaxRollouts int `yaml:"maxRollouts"`
	// Limits bound what each repository may cost.
	Limits Limits `yaml:"limits"`
	// Runtime says what runs the pods.
	Runtime Runtime `yaml:"runtime"`
	// HostPaths are the absolute paths of the machine that pods may mount, each with all below it.
	HostPaths []string `yaml:"hostPaths"`
	// Simulate says how simulated pods behave: IMAGE=missing, IMAGE=crash, IMAGE=unready, delay=DURATION,
	// as simulated.Parse reads them.
	Simulate []string `yaml:"simulate"`
	// Listen is a TCP address, host:port, for the Kubernetes API, metrics and health checks over TLS; empty: none. Where
	// DefaultListen is taken, a free port is chosen and told.
	Listen string `yaml:"listen"`
	// Webhook says where Git hosts tell that something was pushed.
	Webhook WebhookConfig `yaml:"webhook"`
	// Services says where Services answer.
	Services ServicesConfig `yaml:"services"`
	// PodRange is where the addresses of embedded pods come from, an IPv4 prefix apart from that of Services.
	PodRange string `yaml:"podRange"`
}

// SourceConfig is one branch of one repository.
type SourceConfig struct {
	Name     string        `yaml:"name"`
	URL      string        `yaml:"url"`
	Branch   string        `yaml:"branch"`
	Interval time.Duration `yaml:"interval"`
	// Schedule says when to look, instead of Interval; empty: by Interval.
	Schedule string `yaml:"schedule"`
	// Windows say when changes of any app may begin.
	Windows []WindowConfig `yaml:"windows"`
	Auth    Auth           `yaml:"auth"`
	// Push says how rollbacks are pushed; nil: they are not.
	Push   *PushConfig `yaml:"push"`
	Verify Verify      `yaml:"verify"`
	Apps   []AppConfig `yaml:"apps"`
	// Import bounds how many commits before the first sync are put into the history; 0: none.
	Import int `yaml:"import"`
}

// Auth says what a remote repository is shown. Secrets lie in files, which are read at each use: one that is replaced
// is taken up with the next look. Relative paths count from the configuration file's directory.
type Auth struct {
	User           string `yaml:"user"`
	TokenFile      string `yaml:"tokenFile"`
	CAFile         string `yaml:"caFile"`
	Proxy          string `yaml:"proxy"`
	KeyFile        string `yaml:"keyFile"`
	PassphraseFile string `yaml:"passphraseFile"`
	KnownHostsFile string `yaml:"knownHostsFile"`
}

// files are the paths in it, by key.
func (a *Auth) files() map[string]*string {
	return map[string]*string{
		"tokenFile": &a.TokenFile, "caFile": &a.CAFile, "keyFile": &a.KeyFile, "passphraseFile": &a.PassphraseFile,
		"knownHostsFile": &a.KnownHostsFile,
	}
}

// Verify says which commits of a source are trusted.
type Verify struct {
	Mode VerifyMode `yaml:"mode"`
}

// VerifyMode is the closed set of ways to trust a commit.
type VerifyMode string

// VerifyNone trusts every commit of the branch.
const VerifyNone VerifyMode = "none"

// AppConfig is a path of a source.
type AppConfig struct {
	Name string `yaml:"name"`
	// Path is relative to the root of the repository, slash-separated and clean; "" is the root.
	Path string `yaml:"path"`
	// Namespace receives the objects that name none.
	Namespace string `yaml:"namespace"`
	// Prune deletes an object when its manifest is gone.
	Prune bool `yaml:"prune"`
	// OnFailure says what happens by itself when a rollout passes its progress deadline: none, hold or rollback. Empty:
	// none.
	OnFailure rollback.OnFailure `yaml:"onFailure"`
	// AutoPush has onFailure: rollback push to the branch that is followed, instead of to a branch of its own.
	AutoPush bool `yaml:"autoPush"`
	// Windows say when changes may begin; those of the source must let them too.
	Windows []WindowConfig `yaml:"windows"`
}

// Runtime names what runs the pods.
type Runtime string

// The runtimes a configuration may name.
const (
	RuntimeAuto      Runtime = "auto"
	RuntimeDocker    Runtime = "docker"
	RuntimeEmbedded  Runtime = "embedded"
	RuntimeSimulated Runtime = "simulated"
)

// Bounds of what a configuration may say.
const (
	minInterval   = time.Second
	maxConfigSize = 1 << 20
	maxImport     = 1000
)

// DefaultListen is where a service listens that is not told otherwise.
const DefaultListen = "127.0.0.1:7443"

// DefaultConfig returns the configuration of an empty file.
func DefaultConfig() Config {
	return Config{
		Writes: WritesRefuse, MaxRollouts: 10, Limits: DefaultLimits(), Runtime: RuntimeAuto, Listen: DefaultListen,
		Services: ServicesConfig{Listen: "127.0.0.1", Range: DefaultRange}, PodRange: DefaultPodRange,
	}
}

// DefaultSource returns what a source gets for the keys it leaves out. Name, URL and Apps have no default.
func DefaultSource() SourceConfig {
	return SourceConfig{Branch: "main", Interval: 15 * time.Second, Verify: Verify{Mode: VerifyNone}, Import: 50}
}

// DefaultApp returns what an app gets for the keys it leaves out. Name has no default.
func DefaultApp() AppConfig {
	return AppConfig{Namespace: "default", Prune: true, OnFailure: rollback.FailureNone}
}

//go:embed belay.yaml
var annotated string

// AnnotatedConfig returns a configuration file that spells out every key with its default and what it means.
func AnnotatedConfig() string { return annotated }

// Flags are the settings of the command line. The zero value of a field means that the flag was not given.
type Flags struct {
	Repo      string // --repo: address of one repository
	Branch    string
	Path      string
	Namespace string
	Interval  time.Duration
	Runtime   string
	Simulate  []string
	Listen    string
	Push      bool // --push: rollbacks are pushed, with what the repository is read with
	Auth      Auth // --user --token-file --ca-file --key-file --known-hosts-file
}

// ReadConfig returns the configuration to serve: of a file, or of one repository given by flags, never of both.
// --runtime replaces what the file says, --simulate adds to it. The result is valid and has a source.
func ReadConfig(file string, f Flags) (Config, error) {
	switch {
	case file == "" && f.Repo == "":
		return Config{}, &hinted{errors.New("nothing to follow"), "name a repository with --repo, or a file with --config (`belay config` prints one)"}
	case file == "":
		return FromFlags(f)
	case f.Repo != "" || f.Branch != "" || f.Path != "" || f.Namespace != "" || f.Interval != 0 || f.Push || f.Auth != (Auth{}):
		return Config{}, &hinted{errors.New("--config and flags about one repository exclude each other"),
			"put the repository into the file, or leave --config out"}
	}
	c, err := LoadConfig(file)
	if err != nil {
		return Config{}, err
	}
	if len(c.Sources) == 0 {
		return Config{}, &hinted{fmt.Errorf("%s: sources: none", file), "add one: `belay config` shows how"}
	}
	if f.Runtime != "" {
		c.Runtime = Runtime(f.Runtime)
	}
	c.Simulate = append(c.Simulate, f.Simulate...)
	c.Listen = orDefault(f.Listen, c.Listen)
	return c, c.Validate()
}

// LoadConfig reads and validates a file; every problem found is in the error, an *InvalidError. Relative local
// paths among the source addresses count from the file's directory and come back absolute.
func LoadConfig(file string) (Config, error) {
	data, err := readLimited(file)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	c, err := parseConfig(file, data)
	if err != nil {
		return Config{}, err
	}
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	if file := c.Webhook.SecretFile; file != "" && !filepath.IsAbs(file) {
		c.Webhook.SecretFile = filepath.Join(dir, file)
	}
	for i := range c.Sources {
		if url := c.Sources[i].URL; isLocalPath(url) && !filepath.IsAbs(url) {
			c.Sources[i].URL = filepath.Join(dir, url)
		}
		for _, files := range []map[string]*string{c.Sources[i].Auth.files(), c.Sources[i].Push.files()} {
			for _, file := range files {
				if *file != "" && !filepath.IsAbs(*file) {
					*file = filepath.Join(dir, *file)
				}
			}
		}
	}
	return c, nil
}

// FromFlags returns the configuration of one repository with one app, named after the repository's address.
// A relative path counts from the working directory.
func FromFlags(f Flags) (Config, error) {
	s, a := DefaultSource(), DefaultApp()
	s.URL = f.Repo
	if isLocalPath(f.Repo) && f.Repo != "" {
		abs, err := filepath.Abs(f.Repo)
		if err != nil {
			return Config{}, fmt.Errorf("--repo: %w", err)
		}
		s.URL = abs
	}
	s.Auth = f.Auth
	if f.Push {
		s.Push = &PushConfig{}
	}
	s.Name = nameOf(s.URL)
	s.Branch = orDefault(f.Branch, s.Branch)
	s.Interval = orDefault(f.Interval, s.Interval)
	a.Name = s.Name
	a.Path = cleanPath(f.Path)
	a.Namespace = orDefault(f.Namespace, a.Namespace)
	s.Apps = []AppConfig{a}

	c := DefaultConfig()
	c.Sources = []SourceConfig{s}
	c.Runtime = orDefault(Runtime(f.Runtime), c.Runtime)
	c.Simulate = f.Simulate
	c.Listen = orDefault(f.Listen, c.Listen)

	problems := c.problems()
	for i, p := range problems {
		problems[i].Key = flagOf(p.Key)
	}
	return c, invalid("", problems)
}

// flagOf names the flag that a key of a one-repository configuration came from.
func flagOf(key string) string {
	last := key[strings.LastIndexByte(key, '.')+1:]
	if strings.HasPrefix(key, "simulate") {
		return "--simulate"
	}
	if last == "url" {
		return "--repo"
	}
	if flag, ok := strings.CutSuffix(last, "File"); ok {
		return "--" + strings.ReplaceAll(flag, "knownHosts", "known-hosts") + "-file"
	}
	return "--" + last
}

// nameOf makes a DNS label of the last element of a repository's address.
func nameOf(url string) string {
	base := strings.TrimRight(filepath.ToSlash(url), "/")
	base = strings.TrimSuffix(base, "/.git")
	base = strings.TrimSuffix(path.Base(base), ".git")
	label := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(base))
	label = strings.Trim(label[:min(len(label), 63)], "-")
	return orDefault(label, "repository")
}

// cleanPath returns p as AppConfig.Path wants it. What leaves the repository stays visible, for Validate to refuse.
func cleanPath(p string) string {
	if p = path.Clean(p); p != "." {
		return p
	}
	return ""
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

func readLimited(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigSize+1))
	if err == nil && len(data) > maxConfigSize {
		err = fmt.Errorf("%s: larger than %d bytes", file, maxConfigSize)
	}
	return data, err
}
