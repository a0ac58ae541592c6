package app

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/state"
)

// The secret of webhooks is taken from another file with the next configuration, whatever becomes of their address.
func TestReloadWebhookSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	one, two, none := file("one", "f1rst"), file("two", "s3cond"), file("none", " \n")
	for name, tt := range map[string]struct {
		webhook  WebhookConfig
		secret   string
		problem  string // "": none
		settings string
	}{
		"another file":                {WebhookConfig{Listen: "127.0.0.1:1", SecretFile: two}, "s3cond", "", `["webhook.secretFile"]`},
		"another file and address":    {WebhookConfig{Listen: "127.0.0.1:2", SecretFile: two}, "s3cond", reasonRestart, `["webhook.secretFile"]`},
		"another address":             {WebhookConfig{Listen: "127.0.0.1:2", SecretFile: one}, "f1rst", reasonRestart, ""},
		"no webhooks any more":        {WebhookConfig{}, "f1rst", reasonRestart, ""},
		"a file that holds no secret": {WebhookConfig{Listen: "127.0.0.1:1", SecretFile: none}, "f1rst", reasonRefused, ""},
		"a file that is not there":    {WebhookConfig{Listen: "127.0.0.1:1", SecretFile: none + "x"}, "f1rst", reasonRefused, ""},
		"the same file":               {WebhookConfig{Listen: "127.0.0.1:1", SecretFile: one}, "f1rst", "", ""},
		"another number as well":      {WebhookConfig{Listen: "127.0.0.1:1", SecretFile: two}, "s3cond", "", `["maxRollouts","webhook.secretFile"]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, err := state.OpenMemory(state.Options{Now: time.Now})
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			c := DefaultConfig()
			c.Webhook = WebhookConfig{Listen: "127.0.0.1:1", SecretFile: one}
			var log bytes.Buffer
			a := New(c, t.TempDir(), zerolog.New(&log))
			next := c
			next.Webhook = tt.webhook
			if strings.HasPrefix(name, "another number") {
				next.MaxRollouts++
			}
			a.Reload = Reload{Load: func() (Config, error) { return next, nil }}
			p := a.wire(store, podRuntime{})
			defer func() {
				if err := p.close(); err != nil {
					t.Error(err)
				}
			}()
			wg.Go(func() {
				if err := p.loop.Run(ctx); err != nil {
					t.Error(err)
				}
			})
			defer wg.Wait()
			defer cancel()
			p.reload(ctx, &wg)
			if got, err := p.secret(); got != tt.secret || err != nil {
				t.Errorf("secret %q, %v", got, err)
			}
			reason := ""
			for _, problem := range p.problems() {
				reason = problem.Reason
			}
			if reason != tt.problem {
				t.Errorf("problems %+v, want %q", p.problems(), tt.problem)
			}
			if tt.settings != "" && !strings.Contains(log.String(), `"settings":`+tt.settings) {
				t.Errorf("the log does not name %s:\n%s", tt.settings, log.String())
			}
			if strings.Contains(log.String(), "s3cond") || strings.Contains(log.String(), "f1rst") {
				t.Errorf("a secret is in the log:\n%s", log.String())
			}
		})
	}
}

// What a configuration says of limits holds for what is fetched and read.
func TestLimitsOfTheConfiguration(t *testing.T) {
	t.Parallel()
	manifest := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n"
	var many strings.Builder
	for i := range 200 {
		fmt.Fprintf(&many, "M 644 inline notes/%d.txt\ndata 1\nx\n", i)
	}
	noise := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // what does not deflate
	large := make([]byte, 2<<20)
	for i := range large {
		large[i] = byte(noise.Uint32())
	}
	for name, tt := range map[string]struct {
		limits, files, want string // files as git fast-import reads them
	}{
		"pack":  {"limits: {pack: 1Mi}", fmt.Sprintf("M 644 inline large\ndata %d\n%s\n", len(large), large), "limit is 1048576 bytes"},
		"blob":  {"limits: {blob: 1Ki}", fmt.Sprintf("M 644 inline other.yaml\ndata %d\n%s%s\n", len(manifest)+2004, strings.ReplaceAll(manifest, "web", "other"), "# "+strings.Repeat("x", 2000)), "other.yaml: too large: 2057 bytes, the limit is 1024"},
		"files": {"limits: {files: 100}", many.String(), "too large: more than 100 files"},
		"depth": {"limits: {depth: 4}", "M 644 inline a/b/c/d/e.yaml\ndata 1\n\n\n", "too large: more than 4 directories"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := shopRepository(t)
			cmd := exec.Command("git", "-C", dir, "fast-import", "--quiet")
			cmd.Stdin = strings.NewReader("commit refs/heads/main\ncommitter Ann <ann@example.com> 1700000001 +0000\ndata 3\ntwo\nfrom refs/heads/main^0\n" + tt.files)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, limited := range []bool{false, true} {
				c := shops("file://"+dir, 24*time.Hour)
				if limited {
					c.Limits = mustParse(t, tt.limits).Limits
				}
				f := startFollowing(t, c)
				said := ""
				if err := f.loop.Sync(t.Context(), "shopa", reconciler.SyncOptions{}); err != nil {
					said = err.Error()
				}
				sources, _ := f.loop.Status()
				for _, problem := range sources[0].Problems { // one file, or one root, is wrong: all else goes on
					said += problem.Message
				}
				if !limited && said != "" {
					t.Errorf("with the limits of an empty file: %s", said)
				}
				if limited && !strings.Contains(said, tt.want) {
					t.Errorf("%s: %q, want %q", tt.limits, said, tt.want)
				}
			}
		})
	}
}
