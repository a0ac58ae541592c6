package source

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func TestSSHErrors(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.commit("main", "first", map[string]string{"f": "1"})
	s := serveSSH(t, false)
	dir := t.TempDir()
	other, otherPEM := newSigner(t)
	line := func(key ssh.PublicKey) string {
		return knownhosts.Line([]string{knownhosts.Normalize(s.addr)}, key) + "\n"
	}
	locked := lock(t, filepath.Join(dir, "locked"), otherPEM)
	rows := []struct {
		name, hint string
		edit       func(*Config)
		kind       Kind
	}{
		{"no key", "keyFile", func(c *Config) { c.Auth.KeyFile = "" }, KindAuth},
		{"no such key", "exists", func(c *Config) { c.Auth.KeyFile = filepath.Join(dir, "nope") }, KindAuth},
		{"not a key", "format", func(c *Config) { c.Auth.KeyFile = write(t, filepath.Join(dir, "text"), "text") }, KindAuth},
		{"wrong key", "register", func(c *Config) { c.Auth.KeyFile = write(t, filepath.Join(dir, "other"), string(otherPEM)) }, KindAuth},
		{"passphrase missing", "passphraseFile", func(c *Config) { c.Auth.KeyFile = locked }, KindAuth},
		{"passphrase wrong", "", func(c *Config) {
			c.Auth.KeyFile, c.Auth.PassphraseFile = locked, write(t, filepath.Join(dir, "wrong"), "wrong")
		}, KindAuth},
		{"no known hosts", "belay known-hosts 127.0.0.1", func(c *Config) { c.Auth.KnownHostsFile = "" }, KindHostKey},
		{"no such known hosts", "belay known-hosts 127.0.0.1", func(c *Config) { c.Auth.KnownHostsFile = filepath.Join(dir, "nope") }, KindHostKey},
		{"host unknown", "belay known-hosts 127.0.0.1", func(c *Config) {
			c.Auth.KnownHostsFile = write(t, filepath.Join(dir, "empty"), "")
		}, KindHostKey},
		{"host changed", "somebody may be in between", func(c *Config) {
			c.Auth.KnownHostsFile = write(t, filepath.Join(dir, "changed"), line(other.PublicKey()))
		}, KindHostKey},
		{"host revoked", "", func(c *Config) {
			c.Auth.KnownHostsFile = write(t, filepath.Join(dir, "revoked"), "@revoked "+line(s.host.PublicKey())+line(s.host.PublicKey()))
		}, KindHostKey},
		{"garbage in known hosts", "", func(c *Config) {
			c.Auth.KnownHostsFile = write(t, filepath.Join(dir, "garbage"), "garbage\n")
		}, KindHostKey},
		{"no such repository", "check the address", func(c *Config) { c.URL += "x" }, KindNotFound},
		{"path with a quote", "check the address", func(c *Config) { c.URL += "'$(touch /tmp/owned)" }, KindNotFound},
		{"nobody listens", "", func(c *Config) { c.URL = "ssh://git@127.0.0.1:1/x" }, KindHostKey},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			cfg := s.config(r)
			row.edit(&cfg)
			_, err := openMirror(t, cfg).Poll(t.Context())
			wantKind(t, err, row.kind)
			if e := new(Error); !asError(err, &e) || !strings.Contains(e.Hint, row.hint) {
				t.Errorf("hint %q does not say %q", e.Hint, row.hint)
			}
		})
	}
	t.Run("passphrase", func(t *testing.T) {
		cfg := s.config(r)
		cfg.Timeout = time.Minute // opening a locked key is slow on purpose
		cfg.Auth.KeyFile = lock(t, filepath.Join(dir, "mine"), []byte(must(readFile(s.key))))
		cfg.Auth.PassphraseFile = write(t, filepath.Join(dir, "phrase"), "open sesame\n")
		m := openMirror(t, cfg)
		poll(t, m)
		poll(t, m)
		write(t, cfg.Auth.PassphraseFile, "another")
		_, err := m.Poll(t.Context())
		wantKind(t, err, KindAuth)
	})
}

