package service

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// A Proxy owns listeners and connections. It never decides who is a backend and never replays a byte that was sent.

// Backend is one port of one pod.
type Backend struct {
	Pod             string // identity; what is drained
	Namespace, Name string // where the pod is found
	IP              string // of the pod; empty where it has none of its own
	Port            int32
	UDP             bool // it takes datagrams
}

// Listener is one address of the host and who answers there.
type Listener struct {
	Address  string // host:port; port 0 is any free one
	UDP      bool   // datagrams are taken there, else connections; so are they by all backends
	Sticky   bool   // the same client address goes to the same backend for as long as the backend is there
	Backends []Backend
}

// Key tells listeners of one proxy apart.
func (l Listener) Key() string {
	if l.UDP {
		return udpPrefix + l.Address
	}
	return l.Address
}

const udpPrefix = "udp:"

// Dial reaches a backend. It is called from many goroutines.
type Dial func(context.Context, Backend) (net.Conn, error)

// dialTimeout bounds one try to reach one backend; the next one is tried then.
const dialTimeout = 5 * time.Second

// Proxy carries connections. Make it with NewProxy; it works while Run does.
type Proxy struct {
	// Listen opens an address; nil: it is one of the machine's. It is set before Run.
	Listen func(address string) (net.Listener, error)
	// ListenPacket opens one for datagrams, as Listen does.
	ListenPacket func(address string) (net.PacketConn, error)

	dial   Dial
	opened chan *door    // listeners that Run is to accept on
	ended  chan struct{} // closed when Run has returned
	over   chan struct{} // closed by Retire

	mu     sync.Mutex // guards what follows
	closed bool
	given  map[string]io.Closer        // by key: open already, for who asks for it
	doors  map[string]map[string]*door // owner → key
	active int                         // flows of datagrams
	said   uint64                      // how many datagrams
	pods   map[string]*pod             // those that have unanswered connections, or are leaving
}

// door is one open listener.
type door struct {
	listener net.Listener   // nil: packets
	packets  net.PacketConn // nil: listener
	want     Listener
	next     int              // round robin
	flows    map[string]*flow // of datagrams, by the client's address and port
	shut     bool
}

func (d *door) address() string {
	if d.packets != nil {
		return d.packets.LocalAddr().String()
	}
	return d.listener.Addr().String()
}

// close ends it. The proxy's lock is held.
func (d *door) close() error {
	d.shut = true
	if d.packets != nil {
		return d.packets.Close()
	}
	return d.listener.Close()
}

// pod counts the connections given to a pod that it has not begun to answer.
type pod struct {
	unanswered int
	leaving    bool
	quiet      chan struct{} // closed when unanswered is 0 while leaving
}

// NewProxy makes a proxy without listeners.
func NewProxy(dial Dial) *Proxy {
	return &Proxy{
		dial: dial, opened: make(chan *door), ended: make(chan struct{}), over: make(chan struct{}),
		doors: map[string]map[string]*door{}, pods: map[string]*pod{},
	}
}

// Run carries connections until ctx ends; then it breaks those that are left, and returns when all have ended. After
// Retire it returns when they have ended by themselves. It is called once.
func (p *Proxy) Run(ctx context.Context) error {
	defer close(p.ended)
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case d := <-p.opened:
			if d.packets != nil {
				wg.Go(func() { p.receive(ctx, d) })
			} else {
				wg.Go(func() { p.accept(ctx, d) })
			}
		case <-p.over:
			return nil
		case <-ctx.Done():
			return p.close()
		}
	}
}

// close ends every listener, for good.
func (p *Proxy) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	errs := []error{p.dropGiven()}
	for _, doors := range p.doors {
		for _, d := range doors {
			errs = append(errs, d.close())
		}
	}
	clear(p.doors)
	return errors.Join(errs...)
}

// Set makes the listeners of one owner those given, and tells the addresses they listen on by their keys. Listeners that stay are not touched, and neither is any connection. An address that cannot be listened on
// is an error; the others listen all the same. It waits for Run.
func (p *Proxy) Set(ctx context.Context, owner string, want []Listener) (map[string]string, error) {
	bound, opened, err := p.set(owner, want)
	for _, d := range opened {
		select {
		case p.opened <- d:
		case <-p.ended:
			return bound, errors.Join(err, net.ErrClosed)
		case <-ctx.Done():
			return bound, errors.Join(err, p.withdraw(owner), ctx.Err())
		}
	}
	return bound, err
}

