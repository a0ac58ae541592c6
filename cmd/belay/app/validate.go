package app

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/belay-dev/belay/reconciler/node/simulated"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/source/trigger"
)

// Validate returns all that is wrong with c as one *InvalidError, or nil. No sources is valid.
func (c Config) Validate() error { return invalid("", c.problems()) }

func (c Config) problems() []Problem {
	var v validator
	names := map[string]string{}
	for i, s := range c.Sources {
		at := fmt.Sprintf("sources[%d]", i)
		v.name(at+".name", s.Name, names)
		v.source(at, s)
	}
	if c.Writes != WritesRefuse && c.Writes != WritesGit {
		v.add("writes", "unknown value %q: there are refuse and git", c.Writes)
	}
	if c.MaxRollouts < 0 {
		v.add("maxRollouts", "must not be negative: 0 means no limit")
	}
	v.limits(c.Limits)
	v.runtime(c.Runtime)
	for i, p := range c.HostPaths {
		if !filepath.IsAbs(p) || filepath.Clean(p) != p {
			v.add(fmt.Sprintf("hostPaths[%d]", i), "%q is not an absolute path without . and ..", p)
		}
	}
	for i, value := range c.Simulate {
		if _, err := simulated.Parse([]string{value}); err != nil {
			v.add(fmt.Sprintf("simulate[%d]", i), "%s", strings.TrimPrefix(err.Error(), "simulate "))
		}
	}
	v.listen("listen", c.Listen)
	v.webhook(c.Webhook)
	v.services(c.Services)
	v.podRange(c)
	return v.problems
}

// onFailure checks what happens by itself when a rollout fails.
func (v *validator) onFailure(at string, a AppConfig, push bool) {
	switch f := a.OnFailure; {
	case f != "" && f != rollback.FailureNone && f != rollback.FailureHold && f != rollback.FailureRollback:
		v.add(at+".onFailure", "want none, hold or rollback, not %q", f)
	case f == rollback.FailureRollback && !push:
		v.add(at+".onFailure", "rollback needs the source's push")
		v.hint("give the source a key push, or take hold")
	case a.AutoPush && f != rollback.FailureRollback:
		v.add(at+".autoPush", "is for onFailure: rollback alone")
	}
}

func (v *validator) listen(key, address string) {
	if address == "" {
		return
	}
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		v.add(key, "%q is not host:port", address)
		v.hint("for example 127.0.0.1:7443")
	}
}

// validator collects problems; it knows keys, not lines.
type validator struct{ problems []Problem }

func (v *validator) add(key, format string, args ...any) {
	v.problems = append(v.problems, Problem{Key: key, Message: fmt.Sprintf(format, args...)})
}

func (v *validator) hint(hint string) { v.problems[len(v.problems)-1].Hint = hint }

func (v *validator) source(at string, s SourceConfig) {
	v.url(at+".url", s.URL)
	v.branch(at+".branch", s.Branch)
	v.auth(at+".auth", s.URL, s.Auth)
	if s.Push != nil && s.Push.auth() != (Auth{}) {
		v.auth(at+".push", s.URL, s.Push.auth())
	}
	if s.Interval < minInterval {
		v.add(at+".interval", "must be at least %s", minInterval)
	}
	if s.Schedule != "" {
		v.schedule(at+".schedule", s.Schedule)
		if s.Interval != DefaultSource().Interval {
			v.add(at+".interval", "has no meaning beside schedule: leave one of them out")
		}
	}
	if s.Import < 0 || s.Import > maxImport {
		v.add(at+".import", "must be 0 (none) to %d", maxImport)
	}
	if s.Verify.Mode != VerifyNone {
		v.add(at+".verify.mode", "unknown mode %q: only none exists", s.Verify.Mode)
		v.hint("signatures are not checked yet: do not rely on them")
	}
	if len(s.Apps) == 0 {
		v.add(at+".apps", "none: a source needs at least one")
	}
	v.windows(at, s.Windows)
	names, paths := map[string]string{}, map[[2]string]string{}
	for i, a := range s.Apps {
		at := fmt.Sprintf("%s.apps[%d]", at, i)
		v.name(at+".name", a.Name, names)
		v.path(at+".path", a.Path)
		v.label(at+".namespace", a.Namespace)
		v.windows(at, a.Windows)
		v.onFailure(at, a, s.Push != nil)
		where := [2]string{a.Path, a.Namespace}
		if first, taken := paths[where]; taken {
			v.add(at+".path", "same path and namespace as %s", first)
		} else {
			paths[where] = at
		}
	}
}

// schedule checks a cron expression.
func (v *validator) schedule(key, text string) {
	if _, err := trigger.ParseSchedule(text); err != nil {
		v.add(key, "%q: %v", text, err)
		v.hint(`five cron fields, a zone before them: "CRON_TZ=Europe/Madrid 0 18 * * FRI"`)
	}
}

