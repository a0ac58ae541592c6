package source

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// maxAnswer bounds everything a server says that is not a pack: some 600,000 refs.
const maxAnswer = 64 << 20

// The programs of Git that answer a client: one sends, one takes.
const (
	uploadPack  = "git-upload-pack"
	receivePack = "git-receive-pack"
)

// httpCarrier talks to a Git server over HTTP.
type httpCarrier struct {
	service string // uploadPack or receivePack
	client  *http.Client
	base    *url.URL // as configured
	moved   *url.URL // where a redirect on the same host led, or base
	auth    Auth
	now     func() time.Time
}

func newHTTP(service string, u *url.URL, auth Auth, step time.Duration, now func() time.Time) (*httpCarrier, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: step, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   step,
		ResponseHeaderTimeout: step,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConns:          2,
		ForceAttemptHTTP2:     true,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if service == receivePack {
		t.ResponseHeaderTimeout = 0 // hooks may run before the first word: the caller bounds the whole
	}
	if auth.Proxy != "" {
		p, err := url.Parse(auth.Proxy)
		if err != nil || p.Host == "" {
			return nil, invalid("the proxy address is not valid", "give it as http://host:port")
		}
		t.Proxy = http.ProxyURL(p)
	}
	if auth.CAFile != "" {
		pem, err := os.ReadFile(auth.CAFile)
		if err != nil {
			return nil, invalid("the CA file cannot be read: "+err.Error(), "")
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, invalid("the CA file "+auth.CAFile+" has no certificate", "it must be PEM")
		}
		t.TLSClientConfig.RootCAs = pool
	}
	h := &httpCarrier{service: service, base: u, moved: u, auth: auth, now: now}
	h.client = &http.Client{Transport: t, CheckRedirect: h.checkRedirect}
	return h, nil
}

func invalid(text, hint string) error {
	return &Error{Kind: KindInvalid, Op: "open source", Err: errorText(text), Hint: hint}
}

func (h *httpCarrier) address() string { return h.base.String() }
func (h *httpCarrier) close()          { h.client.CloseIdleConnections() }

// checkRedirect follows a greeting within one host, and from http to https of it. Anything else could hand
// credentials, or the choice of what runs, to somebody else.
func (h *httpCarrier) checkRedirect(r *http.Request, via []*http.Request) error {
	from := via[0].URL
	refuse := func(why string) error {
		where := *r.URL
		where.User, where.RawQuery, where.Fragment = nil, "", ""
		where.Path = strings.TrimSuffix(where.Path, "/info/refs")
		return &Error{
			Kind: KindRedirect, Op: "redirect", Subject: h.address(), Err: errorText(why),
			Hint: "if that is right, set the address to " + truncate(strings.Map(printable, where.String()), 200),
		}
	}
	switch {
	case via[0].Method != http.MethodGet:
		return refuse("a request for data is redirected")
	case r.URL.Scheme != "https" && r.URL.Scheme != from.Scheme:
		return refuse("redirected from https to " + r.URL.Scheme)
	case from.Hostname() != r.URL.Hostname(), from.Scheme == r.URL.Scheme && from.Port() != r.URL.Port():
		return refuse("redirected to another host: " + r.URL.Host)
	case len(via) > 5:
		return refuse("redirected too often")
	}
	return nil
}

func (h *httpCarrier) open(ctx context.Context) (conversation, error) {
	user, secret, err := h.auth.basic()
	if err != nil {
		return nil, err
	}
	return &httpConversation{h: h, ctx: ctx, user: user, secret: secret}, nil
}

type httpConversation struct {
	h            *httpCarrier
	ctx          context.Context //nolint:containedctx // lives for one conversation
	user, secret string
	body         io.Closer
}

func (c *httpConversation) stateless() bool { return true }

func (c *httpConversation) Close() error {
	if c.body == nil {
		return nil
	}
	return c.body.Close()
}

func (c *httpConversation) greeting() (*pktReader, error) {
	target := *c.h.base
	target.Path = strings.TrimSuffix(target.Path, "/") + "/info/refs"
	target.RawQuery = "service=" + c.h.service
	answer, err := c.do(http.MethodGet, &target, nil)
	if err != nil {
		return nil, err
	}
	if kind := answer.Header.Get("Content-Type"); kind != "application/x-"+c.h.service+"-advertisement" {
		return nil, &Error{
			Kind: KindNotFound, Op: "poll", Subject: c.h.address(),
			Err:  fmt.Errorf("no git repository: the answer is %s", quote(truncate(kind, 80))),
			Hint: "give the address that git clone takes; servers without smart HTTP are not supported",
		}
	}
	moved := *answer.Request.URL
	moved.Path, moved.RawQuery = strings.TrimSuffix(moved.Path, "/info/refs"), ""
	c.h.moved = &moved
	return newPktReader(io.LimitReader(answer.Body, maxAnswer)), nil
}

