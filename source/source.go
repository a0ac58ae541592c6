package source

import (
	"strings"
	"time"
)

// Hash names one Git object: 40 lower-case hexadecimal digits, or "" for none.
type Hash string

// Short returns the seven digits people read, or the whole of a shorter hash.
func (h Hash) Short() string {
	if len(h) <= 7 {
		return string(h)
	}
	return string(h[:7])
}

// Head is the newest commit of the branch that the mirror holds.
type Head struct {
	Commit Hash
	// At is when the remote was last seen to have it.
	At time.Time
	// Changed tells that the poll which returned this Head moved it.
	Changed bool
}

// Limits bound what a repository may cost. A zero field takes its default.
type Limits struct {
	// PackBytes is the largest pack one fetch may bring.
	PackBytes int64
	// InflatedBytes is the sum of the sizes of all objects that one fetch may bring.
	InflatedBytes int64
	// ObjectBytes is the largest commit, directory, or file stored as a difference to another, that a fetch may bring:
	// what has to be held in memory. A file that is stored whole is bounded by InflatedBytes alone.
	ObjectBytes int64
	// BlobBytes is the largest file that ReadFile returns.
	BlobBytes int64
	// Entries is the largest number of directory entries read from the tree of one commit.
	Entries int
	// Depth is the largest number of components of a path.
	Depth int
}

// DefaultLimits returns the limits that hold when none are configured.
func DefaultLimits() Limits {
	return Limits{PackBytes: 2 << 30, InflatedBytes: 512 << 30, ObjectBytes: 256 << 20, BlobBytes: 16 << 20, Entries: 500_000, Depth: 64}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	if l.PackBytes <= 0 {
		l.PackBytes = d.PackBytes
	}
	if l.InflatedBytes <= 0 {
		l.InflatedBytes = d.InflatedBytes
	}
	if l.ObjectBytes <= 0 {
		l.ObjectBytes = d.ObjectBytes
	}
	if l.BlobBytes <= 0 {
		l.BlobBytes = d.BlobBytes
	}
	if l.Entries <= 0 {
		l.Entries = d.Entries
	}
	if l.Depth <= 0 {
		l.Depth = d.Depth
	}
	return l
}

// Config says which repository is mirrored, where, and which of its branches first.
type Config struct {
	// Name is the source's name, for messages.
	Name string
	// URL is a local path or an address: file, http, https, ssh, or user@host:path. It holds no credentials.
	URL string
	// Branch is the branch's name without refs/heads/.
	Branch string
	// Dir is the directory of the mirror. The mirror owns it, and Dir.new and Dir.bad beside it.
	Dir string
	// Auth is what a remote is shown.
	Auth Auth
	// Limits bound the repository.
	Limits Limits
	// Timeout bounds each step of talking to a remote and every silence; FetchTimeout one whole fetch. Zero takes 30
	// seconds and 30 minutes.
	Timeout, FetchTimeout time.Duration
	// Progress, when not nil, is told how a fetch over the network goes on. It is called often and must not block.
	Progress func(Progress)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Points, when not nil, is told before and after each step that makes something durable.
	Points func(p Point, done bool)
}

func (c Config) points() points { return c.Points }

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	if c.FetchTimeout <= 0 {
		c.FetchTimeout = 30 * time.Minute
	}
	c.Limits = c.Limits.withDefaults()
	return c
}

func (c Config) validate() error {
	fail := func(text, hint string) error {
		return &Error{Kind: KindInvalid, Op: "open source", Subject: c.Name, Err: errorText(text), Hint: hint}
	}
	switch {
	case c.URL == "":
		return fail("no repository address", "set url, or --repo")
	case c.Dir == "":
		return fail("no mirror directory", "")
	case !validBranch(c.Branch):
		return invalidBranch(c.Name, c.Branch)
	}
	return nil
}

func invalidBranch(source, branch string) error {
	return &Error{
		Kind: KindInvalid, Op: "open source", Subject: source, Err: errorText("invalid branch name " + quote(branch)),
		Hint: "give the branch's name without refs/heads/, such as main",
	}
}

// validBranch follows the rules of git-check-ref-format for the part below refs/heads/.
func validBranch(name string) bool {
	if name == "" || name == "@" || strings.HasPrefix(name, "-") || strings.HasSuffix(name, ".") || len(name) > 255 {
		return false
	}
	if strings.Contains(name, "..") || strings.Contains(name, "@{") || strings.ContainsFunc(name, notInBranch) {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return true
}

func notInBranch(r rune) bool {
	return r < 0x20 || r == 0x7f || r == '\uFFFD' || strings.ContainsRune(" ~^:?*[\\", r)
}

func branchRef(branch string) string { return "refs/heads/" + branch }
