package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// sshCarrier talks to a Git server over SSH, one connection for each conversation. It dials itself because go-git's
// transport lets no deadline and no cancellation reach the handshake.
type sshCarrier struct {
	service string // uploadPack or receivePack
	to      sshAddress
	auth    Auth
	keys    keyring
	step    time.Duration
}

func (s *sshCarrier) address() string { return s.to.String() }
func (s *sshCarrier) close()          {}

func (s *sshCarrier) open(ctx context.Context) (conversation, error) {
	signer, err := s.keys.open()
	if err != nil {
		return nil, err
	}
	hostPort := net.JoinHostPort(s.to.host, s.to.port)
	check, algorithms, err := s.knownHost(hostPort)
	if err != nil {
		return nil, err
	}
	user := s.auth.User
	if user == "" {
		user = s.to.user
	}
	if user == "" {
		user = "git"
	}
	c, err := dialSSH(ctx, hostPort, s.step, &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: check, HostKeyAlgorithms: algorithms,
	})
	if err != nil {
		return nil, s.failure(err)
	}
	if err := c.start(s.service, s.to.path); err != nil {
		return nil, errors.Join(networkError(err), c.Close())
	}
	return c, nil
}

// failure names the kind of an error of dialing.
func (s *sshCarrier) failure(err error) error {
	var key *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	var own *Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &key) && len(key.Want) > 0:
		return &Error{Kind: KindHostKey, Op: "connect", Subject: s.address(), Err: errorText("the host's key is not the known one"),
			Hint: "somebody may be in between; if the host has a new key, review it with belay known-hosts " + s.to.host + " and replace the old line in " + s.auth.KnownHostsFile}
	case errors.As(err, &key):
		return s.unknownHost()
	case errors.As(err, &revoked):
		return &Error{Kind: KindHostKey, Op: "connect", Subject: s.address(), Err: errorText("the host's key is revoked"), Hint: "see " + s.auth.KnownHostsFile}
	case strings.Contains(err.Error(), "unable to authenticate"):
		return &Error{Kind: KindAuth, Op: "connect", Subject: s.address(), Err: errorText("the host does not accept the key"), Hint: "register the public key of " + s.auth.KeyFile + " there"}
	}
	return networkError(err)
}

func (s *sshCarrier) unknownHost() error {
	return &Error{Kind: KindHostKey, Op: "connect", Subject: s.address(), Err: errorText("the host is not known"),
		Hint: "review its key with belay known-hosts " + s.to.host + " and add the line to the file of knownHostsFile"}
}

// knownHost returns the check of the host's key, and the algorithms of the keys known, so that a host with several keys
// shows one of those.
func (s *sshCarrier) knownHost(hostPort string) (ssh.HostKeyCallback, []string, error) {
	if s.auth.KnownHostsFile == "" {
		return nil, nil, s.unknownHost()
	}
	check, err := knownhosts.New(s.auth.KnownHostsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, s.unknownHost()
	}
	if err != nil {
		return nil, nil, &Error{Kind: KindHostKey, Op: "read known hosts", Subject: s.auth.KnownHostsFile, Err: bare(err)}
	}
	var key *knownhosts.KeyError
	if err := check(hostPort, &net.TCPAddr{IP: net.IPv4zero}, noKey{}); errors.As(err, &key) {
		if len(key.Want) == 0 {
			return nil, nil, s.unknownHost()
		}
	}
	var algorithms []string
	if key != nil {
		for _, w := range key.Want {
			names := []string{w.Key.Type()}
			if names[0] == ssh.KeyAlgoRSA {
				names = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
			}
			for _, n := range names {
				if !slices.Contains(algorithms, n) {
					algorithms = append(algorithms, n)
				}
			}
		}
	}
	return check, algorithms, nil
}

// noKey matches no key: asking for it makes the known ones show.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errorText("no key") }

// sshConversation is a connection with one program of Git running at its end.
type sshConversation struct {
	client  *ssh.Client
	session *ssh.Session
	in      io.WriteCloser
	out     *pktReader
	errs    *tailBuffer
	release func() bool // stops the watch of the context
}