func (c *httpConversation) ask(request []byte) (*pktReader, error) {
	target := *c.h.moved
	target.Path = strings.TrimSuffix(target.Path, "/") + "/" + c.h.service
	answer, err := c.do(http.MethodPost, &target, request)
	if err != nil {
		return nil, err
	}
	if kind := answer.Header.Get("Content-Type"); kind != "application/x-"+c.h.service+"-result" {
		return nil, &Error{Kind: KindServer, Op: "fetch", Subject: c.h.address(), Err: fmt.Errorf("%w: it is %s", errProtocol, quote(truncate(kind, 80)))}
	}
	return newPktReader(answer.Body), nil
}

func (c *httpConversation) do(method string, target *url.URL, body []byte) (*http.Response, error) {
	if err := c.Close(); err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(c.ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.h.service == uploadPack { // pushing knows no version 2
		r.Header.Set("Git-Protocol", "version=2")
	}
	r.Header.Set("User-Agent", "git/2 (belay)")
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-"+c.h.service+"-request")
		r.Header.Set("Accept", "application/x-"+c.h.service+"-result")
	}
	if c.user != "" {
		r.SetBasicAuth(c.user, c.secret)
	}
	answer, err := c.h.client.Do(r)
	if err != nil {
		return nil, httpFailure(err)
	}
	c.body = answer.Body
	if answer.StatusCode != http.StatusOK {
		return nil, c.h.statusError(answer)
	}
	return answer, nil
}

// httpFailure names the kind of an error of the transport.
func httpFailure(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	// The address in a url.Error may carry what a redirect put there: only the cause is shown.
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var cert *tls.CertificateVerificationError
	if errors.As(err, &unknown) || errors.As(err, &name) || errors.As(err, &cert) {
		return &Error{Kind: KindHostKey, Op: "connect", Err: err, Hint: "set caFile if the host has a certificate of your own authority"}
	}
	return networkError(err)
}

// networkError names the kind of an error of the network.
func networkError(err error) error {
	var n net.Error
	if errors.As(err, &n) && n.Timeout() {
		return &Error{Kind: KindTimeout, Op: "connect", Err: err, Hint: "the remote is slow or silent: check the network, or raise the timeout"}
	}
	if k := KindOf(err); k == KindCanceled || k == KindTimeout {
		return err
	}
	hint := ""
	var dns *net.DNSError
	if errors.As(err, &dns) {
		hint = "check the host's name and the resolver"
	}
	return &Error{Kind: KindNetwork, Op: "connect", Err: err, Hint: hint}
}

// statusError names the kind of an HTTP answer that is no success.
func (h *httpCarrier) statusError(r *http.Response) error {
	e := &Error{Kind: KindServer, Op: "ask", Subject: h.address(), Err: fmt.Errorf("http status %d", r.StatusCode)}
	e.RetryAfter = retryAfter(r.Header.Get("Retry-After"), h.now())
	switch code := r.StatusCode; {
	case code == http.StatusUnauthorized:
		e.Kind, e.Hint = KindAuth, hintAuth
		if h.auth.TokenFile == "" {
			e.Hint = "the repository needs credentials: set tokenFile, or --token-file"
		}
	case code == http.StatusTooManyRequests,
		code == http.StatusForbidden && (e.RetryAfter > 0 || r.Header.Get("X-RateLimit-Remaining") == "0"):
		e.Kind = KindRateLimited
		if reset, err := strconv.ParseInt(r.Header.Get("X-RateLimit-Reset"), 10, 64); err == nil && e.RetryAfter == 0 {
			e.RetryAfter = until(time.Unix(reset, 0), h.now())
		}
	case code == http.StatusForbidden:
		e.Kind, e.Hint = KindForbidden, hintForbidden
	case code == http.StatusNotFound, code == http.StatusGone:
		e.Kind, e.Hint = KindNotFound, hintNotFound
	case code == http.StatusProxyAuthRequired:
		e.Kind, e.Hint = KindAuth, "the proxy needs credentials"
	case code == http.StatusRequestTimeout, code == http.StatusGatewayTimeout:
		e.Kind = KindTimeout
	case code == http.StatusRequestEntityTooLarge:
		e.Kind = KindTooLarge
	}
	return e
}

// retryAfter reads the header of that name: seconds or a date.
func retryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	if n, err := strconv.Atoi(value); err == nil {
		return time.Duration(min(max(n, 0), 86400)) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return until(at, now)
}

// until is how long to wait for a moment that the remote named: the clocks of the two may be far apart.
func until(at, now time.Time) time.Duration { return min(max(0, at.Sub(now)), 24*time.Hour) }
