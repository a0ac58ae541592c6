package app

import (
	"net/url"
	"strings"
	"unicode"
)

// auth checks that what is shown to an address fits it.
func (v *validator) auth(at, address string, a Auth) {
	web := strings.HasPrefix(address, "https://") || strings.HasPrefix(address, "http://")
	ssh := strings.HasPrefix(address, "ssh://") || !strings.Contains(address, "://") && !isLocalPath(address)
	for _, f := range []struct {
		key, value string
		fits       bool
		kind       string
	}{
		{"tokenFile", a.TokenFile, web, "http and https"}, {"caFile", a.CAFile, web, "http and https"},
		{"proxy", a.Proxy, web, "http and https"}, {"keyFile", a.KeyFile, ssh, "ssh"},
		{"passphraseFile", a.PassphraseFile, ssh, "ssh"}, {"knownHostsFile", a.KnownHostsFile, ssh, "ssh"},
	} {
		switch {
		case f.value == "":
		case strings.ContainsFunc(f.value, unicode.IsControl):
			v.add(at+"."+f.key, "has control characters")
		case !f.fits:
			v.add(at+"."+f.key, "is for %s addresses alone", f.kind)
		}
	}
	if address != "" && ssh {
		v.sshAuth(at, a)
	}
	if strings.HasPrefix(address, "http://") && a.TokenFile != "" && !loopback(address) {
		v.add(at+".tokenFile", "would be sent unencrypted over http")
		v.hint("use https")
	}
	v.proxy(at+".proxy", a.Proxy)
}

func (v *validator) proxy(key, address string) {
	if address == "" {
		return
	}
	if u, err := url.Parse(address); err != nil || u.Host == "" {
		v.add(key, "not an address, as in http://proxy.example.com:3128")
	} else if u.User != nil {
		v.add(key, "has credentials inside")
	}
}

// sshAuth checks that what ssh cannot do without is there.
func (v *validator) sshAuth(at string, a Auth) {
	if a.KeyFile == "" {
		v.add(at+".keyFile", "required: the private key for ssh")
	}
	if a.KnownHostsFile == "" {
		v.add(at+".knownHostsFile", "required: ssh hosts are never trusted unseen")
		v.hint("`belay known-hosts HOST` prints the host's keys for you to compare")
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
