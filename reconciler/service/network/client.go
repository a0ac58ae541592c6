//go:build unix

package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/belay-dev/belay/reconciler/service"
)

// Options say how a process is found and started.
type Options struct {
	Dir   string // of the process; made when it is missing
	Setup Setup
	// Command starts Main: its first word names the binary, the others come before the directory and the setup.
	Command []string
	Log     zerolog.Logger
}

// Client tells a process of its own what Services are: what it carries does not end with this one. Make it with Open.
type Client struct {
	o     Options
	place *place
	http  *http.Client

	mu      sync.Mutex // guards what follows
	said    hello
	fronts  map[string]service.Front
	process *os.Process // that this one started
}

var _ service.Doorkeeper = (*Client)(nil)

// Open finds the process of a directory, or starts it. One of another setup is replaced, and loses no connection.
func Open(ctx context.Context, o Options) (*Client, error) {
	o.Setup.Protocol = protocol
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open network: %w", err)
	}
	at, err := openPlace(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open network: %w", err)
	}
	c := &Client{o: o, place: at, fronts: map[string]service.Front{}}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return at.dial(ctx) },
		MaxIdleConnsPerHost: 8,
	}}
	if err := c.ensure(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open network: %w", err), c.Close())
	}
	return c, nil
}

// Close forgets the process, which goes on.
func (c *Client) Close() error {
	if c == nil {
		return nil
	}
	c.http.CloseIdleConnections()
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	if c.process != nil {
		err = c.process.Release()
		c.process = nil
	}
	return errors.Join(err, c.place.close())
}

// Names is where names are answered; the zero value: nowhere. The error says why, where they were to be.
func (c *Client) Names() (netip.Addr, error) {
	said := c.lastSaid()
	switch {
	case said.Error != "":
		return netip.Addr{}, errors.New(said.Error)
	case said.Names == "":
		return netip.Addr{}, nil
	}
	return netip.ParseAddr(said.Names)
}

// PID is the process's.
func (c *Client) PID() int { return c.lastSaid().PID }

func (c *Client) lastSaid() hello {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said
}

// How long a process may take to answer, and to begin.
const (
	answerTime = 30 * time.Second
	startTime  = time.Minute
)

// ensure has a process of this setup answer.
func (c *Client) ensure(ctx context.Context) error {
	if err := c.hello(ctx); err == nil {
		if said := c.lastSaid(); said.Setup == c.o.Setup && said.Error == "" {
			return nil
		}
	}
	if err := c.start(ctx); err != nil {
		return err
	}
	if err := c.hello(ctx); err != nil {
		return err
	}
	if c.lastSaid().Setup != c.o.Setup {
		return errors.New("another process answers")
	}
	return nil
}

func (c *Client) hello(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var said hello
	if err := c.call(ctx, http.MethodGet, "/hello", nil, &said); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said = said
	return nil
}

// start starts a process and waits until it answers.
func (c *Client) start(ctx context.Context) error {
	c.http.CloseIdleConnections() // they lead to the one before
	setup, err := json.Marshal(c.o.Setup)
	if err != nil {
		return err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	log, err := os.OpenFile(filepath.Join(c.o.Dir, logFile), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	ready, started, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	args := append(append([]string{"belay"}, c.o.Command[1:]...), c.o.Dir, string(setup))
	p, err := os.StartProcess(c.o.Command[0], args, &os.ProcAttr{
		Env: []string{}, Files: []*os.File{null, log, log, started}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	_ = started.Close() // the process has a copy
	if err != nil {
		return fmt.Errorf("start network process: %w", err)
	}
	c.mu.Lock()
	before := c.process
	c.process = p
	c.mu.Unlock()
	if before != nil {
		_ = before.Release() // it may carry connections still
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = ready.Close() })
	defer stop()
	_, err = ready.Read(make([]byte, 1))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// again is the time between two tries to reach a process that ended.
const again = time.Second

// Run holds on to the process until ctx ends. One that ended is started again, and told everything again.
func (c *Client) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if gone := c.attend(ctx); ctx.Err() == nil {
			c.o.Log.Warn().Err(gone).Msg("the network process ended: it is started again")
			c.revive(ctx)
		}
	}
	return nil
}

// revive starts the process again, or waits a while where that cannot be done.
func (c *Client) revive(ctx context.Context) {
	err := c.ensure(ctx)
	if err == nil {
		err = c.repeat(ctx)
	}
	if err == nil {
		return
	}
	c.o.Log.Warn().Err(err).Msg("the network process does not answer")
	timer := time.NewTimer(again)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// attend returns when the process has gone.
func (c *Client) attend(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://network/v1/attend", nil)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// repeat tells a process that is new what all Services are.
func (c *Client) repeat(ctx context.Context) error {
	c.mu.Lock()
	owners := make([]string, 0, len(c.fronts))
	for owner := range c.fronts {
		owners = append(owners, owner)
	}
	c.mu.Unlock()
	// A pod that began to run meanwhile may have been told to the one before.
	_, err := c.ask(ctx, http.MethodPost, "/v1/pods", nil)
	errs := []error{err}
	for _, owner := range owners {
		c.mu.Lock()
		front, ok := c.fronts[owner]
		c.mu.Unlock()
		if ok {
			_, err := c.put(ctx, owner, front)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Set implements service.Doorkeeper.
func (c *Client) Set(ctx context.Context, owner string, want service.Front) (map[string]string, error) {
	c.mu.Lock()
	if c.fronts[owner] = want; len(want.Listeners) == 0 && want.Name == nil {
		delete(c.fronts, owner)
	}
	c.mu.Unlock()
	return c.put(ctx, owner, want)
}

func (c *Client) put(ctx context.Context, owner string, front service.Front) (map[string]string, error) {
	body, err := json.Marshal(front)
	if err != nil {
		return nil, err
	}
	a, err := c.ask(ctx, http.MethodPut, "/v1/service?owner="+url.QueryEscape(owner), body)
	return a.Bound, err
}

// Owners lists the Services that the process has.
func (c *Client) Owners(ctx context.Context) ([]string, error) {
	a, err := c.ask(ctx, http.MethodGet, "/v1/owners", nil)
	return a.Owners, err
}

// Drain takes a pod out of every listener: see (*service.Proxy).Drain.
func (c *Client) Drain(ctx context.Context, uid string) error {
	_, err := c.ask(ctx, http.MethodPost, "/v1/drain?pod="+url.QueryEscape(uid), nil)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Forget ends what Drain remembers of a pod that is gone.
func (c *Client) Forget(ctx context.Context, uid string) error {
	_, err := c.ask(ctx, http.MethodPost, "/v1/forget?pod="+url.QueryEscape(uid), nil)
	return err
}

// Carry has the process carry the packets of a pod that has begun to run.
func (c *Client) Carry(ctx context.Context, uid string) error {
	_, err := c.ask(ctx, http.MethodPost, "/v1/pod?pod="+url.QueryEscape(uid), nil)
	return err
}

// Stop ends the process, and every connection with it.
func (c *Client) Stop(ctx context.Context) error {
	_, err := c.ask(ctx, http.MethodPost, "/v1/stop", nil)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return nil // its end was faster than its answer
	}
	return err
}

// ask makes one request. What the process could not do is an error too.
func (c *Client) ask(ctx context.Context, method, path string, body []byte) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var a answer
	if err := c.call(ctx, method, path, body, &a); err != nil {
		return a, err
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

func (c *Client) call(ctx context.Context, method, path string, body []byte, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://network"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("network process: %s: %s", response.Status, bytes.TrimSpace(text))
	}
	return json.Unmarshal(text, into)
}
