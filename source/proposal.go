package source

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing"
)

// Identity names who makes a commit.
type Identity struct{ Name, Email string }

// DefaultIdentity is whose commits are when none is configured.
func DefaultIdentity() Identity { return Identity{Name: "Belay", Email: "belay@localhost"} }

// Trailer is one line "Key: value" at the end of a commit message.
type Trailer struct{ Key, Value string }

// Text is what a commit says.
type Text struct {
	// Message is the subject and, after an empty line, the body.
	Message string
	// Trailers follow in a paragraph of their own. An empty value leaves its trailer out.
	Trailers []Trailer
	// At is the author's and the committer's time.
	At time.Time
}

// Bounds of a commit's text.
const (
	messageBytes = 64 << 10
	trailerBytes = 1 << 10
)

// Proposal is a commit, made and signed and nowhere but in memory. It outlives its Draft and its Snapshot.
type Proposal struct {
	// Commit is its name; Base is its only parent.
	Commit, Base Hash
	// Subject is the first line of its message.
	Subject string

	id      plumbing.Hash
	tree    plumbing.Hash
	objects *overlay
}

// Commit makes a commit of a draft, with the writer's identity and signature. A draft that changes nothing is an error
// of kind Nothing.
func (w *Writer) Commit(d *Draft, text Text) (*Proposal, error) {
	if d.tree == d.from {
		return nil, &Error{Kind: KindNothing, Op: "commit", Err: errorText("nothing would change: the branch says it already")}
	}
	message, err := text.compose()
	if err != nil {
		return nil, &Error{Kind: KindInvalid, Op: "commit", Err: err}
	}
	push, who := w.push, w.push.identity()
	head := fmt.Sprintf("tree %s\nparent %s\nauthor %s\ncommitter %s\n", d.tree, d.base, who.line(text.At), who.line(text.At))
	payload := head + "\n" + message
	content := payload
	if push.SigningKeyFile != "" {
		key := keyring{auth: Auth{KeyFile: push.SigningKeyFile, PassphraseFile: push.SigningPassphraseFile}}
		signer, err := key.open()
		if err != nil {
			return nil, err
		}
		armour, err := signSSH(signer, []byte(payload))
		if err != nil {
			return nil, &Error{Kind: KindAuth, Op: "sign", Subject: push.SigningKeyFile, Err: err}
		}
		content = head + "gpgsig " + strings.ReplaceAll(strings.TrimSuffix(armour, "\n"), "\n", "\n ") + "\n\n" + message
	}
	id := d.objects.put(plumbing.CommitObject, []byte(content))
	subject, _, _ := strings.Cut(message, "\n")
	return &Proposal{Commit: fromGit(id), Base: d.base, Subject: subject, id: id, tree: d.tree, objects: d.objects}, nil
}

// compose writes the message: no control characters but newlines, no blanks at the ends of lines, one newline at the
// end.
func (t Text) compose() (string, error) {
	if len(t.Message) > messageBytes {
		return "", tooLarge("the message", messageBytes, "bytes")
	}
	lines := strings.Split(strings.ToValidUTF8(t.Message, "\uFFFD"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(strings.Map(dropControl, line), " ")
	}
	message := strings.Trim(strings.Join(lines, "\n"), "\n")
	if message == "" {
		return "", errorText("an empty message")
	}
	message += "\n"
	gap := "\n"
	for _, tr := range t.Trailers {
		if tr.Value == "" {
			continue
		}
		if !validTrailerKey(tr.Key) {
			return "", fmt.Errorf("invalid trailer %s", quote(tr.Key))
		}
		message += gap + tr.Key + ": " + rawCommit{}.text([]byte(tr.Value), trailerBytes) + "\n"
		gap = ""
	}
	return message, nil
}

func validTrailerKey(key string) bool {
	return key != "" && !strings.ContainsFunc(key, func(r rune) bool {
		return r != '-' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	})
}

func dropControl(r rune) rune {
	if r == '\t' {
		return ' '
	}
	if r < 0x20 || r >= 0x7f && r < 0xa0 {
		return -1
	}
	return r
}

// line writes "Name <address> seconds zone". What would break the line is left out.
func (i Identity) line(at time.Time) string {
	clean := func(s string) string {
		s = strings.Map(func(r rune) rune {
			if strings.ContainsRune("<>\n", r) || r == utf8.RuneError {
				return -1
			}
			return dropControl(r)
		}, s)
		return strings.Trim(s, " .,:;\"'")
	}
	return fmt.Sprintf("%s <%s> %d +0000", clean(i.Name), clean(i.Email), max(0, at.Unix()))
}

// parts lists what of the proposal the remote cannot have: the commit, and the new objects of its tree.
func (p *Proposal) parts() []found {
	out := []found{{id: p.id, kind: plumbing.CommitObject}}
	seen := map[plumbing.Hash]bool{}
	var walk func(h plumbing.Hash)
	walk = func(h plumbing.Hash) {
		f, ok := p.objects.get(h)
		if !ok || seen[h] {
			return // it is the snapshot's, with all that is below
		}
		seen[h] = true
		out = append(out, found{id: h, kind: f.kind})
		if f.kind != plumbing.TreeObject {
			return
		}
		_ = eachEntry(h, f.content, func(e rawEntry) error { // written by PutTree
			walk(e.id)
			return nil
		})
	}
	walk(p.tree)
	slices.SortStableFunc(out, func(a, b found) int { return int(a.kind) - int(b.kind) })
	return out
}