// dialSSH connects and shakes hands within step. When ctx ends, then or later, the connection is closed, whatever it
// is waiting for.
func dialSSH(ctx context.Context, hostPort string, step time.Duration, cfg *ssh.ClientConfig) (*sshConversation, error) {
	conn, err := (&net.Dialer{Timeout: step}).DialContext(ctx, "tcp", hostPort)
	if err != nil {
		return nil, err
	}
	release := context.AfterFunc(ctx, func() { _ = conn.Close() })
	fail := func(err error) (*sshConversation, error) {
		release()
		_ = conn.Close()
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(step)); err != nil {
		return fail(err)
	}
	c, channels, requests, err := ssh.NewClientConn(conn, hostPort, cfg)
	if err != nil {
		return fail(err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return fail(err)
	}
	return &sshConversation{client: ssh.NewClient(c, channels, requests), release: release, errs: &tailBuffer{}}, nil
}

func (c *sshConversation) start(service, path string) error {
	var err error
	if c.session, err = c.client.NewSession(); err != nil {
		return err
	}
	if service == uploadPack { // pushing knows no version 2
		// Most servers refuse to be told variables; then they speak version 0.
		_ = c.session.Setenv("GIT_PROTOCOL", "version=2")
	}
	if c.in, err = c.session.StdinPipe(); err != nil {
		return err
	}
	out, err := c.session.StdoutPipe()
	if err != nil {
		return err
	}
	c.out = newPktReader(out)
	c.session.Stderr = c.errs
	return c.session.Start(service + " '" + strings.ReplaceAll(path, "'", `'\''`) + "'")
}

func (c *sshConversation) stateless() bool { return false }

// greeting returns the server's words, or those it had for standard error when there are none.
func (c *sshConversation) greeting() (*pktReader, error) {
	if _, err := c.out.in.Peek(4); err != nil {
		if text := c.said(); errors.Is(err, io.EOF) && text != "" {
			return nil, serverSays(text)
		}
		return nil, unexpected(err)
	}
	return c.out, nil
}

// said waits for the end of the command and returns what it wrote to standard error.
func (c *sshConversation) said() string {
	_ = c.session.Wait() // the exit status says less than the text
	return c.errs.String()
}

func (c *sshConversation) ask(request []byte) (*pktReader, error) {
	if _, err := c.in.Write(request); err != nil {
		if text := c.errs.String(); text != "" {
			return nil, serverSays(text)
		}
		return nil, err
	}
	return c.out, nil
}

// Close ends the command and the connection and waits for what served it.
func (c *sshConversation) Close() error {
	c.release()
	err := c.client.Close()
	_ = c.client.Wait() // returns the reason of the end, which is this call
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// tailBuffer keeps the first bytes written to it. Safe for concurrent use.
type tailBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := 4096 - t.buf.Len(); room > 0 {
		t.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (t *tailBuffer) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}

// HostKey is a key that a host shows.
type HostKey struct {
	// Line is the line for a known_hosts file.
	Line string
	// Type and Fingerprint are what people compare.
	Type, Fingerprint string
}

// ScanHostKeys asks a host, "name" or "name:port", for its keys, for review by a person: nothing is trusted by it. Each
// connection takes at most timeout.
func ScanHostKeys(ctx context.Context, host string, timeout time.Duration) ([]HostKey, error) {
	hostPort := host
	if _, _, err := net.SplitHostPort(host); err != nil {
		hostPort = net.JoinHostPort(strings.Trim(host, "[]"), "22")
	}
	var keys []HostKey
	var last error
	for _, algorithms := range [][]string{
		{ssh.KeyAlgoED25519},
		{ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521},
		{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256},
	} {
		var got ssh.PublicKey
		_, err := dialSSH(ctx, hostPort, timeout, &ssh.ClientConfig{
			User: "git", HostKeyAlgorithms: algorithms,
			HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
				got = key
				return errSeen
			},
		})
		if got == nil {
			last = err
			continue
		}
		keys = append(keys, HostKey{
			Line: knownhosts.Line([]string{knownhosts.Normalize(hostPort)}, got),
			Type: got.Type(), Fingerprint: ssh.FingerprintSHA256(got),
		})
	}
	if len(keys) == 0 {
		return nil, wrapRemote("scan", hostPort, networkError(fmt.Errorf("no key: %w", last)))
	}
	return keys, nil
}

const errSeen = errorText("the key was seen")