// name checks a name and that taken (name → key) does not have it yet.
func (v *validator) name(key, name string, taken map[string]string) {
	if !v.label(key, name) {
		return
	}
	if first, again := taken[name]; again {
		v.add(key, "%q is taken by %s", name, first)
		return
	}
	taken[name] = strings.TrimSuffix(key, ".name")
}

// label checks for a DNS label, which is what names and namespaces are.
func (v *validator) label(key, name string) bool {
	if name == "" {
		v.add(key, "required")
		return false
	}
	if len(validation.IsDNS1123Label(name)) > 0 {
		v.add(key, "%q is not a DNS label: at most 63 of a-z, 0-9 and -, a letter or digit first and last", name)
		return false
	}
	return true
}

// path checks a path that cleanPath has cleaned, or that was set in code.
func (v *validator) path(key, p string) {
	switch {
	case path.IsAbs(p):
		v.add(key, "must be relative to the root of the repository, not %q", p)
	case p == ".." || strings.HasPrefix(p, "../"):
		v.add(key, "%q leaves the repository", p)
	case p != cleanPath(p):
		v.add(key, "%q is not clean: write %q", p, cleanPath(p))
	case strings.ContainsFunc(p, unicode.IsControl):
		v.add(key, "%q has control characters", p)
	}
}

var (
	badBranch = regexp.MustCompile(`[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|^[-/.]|[/.]$|^@$`)
	scpLike   = regexp.MustCompile(`^[^/]*:`)
)

// branch applies git's rules for the name of a branch.
func (v *validator) branch(key, branch string) {
	switch {
	case branch == "":
		v.add(key, "required")
	case strings.HasPrefix(branch, "refs/"):
		v.add(key, "want the short name of a branch, such as main, not %q", branch)
	case badBranch.MatchString(branch):
		v.add(key, "%q cannot be the name of a branch", branch)
	}
}

// url checks an address of a repository. What it says never repeats the address: it may hold a secret.
func (v *validator) url(key, address string) {
	if address == "" {
		v.add(key, "required")
		return
	}
	if strings.ContainsFunc(address, unicode.IsControl) {
		v.add(key, "has control characters")
		return
	}
	if hasCredentials(address) {
		v.add(key, "has credentials inside")
		v.hint("take user, password or token out of the address: it is shown in status and logs")
		return
	}
	if isLocalPath(address) {
		if strings.HasPrefix(address, "~") {
			v.add(key, "~ is not expanded here: write the whole path")
		}
		return
	}
	if scheme, _, isURL := strings.Cut(address, "://"); isURL { // else user@host:path
		v.scheme(key, scheme, address)
	}
}

// scheme checks an address by the rules of its scheme.
func (v *validator) scheme(key, scheme, address string) {
	u, err := url.Parse(address)
	switch {
	case err != nil || !plainKey.MatchString(scheme):
		v.add(key, "not an address of a repository")
	case scheme == "https", scheme == "http", scheme == "ssh":
		if u.Host == "" || u.Path == "" {
			v.add(key, "want a host and a path, as in %s://git.example.com/shop.git", scheme)
		}
	case scheme != "file":
		v.add(key, "%s:// is not supported", scheme)
		v.hint("use https://, http://, ssh://, user@host:path, file:// or a local path")
	case u.Host != "" && u.Host != "localhost", !filepath.IsAbs(u.Path):
		v.add(key, "want file:// and an absolute path, as in file:///srv/git/shop.git")
	case u.RawQuery != "" || u.Fragment != "":
		v.add(key, "must not have ? or #")
	}
}

// isLocalPath says whether an address is a path of this machine, by git's rule: a colon before the first slash
// makes it a URL or host:path.
func isLocalPath(address string) bool { return !scpLike.MatchString(address) }

// hasCredentials finds a user with a password, a lone token in place of a user, and tokens in a query. The bare user
// of ssh is an account, not a secret.
func hasCredentials(address string) bool {
	if isLocalPath(address) {
		return false
	}
	scheme, rest, isURL := strings.Cut(address, "://")
	if !isURL {
		user, _, found := strings.Cut(address, "@")
		return found && strings.Contains(user, ":")
	}
	if scheme != "file" && strings.Contains(rest, "?") {
		return true
	}
	authority, _, _ := strings.Cut(rest, "/")
	at := strings.LastIndexByte(authority, '@')
	if at < 0 {
		return false
	}
	return !strings.HasSuffix(scheme, "ssh") || strings.Contains(authority[:at], ":")
}

func (v *validator) runtime(r Runtime) {
	switch r {
	case RuntimeAuto, RuntimeDocker, RuntimeEmbedded, RuntimeSimulated:
	default:
		v.add("runtime", "unknown runtime %q: want auto, docker, embedded or simulated", string(r))
	}
}
