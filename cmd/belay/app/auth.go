package app

import (
	"net/url"
	"strings"
	"unicode"
)

// auth checks that what a source shows fits its address.
func (v *validator) auth(at string, s SourceConfig) {
	a := s.Auth
	http := strings.HasPrefix(s.URL, "https://") || strings.HasPrefix(s.URL, "http://")
	ssh := strings.HasPrefix(s.URL, "ssh://") || !strings.Contains(s.URL, "://") && !isLocalPath(s.URL)
	for _, f := range []struct {
		key, value string
		fits       bool
		kind       string
	}{
		{"tokenFile", a.TokenFile, http, "http and https"}, {"caFile", a.CAFile, http, "http and https"},
		{"proxy", a.Proxy, http, "http and https"}, {"keyFile", a.KeyFile, ssh, "ssh"},
		{"passphraseFile", a.PassphraseFile, ssh, "ssh"}, {"knownHostsFile", a.KnownHostsFile, ssh, "ssh"},
	} {
		switch {
		case f.value == "":
		case strings.ContainsFunc(f.value, unicode.IsControl):
			v.add(at+".auth."+f.key, "has control characters")
		case !f.fits:
			v.add(at+".auth."+f.key, "is for %s addresses alone", f.kind)
		}
	}
	if s.URL != "" && ssh {
		v.ssh(at, a)
	}
	if strings.HasPrefix(s.URL, "http://") && a.TokenFile != "" && !loopback(s.URL) {
		v.add(at+".auth.tokenFile", "would be sent unencrypted over http")
		v.hint("use https")
	}
	v.proxy(at, a.Proxy)
}

// ssh checks that a host can be known, and this user to it.
func (v *validator) ssh(at string, a Auth) {
	if a.KeyFile == "" {
		v.add(at+".auth.keyFile", "required: the private key for ssh")
	}
	if a.KnownHostsFile == "" {
		v.add(at+".auth.knownHostsFile", "required: ssh hosts are never trusted unseen")
		v.hint("`belay known-hosts HOST` prints the host's keys for you to compare")
	}
}

func (v *validator) proxy(at, address string) {
	if address == "" {
		return
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "":
		v.add(at+".auth.proxy", "not an address, as in http://proxy.example.com:3128")
	case u.User != nil:
		v.add(at+".auth.proxy", "has credentials inside")
	}
}

// loopback reports whether an address stays on this machine.
func loopback(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	host := u.Hostname()
	return host == "localhost" || host == "::1" || strings.HasPrefix(host, "127.")
}
