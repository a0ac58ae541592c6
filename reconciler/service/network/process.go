//go:build unix

package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belay-dev/belay/reconciler/service"
)

// process is a network that outlives the services which tell it what to do.
type process struct {
	*Network
	said      hello
	place     *place
	attending atomic.Int32 // services that hold on to it
	stop      context.CancelCauseFunc
	plugs     *plugs         // nil: pods have no devices
	packets   net.Conn       // that the successor sends; nil: it sends none
	following sync.WaitGroup // of them
	successor chan struct{}  // closed when another process has taken over
	took      atomic.Bool
}

// Descriptors that a process is started with.
const readyDescriptor = 3 // closed when it answers, or has ended

// How often a process looks whether it is still wanted, and after how many looks it ends when nobody wants it.
const (
	lookEvery  = time.Second
	looksAlone = 10
)

var errStop = errors.New("told to stop")

// Main is the process. It answers in dir, takes over from the process that answers there already, and goes on until it is
// told to stop, ctx ends, the directory goes, or there is no Service, no pod with a device and no service; after another one has taken over it
// carries its connections to their end. Pods are reached by what reach makes of the setup.
func Main(ctx context.Context, dir, setup string, reach func(Setup) Pods) error {
	var s Setup
	if err := json.Unmarshal([]byte(setup), &s); err != nil {
		return fmt.Errorf("setup: %w", err)
	}
	s.Protocol = protocol
	at, err := openPlace(dir)
	if err != nil {
		return err
	}
	defer func() { _ = at.close() }()
	before, err := takeOver(ctx, at)
	if err != nil {
		fmt.Fprintln(os.Stderr, "take over:", err) // it goes on alone
	}
	p := &process{place: at, said: hello{Setup: s, PID: os.Getpid()}, successor: make(chan struct{})}
	ctx, p.stop = context.WithCancelCause(ctx)
	defer p.stop(nil)
	cluster, err := s.cluster(ctx, before)
	if err != nil {
		p.said.Error = err.Error()
	}
	if cluster != nil {
		p.said.Names = cluster.Names.String()
	}
	pods := reach(s)
	p.Network = New(pods.Dial, cluster)
	if stack := p.stack(); stack != nil && pods.Open != nil {
		p.plugs = newPlugs(stack, pods)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	err = p.serve(ctx, dir, before)
	if err != nil || !p.took.Load() {
		p.stop(err)
	}
	err = errors.Join(err, <-ended)
	p.plugs.close()
	p.unfollow()
	return err
}

// cluster is the range that a process is to have; nil: none.
func (s Setup) cluster(ctx context.Context, before *inheritance) (*Cluster, error) {
	if s.Range == "" {
		return nil, before.closeNames()
	}
	prefix, err := netip.ParsePrefix(s.Range)
	if err != nil {
		return nil, err
	}
	if s.Addresses != "" {
		addresses, err := netip.ParsePrefix(s.Addresses)
		if err != nil {
			return nil, err
		}
		if err := before.closeNames(); err != nil {
			return nil, err
		}
		return OpenStack(ctx, prefix, addresses)
	}
	if before != nil && before.names != nil {
		if before.Names == NamesAt(prefix) {
			return before.names, nil
		}
		if err := before.closeNames(); err != nil {
			return nil, err
		}
	}
	return Claim(prefix)
}

// serve answers until the process is not wanted any more.
func (p *process) serve(ctx context.Context, dir string, before *inheritance) error {
	if err := p.begin(ctx, before); err != nil {
		return err
	}
	l, socket, err := p.place.listen()
	if err != nil {
		return err
	}
	server := &http.Server{Handler: p.handler(), ReadHeaderTimeout: time.Minute, ConnContext: func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, c)
	}}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() { _ = server.Close(); <-served }()
	if err := os.NewFile(readyDescriptor, "ready").Close(); err != nil {
		fmt.Fprintln(os.Stderr, "nobody waits:", err)
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for alone := 0; alone < looksAlone; {
		select {
		case <-p.successor:
			return nil
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if alone++; p.attending.Load() > 0 || p.wanted() || p.plugs.any() {
			alone = 0
		}
		if mine, there := p.place.mine(dir, socket); !there {
			return nil
		} else if !mine { // another one was started at the same time
			if p.stack() != nil {
				return nil // it reads the pods' devices, and sends nothing here: no connection would come to its end
			}
			p.took.Store(true)
			return p.Retire()
		}
	}
	return nil
}

// begin takes what was handed over, and connects the pods that are there.
func (p *process) begin(ctx context.Context, before *inheritance) error {
	if before != nil {
		p.proxy.Give(before.listeners)
		for owner, front := range before.Fronts {
			if _, err := p.Set(ctx, owner, front); err != nil {
				fmt.Fprintln(os.Stderr, "take over", owner+":", err) // the service that comes is told again
			}
		}
		if err := errors.Join(p.proxy.DropGiven(), before.done(p.stack())); err != nil {
			return err
		}
	}
	if err := p.plugs.all(ctx); err != nil {
		return err
	}
	if stack := p.stack(); stack != nil {
		stack.Start()
	}
	return nil
}

type connKey struct{}

func (p *process) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello", func(w http.ResponseWriter, _ *http.Request) { reply(w, p.said) })
	mux.HandleFunc("GET /v1/owners", func(w http.ResponseWriter, _ *http.Request) { reply(w, answer{Owners: p.Owners()}) })
	mux.HandleFunc("PUT /v1/service", p.set)
	mux.HandleFunc("POST /v1/drain", func(w http.ResponseWriter, r *http.Request) {
		reply(w, answer{Error: text(p.Drain(r.Context(), r.FormValue("pod")))})
	})
	mux.HandleFunc("POST /v1/forget", func(w http.ResponseWriter, r *http.Request) {
		reply(w, answer{Error: text(p.Forget(r.Context(), r.FormValue("pod")))})
	})
	mux.HandleFunc("POST /v1/pods", func(w http.ResponseWriter, r *http.Request) {
		reply(w, answer{Error: text(p.plugs.all(r.Context()))})
	})
	mux.HandleFunc("POST /v1/pod", func(w http.ResponseWriter, r *http.Request) {
		reply(w, answer{Error: text(p.plugs.plug(r.Context(), r.FormValue("pod")))})
	})
	mux.HandleFunc("POST /v1/stop", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, answer{})
		p.stop(errStop)
	})
	mux.HandleFunc("GET /v1/attend", p.attend)
	mux.HandleFunc("POST /v1/handover", func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(connKey{}).(*net.UnixConn)
		if _, _, err := http.NewResponseController(w).Hijack(); err != nil || !ok {
			return
		}
		defer c.Close()
		if err := p.handOver(r.Context(), c); err != nil {
			fmt.Fprintln(os.Stderr, "hand over:", err)
		}
	})
	return mux
}

func (p *process) set(w http.ResponseWriter, r *http.Request) {
	var front service.Front
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&front); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	bound, err := p.Set(r.Context(), r.URL.Query().Get("owner"), front)
	reply(w, answer{Bound: bound, Error: text(err)})
}

// attend lasts as long as the service that asked.
func (p *process) attend(w http.ResponseWriter, r *http.Request) {
	p.attending.Add(1)
	defer p.attending.Add(-1)
	if err := http.NewResponseController(w).Flush(); err != nil {
		return
	}
	select {
	case <-r.Context().Done():
	case <-p.successor:
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func reply(w io.Writer, v any) {
	_ = json.NewEncoder(w).Encode(v) // whoever asked has gone
}
