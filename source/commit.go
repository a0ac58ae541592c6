package source

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing"
)

const (
	causeBytes  = 1 << 10 // cap of subject and cause
	personBytes = 256     // cap of names and addresses of people
	maxReverts  = 100
)

// Commit is one commit as people read it. All text is valid UTF-8 without control characters and bounded.
type Commit struct {
	Hash    Hash
	Parents []Hash
	// Author and Email name the author; both may be empty.
	Author, Email string
	// AuthoredAt and CommittedAt are UTC, and zero when the commit carries no sensible date. Order commits by
	// their place in history, never by these.
	AuthoredAt, CommittedAt time.Time
	// Subject is the first paragraph of the message in one line.
	Subject string
	// Cause is the change-cause: the subject, and for a merge also the first line of the body.
	Cause string
	// Reverts are the commits that the message says it reverts, in the order named.
	Reverts []Hash
	// Releases are the values of its trailers Belay-Release, in the order named: at most a hundred words.
	Releases []string
}

// rawCommit is a commit as Git stores it, cut at its seams.
type rawCommit struct {
	tree              plumbing.Hash
	parents           []plumbing.Hash
	author, committer []byte
	encoding          string
	message           []byte
}

// parseCommit cuts a commit object. Only the tree and the parents must be well-formed.
func parseCommit(h plumbing.Hash, data []byte) (rawCommit, error) {
	var c rawCommit
	bad := func(what string) (rawCommit, error) {
		return rawCommit{}, fmt.Errorf("%w: commit %s: %s", errMalformed, h, what)
	}
	rest := data
	for first := true; len(rest) > 0; first = false {
		line, tail, _ := bytes.Cut(rest, []byte{'\n'})
		rest = tail
		if len(line) == 0 {
			c.message = rest
			break
		}
		key, value, _ := bytes.Cut(line, []byte{' '})
		if first && string(key) != "tree" {
			return bad("no tree")
		}
		switch string(key) {
		case "tree", "parent":
			id, err := toGit(Hash(value))
			if err != nil {
				return bad("bad " + string(key))
			}
			if first {
				c.tree = id
			} else {
				c.parents = append(c.parents, id)
			}
		case "author":
			c.author = value
		case "committer":
			c.committer = value
		case "encoding":
			c.encoding = string(value)
		}
	}
	if c.tree.IsZero() {
		return bad("no tree")
	}
	return c, nil
}

func (c rawCommit) clean(h plumbing.Hash) Commit {
	out := Commit{Hash: fromGit(h)}
	for _, p := range c.parents {
		out.Parents = append(out.Parents, fromGit(p))
	}
	out.Author, out.Email, out.AuthoredAt = c.person(c.author)
	_, _, out.CommittedAt = c.person(c.committer)
	subject, body := splitMessage(c.message)
	out.Subject = c.text(subject, causeBytes)
	out.Cause = out.Subject
	if len(c.parents) > 1 {
		if line := c.text(body, causeBytes); line != "" {
			out.Cause = truncate(out.Subject+": "+line, causeBytes)
		}
	}
	out.Reverts = parseReverts(c.message)
	out.Releases = parseTrailer(c.message, "Belay-Release")
	return out
}

// splitMessage returns the first paragraph of a message, and the first line of the next one.
func splitMessage(message []byte) (subject, body []byte) {
	m := bytes.TrimLeft(message, " \t\r\n")
	var lines int
	for rest := m; ; lines++ {
		line, tail, more := bytes.Cut(rest, []byte{'\n'})
		if len(bytes.TrimSpace(line)) == 0 {
			subject, body = m[:len(m)-len(rest)], tail
			break
		}
		if !more {
			return m, nil
		}
		rest = tail
	}
	body = bytes.TrimLeft(body, " \t\r\n")
	body, _, _ = bytes.Cut(body, []byte{'\n'})
	return subject, body
}

// person cuts "Name <address> seconds zone".
func (c rawCommit) person(line []byte) (name, email string, at time.Time) {
	open := bytes.IndexByte(line, '<')
	end := bytes.LastIndexByte(line, '>')
	if open < 0 || end < open {
		return c.text(line, personBytes), "", time.Time{}
	}
	name = c.text(line[:open], personBytes)
	email = c.text(line[open+1:end], personBytes)
	seconds, _, _ := strings.Cut(strings.TrimSpace(string(line[end+1:])), " ")
	n, err := strconv.ParseInt(seconds, 10, 64)
	// Years that RFC 3339 can write; 0 is what broken tools put there.
	if err == nil && n > 0 && n < 253402300800 {
		at = time.Unix(n, 0).UTC()
	}
	return name, email, at
}

// text makes one line of at most limit bytes of untrusted bytes: valid UTF-8, no control characters, blanks
// collapsed.
func (c rawCommit) text(b []byte, limit int) string {
	if len(b) > 8*limit {
		b = b[:8*limit]
	}
	s := string(b)
	switch strings.ToLower(c.encoding) {
	case "iso-8859-1", "iso8859-1", "latin1", "latin-1":
		runes := make([]rune, len(b))
		for i, ch := range b {
			runes[i] = rune(ch)
		}
		s = string(runes)
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r' || r == '\u2028' || r == '\u2029':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\uFEFF':
			return -1
		}
		return r
	}, s)
	return truncate(strings.Join(strings.Fields(s), " "), limit)
}

// truncate cuts s to at most limit bytes between two runes, and shows that it did.
func truncate(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	cut := limit - len("…")
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// parseReverts finds lines that begin with Git's own words for a revert and name a full hash.
func parseReverts(message []byte) []Hash {
	const words = "This reverts commit "
	var out []Hash
	seen := map[Hash]bool{}
	for at := 0; len(out) < maxReverts; {
		i := bytes.Index(message[at:], []byte(words))
		if i < 0 {
			break
		}
		i += at
		at = i + len(words)
		name := message[at:]
		if i > 0 && message[i-1] != '\n' || len(name) < 40 || len(name) > 40 && isWord(name[40]) {
			continue
		}
		h := Hash(bytes.ToLower(name[:40]))
		if _, err := toGit(h); err != nil || seen[h] {
			continue
		}
		seen[h] = true
		out = append(out, h)
	}
	return out
}

// maxTrailer is how long the value of a trailer may be, in bytes.
const maxTrailer = 64

// parseTrailer gives the values of the lines `key: value`, each one word. The key may be written in any case, as in Git.
func parseTrailer(message []byte, key string) []string {
	var out []string
	for line := range bytes.Lines(message) {
		name, value, ok := bytes.Cut(line, []byte{':'})
		value = bytes.TrimSpace(value)
		if !ok || !strings.EqualFold(string(name), key) || len(value) == 0 || len(value) > maxTrailer {
			continue
		}
		if slices.ContainsFunc(value, func(b byte) bool { return !isWord(b) && b != '-' }) {
			continue
		}
		if out = append(out, string(value)); len(out) == maxReverts {
			break
		}
	}
	return out
}

func isWord(b byte) bool {
	return b == '_' || '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}
