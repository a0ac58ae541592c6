package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// repo is a real repository made with the git binary.
type repo struct {
	t   testing.TB
	dir string // Git directory or working tree
	n   int
}

func needGit(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("REQUIRE_GIT") != "" {
			t.Fatal("git is not installed")
		}
		t.Skip("the git binary is not installed: the test repositories are made with it")
	}
}

// newRepo makes an empty bare repository whose HEAD is main.
func newRepo(t testing.TB) *repo {
	t.Helper()
	needGit(t)
	r := &repo{t: t, dir: filepath.Join(t.TempDir(), "remote.git")}
	r.git("", "init", "-q", "--bare", "-b", "main", r.dir)
	return r
}

func gitEnv() []string {
	return append(os.Environ(),
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada",
		"GIT_COMMITTER_EMAIL=ada@example.com", "GIT_AUTHOR_DATE=1700000000 +0000", "GIT_COMMITTER_DATE=1700000000 +0000")
}

// git runs git with input on its standard input and returns its output, trimmed.
func (r *repo) git(input string, args ...string) string {
	r.t.Helper()
	out, err := r.tryGit(input, args...)
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (r *repo) tryGit(input string, args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	if _, err := os.Stat(r.dir); err == nil {
		cmd.Dir = r.dir
	}
	cmd.Env = gitEnv()
	cmd.Stdin = strings.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String() + errs.String(), err
	}
	return strings.TrimSpace(out.String()), nil
}

// commit adds a commit to a branch with the given message, parents and files; an empty content deletes the file.
// Without parents it follows the branch.
func (r *repo) commit(branch, message string, files map[string]string, parents ...Hash) Hash {
	r.t.Helper()
	r.n++
	var in strings.Builder
	fmt.Fprintf(&in, "commit refs/heads/%s\nmark :1\nauthor Ada <ada@example.com> %d +0000\ncommitter Ada <ada@example.com> %d +0000\ndata %d\n%s\n",
		branch, 1700000000+r.n, 1700000000+r.n, len(message), message)
	tip, err := r.tryGit("", "rev-parse", "-q", "--verify", "refs/heads/"+branch)
	switch {
	case len(parents) > 0:
		fmt.Fprintf(&in, "from %s\n", parents[0])
		for _, p := range parents[1:] {
			fmt.Fprintf(&in, "merge %s\n", p)
		}
	case err == nil:
		fmt.Fprintf(&in, "from %s\n", tip)
	}
	for name, content := range files {
		if content == "" {
			fmt.Fprintf(&in, "D %s\n", name)
			continue
		}
		fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n%s\n", name, len(content), content)
	}
	in.WriteString("done\n")
	r.git(in.String(), "fast-import", "--quiet", "--force", "--done")
	return Hash(r.git("", "rev-parse", "refs/heads/"+branch))
}

// object writes an object as it is, however wrong.
func (r *repo) object(kind, content string) string {
	r.t.Helper()
	return r.git(content, "hash-object", "-t", kind, "-w", "--stdin", "--literally")
}

// point moves a branch.
func (r *repo) point(branch string, h Hash) {
	r.t.Helper()
	r.git("", "update-ref", "refs/heads/"+branch, string(h))
}

func (r *repo) config() Config {
	return Config{Name: "test", URL: r.dir, Branch: "main", Dir: filepath.Join(r.t.TempDir(), "mirror")}
}

// mirror opens a mirror of the repository's branch main.
func (r *repo) mirror() *Mirror {
	r.t.Helper()
	return openMirror(r.t, r.config())
}

func openMirror(t testing.TB, cfg Config) *Mirror {
	t.Helper()
	m, err := Open(testContext(t), cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	return t.Context()
}

func poll(t testing.TB, m *Mirror) Head {
	t.Helper()
	head, err := m.Poll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return head
}

func snapshot(t testing.TB, m *Mirror) *Snapshot {
	t.Helper()
	s, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func wantKind(t testing.TB, err error, want Kind) {
	t.Helper()
	if KindOf(err) != want {
		t.Fatalf("error %v is of kind %q, want %q", err, KindOf(err), want)
	}
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

func asError(err error, e **Error) bool { return errors.As(err, e) }

var nopLog = zerolog.Nop()
