package source

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Auth says how a remote is reached and what is shown to it. Secrets lie in files, which are read at each use, so that
// one that is replaced is taken up with the next poll. No error and no log line holds a secret.
type Auth struct {
	// User is the name shown: for HTTP "x-access-token" unless set, for SSH that of the address, else "git".
	User string
	// TokenFile holds the token, or the password of User: HTTP.
	TokenFile string
	// CAFile holds certificates trusted besides the system's: HTTP.
	CAFile string
	// Proxy is the address of a proxy; empty takes that of the environment: HTTP.
	Proxy string
	// KeyFile holds the private key, PassphraseFile its passphrase: SSH.
	KeyFile, PassphraseFile string
	// KnownHostsFile holds the keys of the hosts trusted: SSH, required.
	KnownHostsFile string
}

// basic returns what HTTP's basic authentication shows, or nothing.
func (a Auth) basic() (user, secret string, err error) {
	if a.TokenFile == "" {
		return "", "", nil
	}
	if secret, err = readSecret(a.TokenFile, "token"); err != nil {
		return "", "", err
	}
	if user = a.User; user == "" {
		user = "x-access-token"
	}
	return user, secret, nil
}

func readSecret(path, what string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", &Error{Kind: KindAuth, Op: "read " + what, Subject: path, Err: bare(err), Hint: "check that the file exists and that this user may read it"}
	}
	secret := string(bytes.TrimSpace(data))
	if secret == "" || strings.ContainsAny(secret, "\r\n\x00") {
		return "", &Error{Kind: KindAuth, Op: "read " + what, Subject: path, Err: errorText("the file must hold one line"), Hint: "put the " + what + " alone into the file"}
	}
	return secret, nil
}

// bare drops the operation and the path from an error of the file system.
func bare(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// keyring opens the private key, and again only when one of its files has changed: opening a key with a passphrase
// is slow on purpose. Not safe for concurrent use.
type keyring struct {
	auth   Auth
	sum    [sha256.Size]byte
	signer ssh.Signer
}

func (k *keyring) open() (ssh.Signer, error) {
	fail := func(err error, hint string) (ssh.Signer, error) {
		return nil, &Error{Kind: KindAuth, Op: "read key", Subject: k.auth.KeyFile, Err: err, Hint: hint}
	}
	if k.auth.KeyFile == "" {
		return fail(errorText("no private key"), "set keyFile")
	}
	pem, err := os.ReadFile(k.auth.KeyFile)
	if err != nil {
		return fail(bare(err), "check that the file exists and that this user may read it")
	}
	phrase := ""
	if k.auth.PassphraseFile != "" {
		if phrase, err = readSecret(k.auth.PassphraseFile, "passphrase"); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256([]byte(string(pem) + "\x00" + phrase))
	if k.signer != nil && sum == k.sum {
		return k.signer, nil
	}
	var s ssh.Signer
	if phrase == "" {
		s, err = ssh.ParsePrivateKey(pem)
	} else {
		s, err = ssh.ParsePrivateKeyWithPassphrase(pem, []byte(phrase))
	}
	var missing *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &missing):
		return fail(errorText("the key has a passphrase"), "set passphraseFile")
	case err != nil && phrase != "":
		return fail(errorText("the passphrase does not open the key"), "")
	case err != nil:
		return fail(errorText("no private key that can be read"), "it must be in OpenSSH or PEM format")
	}
	k.sum, k.signer = sum, s
	return s, nil
}

// sshAddress is a remote over SSH.
type sshAddress struct{ user, host, port, path string }

func (a sshAddress) String() string {
	path := "/" + strings.TrimPrefix(a.path, "/")
	if a.port == "22" {
		return "ssh://" + a.host + path
	}
	return "ssh://" + net.JoinHostPort(a.host, a.port) + path
}

// parseRemote reads an address that is not local. Credentials in it are refused, and not repeated in the error.
func parseRemote(address string) (*url.URL, *sshAddress, error) {
	if !strings.Contains(address, "://") {
		return parseSCP(address)
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, nil, invalid("the repository's address cannot be read", "give https://host/path, ssh://user@host/path or a local path")
	}
	_, password := u.User.Password()
	switch u.Scheme {
	case "http", "https":
		if u.User != nil {
			return nil, nil, invalid("credentials in the address "+u.Scheme+"://…@"+u.Host, "take them out, and set tokenFile")
		}
		if u.RawQuery != "" || u.Fragment != "" {
			return nil, nil, invalid("the address has a query or a fragment", "give the address that git clone takes")
		}
		return u, nil, nil
	case "ssh", "git+ssh", "ssh+git":
		if password {
			return nil, nil, invalid("a password in the address ssh://…@"+u.Host, "take it out: SSH uses keyFile")
		}
		a := &sshAddress{user: u.User.Username(), host: u.Hostname(), port: u.Port(), path: u.Path}
		if a.port == "" {
			a.port = "22"
		}
		if strings.HasPrefix(a.path, "/~") { // a home directory
			a.path = a.path[1:]
		}
		return nil, a, checkSSH(a)
	}
	return nil, nil, invalid("addresses of kind "+quote(u.Scheme)+" are not supported", "use https, ssh or a local path")
}

// parseSCP reads user@host:path.
func parseSCP(address string) (*url.URL, *sshAddress, error) {
	host, path, ok := strings.Cut(address, ":")
	if !ok || path == "" {
		return nil, nil, invalid("the repository's address cannot be read", "give https://host/path, ssh://user@host/path or a local path")
	}
	a := &sshAddress{host: host, port: "22", path: path}
	if user, rest, ok := strings.Cut(host, "@"); ok {
		a.user, a.host = user, rest
	}
	return nil, a, checkSSH(a)
}

func checkSSH(a *sshAddress) error {
	if a.host == "" || strings.HasPrefix(a.host, "-") || strings.ContainsAny(a.host, " /'\"@") || a.path == "" || strings.ContainsAny(a.path, "\x00\r\n") {
		return invalid("the repository's address cannot be read", "give ssh://user@host/path or user@host:path")
	}
	return nil
}

// wrapRemote is wrap for what a remote did: anything that has no kind of its own is the network's.
func wrapRemote(op, subject string, err error) error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		if e.Subject == "" {
			out := *e
			out.Subject = subject
			return &out
		}
		return err
	case errors.Is(err, errProtocol):
		return &Error{Kind: KindServer, Op: op, Subject: subject, Err: err}
	case isDiskError(err), errors.Is(err, errTooLarge), errors.Is(err, errMalformed):
		return wrap(op, subject, err)
	}
	if k := KindOf(err); k == KindCanceled || k == KindTimeout {
		return wrap(op, subject, err)
	}
	return &Error{Kind: KindNetwork, Op: op, Subject: subject, Err: fmt.Errorf("connection broke: %w", err)}
}
