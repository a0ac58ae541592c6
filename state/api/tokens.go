package api

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/belay-dev/belay/state"
)

// token is one line of the tokens file.
type token struct {
	role       Role
	name       string
	secret     string
	namespaces []string // empty: all
}

// is compares in a time that does not tell how much of it is right.
func (t token) is(shown string) bool {
	a, b := sha256.Sum256([]byte(t.secret)), sha256.Sum256([]byte(shown))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

func (t token) user() user.Info {
	u := &user.DefaultInfo{Name: t.name, Groups: []string{groupPrefix + string(t.role), user.AllAuthenticated}}
	if len(t.namespaces) > 0 {
		u.Extra = map[string][]string{namespacesKey: t.namespaces}
	}
	return u
}

const tokensHead = `# Who may use the Kubernetes API: role (view, rollback or edit), name, token, and, where the token is not for all of
# them, namespaces with commas between. Read again when it changes.
`

// openTokens reads the tokens file, or makes one with a token of each role.
func openTokens(files state.Files, name string) ([]token, error) {
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		var text strings.Builder
		text.WriteString(tokensHead)
		for _, role := range roles {
			fmt.Fprintf(&text, "%s %s %s\n", role, role, rand.Text())
		}
		if err := files.Replace(FileTokens, name, []byte(text.String())); err != nil {
			return nil, fmt.Errorf("make tokens: %w", err)
		}
	}
	return readTokens(name)
}

// readTokens reads the tokens file. Nobody else may read it.
func readTokens(name string) ([]token, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("read tokens: others may read %s: chmod 600 it", name)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	tokens, err := parseTokens(string(data))
	if err != nil {
		return nil, fmt.Errorf("read tokens: %s:%w", name, err)
	}
	return tokens, nil
}

// minToken is how long a token must be.
const minToken = 16

func parseTokens(text string) ([]token, error) {
	var tokens []token
	for n, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		fail := func(why string) ([]token, error) { return nil, fmt.Errorf("%d: %s", n+1, why) } // never the line itself
		if len(fields) < 3 || len(fields) > 4 {
			return fail("want role, name, token and namespaces")
		}
		t := token{role: Role(fields[0]), name: fields[1], secret: fields[2]}
		switch {
		case !slices.Contains(roles, t.role):
			return fail("no such role")
		case len(t.secret) < minToken:
			return fail(fmt.Sprintf("a token has %d characters or more", minToken))
		case slices.ContainsFunc(tokens, func(o token) bool { return o.is(t.secret) }):
			return fail("the token is there already")
		}
		if len(fields) == 4 {
			t.namespaces = strings.Split(fields[3], ",")
		}
		tokens = append(tokens, t)
	}
	return tokens, nil
}
