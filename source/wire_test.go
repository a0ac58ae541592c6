package source

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRefNamesOfAServerTouchNothing(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	w := serveHTTP(t, r)
	names := []string{"refs/heads/../../config", "refs/heads/-x", "refs/heads/ünï", "refs/heads/a\x1b[31m", "refs/heads/", "HEAD", "/etc/passwd"}
	w.fault(func(out http.ResponseWriter, _ *http.Request) bool {
		out.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		m := &message{}
		m.line("# service=git-upload-pack")
		m.flush()
		for i, name := range names {
			caps := ""
			if i == 0 {
				caps = "\x00side-band-64k"
			}
			m.line("%s %s%s", strings.Repeat("1", 40), name, caps)
		}
		m.flush()
		_, _ = out.Write(m.Bytes())
		return true
	})
	cfg := w.config(r)
	m := openMirror(t, cfg)
	defer m.Close()
	_, err := m.Poll(t.Context())
	wantKind(t, err, KindBranchGone)
	if e := new(Error); asError(err, &e) && strings.ContainsRune(e.Hint, 0x1b) {
		t.Errorf("control characters in %q", e.Hint)
	}
	for _, name := range []string{"-x", "ünï", "a"} {
		if _, err := os.Stat(filepath.Join(cfg.Dir, "refs", "heads", name)); err == nil {
			t.Errorf("the server made %s", name)
		}
	}
	if text := must(readFile(filepath.Join(cfg.Dir, "config"))); !strings.HasPrefix(text, "[core]") {
		t.Errorf("config is %q", text)
	}
}

func TestGreetings(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("ab", 20)
	pkt := func(lines ...string) string {
		var b strings.Builder
		for _, l := range lines {
			if l == "" {
				b.WriteString("0000")
				continue
			}
			fmt.Fprintf(&b, "%04x%s", len(l)+4, l)
		}
		return b.String()
	}
	rows := []struct {
		name, text, want string
	}{
		{"version 2", pkt("version 2\n", "ls-refs\n", "object-format=sha1\n", ""), "two=true format=true refs=0 shallow=false err=false"},
		{"version 2 behind a service", pkt("# service=git-upload-pack\n", "", "version 2\n", "fetch\n", ""), "two=true format=false refs=0 shallow=false err=false"},
		{"version 1", pkt("version 1\n", id+" HEAD\x00ofs-delta\n", id+" refs/heads/main\n", ""), "two=false format=false refs=2 shallow=false err=false"},
		{"version 0", pkt(id+" HEAD\x00ofs-delta\n", id+" refs/tags/v1\n", id+" refs/tags/v1^{}\n", ""), "two=false format=false refs=2 shallow=false err=false"},
		{"version 0, no newlines", pkt(id+" HEAD\x00ofs-delta", ""), "two=false format=false refs=1 shallow=false err=false"},
		{"empty", pkt(""), "two=false format=false refs=0 shallow=false err=false"},
		{"empty behind a service", pkt("# service=git-upload-pack\n", "", ""), "two=false format=false refs=0 shallow=false err=false"},
		{"empty with capabilities", pkt(strings.Repeat("0", 40)+" capabilities^{}\x00ofs-delta\n", ""), "two=false format=false refs=0 shallow=false err=false"},
		{"shallow", pkt(id+" HEAD\x00ofs-delta\n", "shallow "+id, ""), "two=false format=false refs=1 shallow=true err=false"},
		{"web page", "<html>", "two=false format=false refs=0 shallow=false err=true"},
		{"cut off", pkt(id + " HEAD\x00ofs-delta\n"), "two=false format=false refs=1 shallow=false err=true"},
		{"no hash", pkt("nonsense HEAD\x00x\n", ""), "two=false format=false refs=0 shallow=false err=true"},
		{"no capabilities", pkt(id+" HEAD\n", ""), "two=false format=false refs=0 shallow=false err=true"},
		{"error", pkt("ERR access denied\n"), "two=false format=false refs=0 shallow=false err=true"},
		{"short length", "0003", "two=false format=false refs=0 shallow=false err=true"},
		{"nothing", "", "two=false format=false refs=0 shallow=false err=true"},
	}
	for _, row := range rows {
		g, err := parseGreeting(newPktReader(strings.NewReader(row.text)))
		got := fmt.Sprintf("two=%v format=%v refs=%d shallow=%v err=%v", g.two, g.format, len(g.refs), g.shallow, err != nil)
		if got != row.want {
			t.Errorf("%s: %s, want %s (%v)", row.name, got, row.want, err)
		}
	}
}

func TestServersWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Kind{
		"ERROR: Repository not found.":                                KindNotFound,
		"fatal: '/x' does not appear to be a git repository":          KindNotFound,
		"remote: The project you were looking for could not be found": KindNotFound,
		"upload-pack: not our ref 123":                                KindNetwork,
		"git@host: Permission denied (publickey).":                    KindAuth,
		"access denied or repository not exported":                    KindForbidden,
		"API rate limit exceeded":                                     KindRateLimited,
		"something else":                                              KindServer,
		strings.Repeat("x", 100_000):                                  KindServer,
	} {
		err := serverSays(text)
		if KindOf(err) != want || len(err.Error()) > 400 {
			t.Errorf("%.60q: %s, want %s", text, KindOf(err), want)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte("000eversion 2\n0000000dpackfile\n0009\x01PACK0000"))
	f.Add([]byte("001e# service=git-upload-pack\n00000000"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = parseGreeting(newPktReader(bytes.NewReader(data)))
		_ = demux(newPktReader(bytes.NewReader(data)), io.Discard, func(p Progress) {
			if strings.ContainsFunc(p.Text, func(r rune) bool { return r < 0x20 }) {
				t.Fatalf("control characters in %q", p.Text)
			}
		})
		for _, two := range []bool{true, false} {
			w := &wireRemote{two: two, via: &sshCarrier{}}
			_ = w.toPack(newPktReader(bytes.NewReader(data)))
		}
	})
}
