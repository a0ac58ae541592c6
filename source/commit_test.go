package source

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing"
)

const zeros = "0000000000000000000000000000000000000000"

func parse(t testing.TB, text string) Commit {
	t.Helper()
	raw, err := parseCommit(plumbing.ZeroHash, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return raw.clean(plumbing.ZeroHash)
}

func object(author, message string) string {
	return "tree " + strings.Repeat("1", 40) + "\n" + author + "\n" + message
}

func TestCommitText(t *testing.T) {
	t.Parallel()
	author := "author A <a@b> 1700000000 +0100\ncommitter A <a@b> 1700000000 +0100\n"
	sha := strings.Repeat("ab", 20)
	rows := []struct {
		name, text, subject, cause string
		reverts                    int
	}{
		{"plain", object(author, "Bump web\n\nbody\n"), "Bump web", "Bump web", 0},
		{"wrapped subject", object(author, "Bump\nweb\n\nbody\n"), "Bump web", "Bump web", 0},
		{"leading blank lines", object(author, "\n\n  Bump web\n"), "Bump web", "Bump web", 0},
		{"no message", object(author, ""), "", "", 0},
		{"blank message", object(author, "\n \n\t\n"), "", "", 0},
		{"control characters", object(author, "a\x00b\x1b[31mc\x07\x7f\u0085\td\n"), "ab[31mc d", "ab[31mc d", 0},
		{"latin1 undeclared", object(author, "caf\xe9\n"), "caf\uFFFD", "caf\uFFFD", 0},
		{"latin1 declared", object(author+"encoding ISO-8859-1\n", "caf\xe9\n"), "café", "café", 0},
		{"right-to-left override", object(author, "a\u202eb\u2066c\n"), "abc", "abc", 0},
		{"yaml in the message", object(author, "---\nkind: Deployment\n"), "--- kind: Deployment", "--- kind: Deployment", 0},
		{"revert", object(author, "Revert \"x\"\n\nThis reverts commit "+sha+".\n"), "Revert \"x\"", "Revert \"x\"", 1},
		{"revert of a merge", object(author, "Revert\n\nThis reverts commit "+sha+", reversing\nchanges made to "+sha+".\n"), "Revert", "Revert", 1},
		{"revert twice named", object(author, "R\n\nThis reverts commit "+sha+".\nThis reverts commit "+sha+".\n"), "R", "R", 1},
		{"quoted revert", object(author, "R\n\n> This reverts commit "+sha+".\n"), "R", "R", 0},
		{"revert of no hash", object(author, "R\n\nThis reverts commit "+sha[:12]+".\n"), "R", "R", 0},
		{"revert of a longer word", object(author, "R\n\nThis reverts commit "+sha+"ff.\n"), "R", "R", 0},
		{"revert in the last bytes", object(author, "This reverts commit "+sha), "This reverts commit " + sha, "This reverts commit " + sha, 1},
		{"merge", object("parent "+zeros+"\nparent "+zeros+"\n"+author, "Merge x\n\nBump web\nmore\n"), "Merge x", "Merge x: Bump web", 0},
		{"merge without body", object("parent "+zeros+"\nparent "+zeros+"\n"+author, "Merge x\n"), "Merge x", "Merge x", 0},
		{"signature in the header", object(author+"gpgsig -----BEGIN-----\n \n abc\n -----END-----\n", "Signed\n"), "Signed", "Signed", 0},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got := parse(t, row.text)
			if got.Subject != row.subject || got.Cause != row.cause || len(got.Reverts) != row.reverts {
				t.Errorf("got %q, %q, %v\nwant %q, %q, %d", got.Subject, got.Cause, got.Reverts, row.subject, row.cause, row.reverts)
			}
		})
	}
}

func TestCommitPeople(t *testing.T) {
	t.Parallel()
	rows := []struct{ line, name, email, at string }{
		{"author Ada L <ada@x> 1700000000 +0100", "Ada L", "ada@x", "2023-11-14T22:13:20Z"},
		{"author  <> 1700000000 +0000", "", "", "2023-11-14T22:13:20Z"},
		{"author Ada", "Ada", "", "0001-01-01T00:00:00Z"},
		{"author Ada <ada@x>", "Ada", "ada@x", "0001-01-01T00:00:00Z"},
		{"author Ada <ada@x> 0 +0000", "Ada", "ada@x", "0001-01-01T00:00:00Z"},
		{"author Ada <ada@x> -5 +0000", "Ada", "ada@x", "0001-01-01T00:00:00Z"},
		{"author Ada <ada@x> 99999999999999999999 +0000", "Ada", "ada@x", "0001-01-01T00:00:00Z"},
		{"author Ada <ada@x> 253402300800 +0000", "Ada", "ada@x", "0001-01-01T00:00:00Z"},
		{"author Ada <ada@x> soon +0000", "Ada", "ada@x", "0001-01-01T00:00:00Z"},
		{"author A\x1bda <a\x00da@x> 1 +9999", "Ada", "ada@x", "1970-01-01T00:00:01Z"},
		{"x y", "", "", "0001-01-01T00:00:00Z"},
	}
	for _, row := range rows {
		got := parse(t, object(row.line+"\n", "m"))
		if at := got.AuthoredAt.Format("2006-01-02T15:04:05Z07:00"); got.Author != row.name || got.Email != row.email || at != row.at {
			t.Errorf("%q: got %q, %q, %s", row.line, got.Author, got.Email, at)
		}
		if _, err := got.AuthoredAt.MarshalJSON(); err != nil {
			t.Errorf("%q: %v", row.line, err)
		}
	}
}

func TestHugeMessageIsBounded(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	h := r.commit("main", strings.Repeat("é\x1b", 350_000)+"\n\nThis reverts commit "+strings.Repeat("a", 40)+".", map[string]string{"f": "x"})
	m := r.mirror()
	poll(t, m)
	c, err := snapshot(t, m).Commit(h)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Cause) > causeBytes || !utf8.ValidString(c.Cause) || !strings.HasSuffix(c.Cause, "é…") || len(c.Reverts) != 1 {
		t.Fatalf("cause of %d bytes, %d reverts", len(c.Cause), len(c.Reverts))
	}
}

func TestMalformedCommits(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "\n", "tree\n\nx", "tree 123\n\n", "author a\ntree " + strings.Repeat("1", 40) + "\n\n", "tree " + strings.Repeat("1", 40) + "\nparent x\n\n"} {
		if _, err := parseCommit(plumbing.ZeroHash, []byte(text)); KindOf(err) != KindMalformed {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzCommitText(f *testing.F) {
	f.Add(object("author A <a@b> 1 +0000\n", "Merge\n\nbody"))
	f.Add(object("parent "+zeros+"\nparent "+zeros+"\nencoding latin1\n", "\xff\x00\u202e\n\n\nThis reverts commit "+zeros))
	f.Fuzz(func(t *testing.T, text string) {
		raw, err := parseCommit(plumbing.ZeroHash, []byte(text))
		if err != nil {
			return
		}
		c := raw.clean(plumbing.ZeroHash)
		for _, s := range []string{c.Subject, c.Cause, c.Author, c.Email} {
			if !utf8.ValidString(s) || len(s) > causeBytes || strings.ContainsFunc(s, unicode.IsControl) {
				t.Fatalf("unclean text %q", s)
			}
		}
		if _, err := fmt.Fprint(nopWriter{}, c.AuthoredAt.Year()); err != nil || c.AuthoredAt.Year() > 9999 {
			t.Fatal(c.AuthoredAt)
		}
	})
}

type nopWriter struct{}

func (nopWriter) Write(p []byte) (int, error) { return len(p), nil }