// withdraw ends the listeners of an owner.
func (p *Proxy) withdraw(owner string) error {
	_, _, err := p.set(owner, nil)
	return err
}

func (p *Proxy) set(owner string, want []Listener) (bound map[string]string, opened []*door, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, net.ErrClosed
	}
	had := p.doors[owner]
	doors := map[string]*door{}
	var errs []error
	for key, d := range had {
		if !slices.ContainsFunc(want, func(l Listener) bool { return l.Key() == key }) {
			errs = append(errs, d.close())
		}
	}
	bound = map[string]string{}
	for _, w := range want {
		d := had[w.Key()]
		if d == nil {
			var err error
			if d, err = p.open(w); err != nil {
				errs = append(errs, err)
				continue
			}
			opened = append(opened, d)
		}
		w.Backends = slices.Clone(w.Backends)
		d.want = w
		doors[w.Key()] = d
		bound[w.Key()] = d.address()
	}
	if p.doors[owner] = doors; len(doors) == 0 {
		delete(p.doors, owner)
	}
	return bound, opened, errors.Join(errs...)
}

// Drain takes a pod out of every listener for good, and returns when it has begun to answer each connection that it was
// given, or when ctx ends: then with the cause. Forget ends it.
func (p *Proxy) Drain(ctx context.Context, uid string) error {
	p.mu.Lock()
	s := p.pods[uid]
	if s == nil {
		s = &pod{}
		p.pods[uid] = s
	}
	if !s.leaving {
		s.leaving, s.quiet = true, make(chan struct{})
		if s.unanswered == 0 {
			close(s.quiet)
		}
	}
	quiet := s.quiet
	p.mu.Unlock()
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain pod %s: %w", uid, context.Cause(ctx))
	}
}

// Forget ends what Drain remembers of a pod that is gone.
func (p *Proxy) Forget(uid string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.pods[uid]; s != nil {
		if s.leaving = false; s.unanswered == 0 {
			delete(p.pods, uid)
		}
	}
}

// acceptPause is the wait after an accept that failed for want of resources, as net/http's server has it.
const acceptPause = 5 * time.Millisecond

// accept takes the connections of one listener until that is closed, and returns when the last of them has ended.
func (p *Proxy) accept(ctx context.Context, d *door) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := d.listener.Accept()
		switch {
		case err == nil:
			wg.Go(func() { p.carry(ctx, d, conn) })
		case errors.Is(err, net.ErrClosed):
			return
		default: // too many open files, a connection that its client gave up: the next one may be accepted
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
		}
	}
}

// pick chooses a backend that was not tried yet and counts the connection for it.
func (p *Proxy) pick(d *door, client string, tried []Backend) (Backend, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	best, weight := -1, uint64(0)
	for i := range d.want.Backends {
		at := (d.next + i) % len(d.want.Backends)
		b := d.want.Backends[at]
		if s := p.pods[b.Pod]; s != nil && s.leaving || slices.Contains(tried, b) {
			continue
		}
		if !d.want.Sticky {
			best = at
			break
		}
		if w := affinity(client, b); best < 0 || w > weight {
			best, weight = at, w
		}
	}
	if best < 0 {
		return Backend{}, false
	}
	b := d.want.Backends[best]
	d.next = best + 1
	s := p.pods[b.Pod]
	if s == nil {
		s = &pod{}
		p.pods[b.Pod] = s
	}
	s.unanswered++
	return b, true
}

// affinity is the weight of a backend for a client. The heaviest is chosen (rendezvous hashing): when a backend comes
// or goes, only its own clients move, and a restart moves none.
func affinity(client string, b Backend) uint64 {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s\x00%s\x00%d", client, b.Pod, b.Port) // a hash takes everything
	return h.Sum64()
}

// answered says that a backend has begun to answer a connection, or will never.
func (p *Proxy) answered(b Backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.pods[b.Pod]
	if s == nil {
		return
	}
	s.unanswered--
	switch {
	case s.unanswered > 0:
	case s.leaving:
		select {
		case <-s.quiet:
		default:
			close(s.quiet)
		}
	default:
		delete(p.pods, b.Pod)
	}
}