// lock writes a private key that the words open sesame open, with as little work for it as can be.
func lock(t *testing.T, path string, key []byte) string {
	t.Helper()
	write(t, path, string(key))
	if out, err := exec.Command("ssh-keygen", "-p", "-q", "-a", "1", "-P", "", "-N", "open sesame", "-f", path).CombinedOutput(); err == nil {
		return path
	} else if !errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(must(ssh.ParseRawPrivateKey(key)), "", []byte("open sesame"))
	if err != nil {
		t.Fatal(err)
	}
	return write(t, path, string(pem.EncodeToMemory(block)))
}

func TestSSHSilence(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	host, _ := newSigner(t)
	cfg := &ssh.ServerConfig{NoClientAuth: true, PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
		return &ssh.Permissions{}, nil
	}}
	cfg.AddHostKey(host)
	hang := func(c io.Reader) { _, _ = io.Copy(io.Discard, c) }
	rows := map[string]func(net.Conn){
		"before the banner": func(c net.Conn) { hang(c) },
		"after the banner": func(c net.Conn) {
			_, _ = io.WriteString(c, "SSH-2.0-silent\r\n")
			hang(c)
		},
		"after the handshake": func(c net.Conn) {
			conn, channels, requests, err := ssh.NewServerConn(c, cfg)
			if err != nil {
				return
			}
			go ssh.DiscardRequests(requests)
			for range channels { // never accepted
			}
			_ = conn.Close()
		},
		"after the command": func(c net.Conn) {
			conn, channels, requests, err := ssh.NewServerConn(c, cfg)
			if err != nil {
				return
			}
			go ssh.DiscardRequests(requests)
			for ch := range channels {
				if _, requests, err := ch.Accept(); err == nil {
					go func() {
						for r := range requests {
							_ = r.Reply(true, nil)
						}
					}()
				}
			}
			_ = conn.Close()
		},
	}
	for name, serve := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := listen(t, serve)
			s := serveSSH(t, false)
			cfg := s.config(r)
			cfg.URL = "ssh://git@" + addr + "/x"
			cfg.Timeout = 200 * time.Millisecond
			cfg.Auth.KnownHostsFile = write(t, filepath.Join(t.TempDir(), "known"), knownhosts.Line([]string{knownhosts.Normalize(addr)}, host.PublicKey())+"\n")
			_, err := openMirror(t, cfg).Poll(t.Context())
			wantKind(t, err, KindTimeout)
		})
	}
}

func TestScanHostKeys(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.commit("main", "first", map[string]string{"f": "1"})
	s := serveSSH(t, false)
	keys, err := ScanHostKeys(t.Context(), s.addr, 2*time.Minute)
	if err != nil || len(keys) != 1 || keys[0].Type != ssh.KeyAlgoED25519 || keys[0].Fingerprint != ssh.FingerprintSHA256(s.host.PublicKey()) {
		t.Fatalf("%+v, %v", keys, err)
	}
	cfg := s.config(r)
	cfg.Auth.KnownHostsFile = write(t, filepath.Join(t.TempDir(), "known"), "# reviewed\n"+keys[0].Line+"\n")
	poll(t, openMirror(t, cfg))

	mute := listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	_, err = ScanHostKeys(t.Context(), mute, 100*time.Millisecond)
	wantKind(t, err, KindTimeout)
	_, err = ScanHostKeys(t.Context(), "127.0.0.1:1", time.Second)
	wantKind(t, err, KindNetwork)
}

// A host with several keys shows one that is known, though it would prefer another.
func TestHostWithSeveralKeys(t *testing.T) {
	t.Parallel()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	second, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := newSigner(t)
	r := newRepo(t)
	r.commit("main", "first", map[string]string{"f": "1"})
	s := serveSSH(t, false)
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
		return &ssh.Permissions{}, nil
	}}
	cfg.AddHostKey(first)
	cfg.AddHostKey(second)
	addr := listen(t, func(c net.Conn) { s.serve(c, cfg) })
	for _, key := range []ssh.PublicKey{first.PublicKey(), second.PublicKey()} {
		c := s.config(r)
		c.URL = "ssh://git@" + addr + r.dir
		c.Auth.KnownHostsFile = write(t, filepath.Join(t.TempDir(), "known"), knownhosts.Line([]string{knownhosts.Normalize(addr)}, key)+"\n")
		poll(t, openMirror(t, c))
	}
}
