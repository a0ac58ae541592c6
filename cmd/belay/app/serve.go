package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/state"
)

// maxSocketPath is how long the address of a unix socket may be on every system.
const maxSocketPath = 100

// stopGrace is how long requests may go on after the service was told to stop.
const stopGrace = 2 * time.Second

// listeners are where the service answers.
type listeners struct {
	socket  net.Listener // Belay's own API
	private string       // directory made for the socket alone; empty: it is in the data directory
	health  net.Listener // nil: none configured
	hooks   net.Listener // nil: none configured
}

// listen opens the socket of Belay's own API: in the data directory, or, where that path is too long for a socket,
// in a private directory of its own. What a killed service left is replaced: the data directory's lock is held.
func (a *App) listen() (listeners, error) {
	var ls listeners
	name := filepath.Join(a.dir, "belay.sock")
	if len(name) > maxSocketPath {
		err := a.Seams.Files.Do(FileSocket, func() (err error) {
			ls.private, err = os.MkdirTemp("", "belay-")
			return err
		})
		if err != nil {
			return ls, fmt.Errorf("listen: %w", err)
		}
		name = filepath.Join(ls.private, "belay.sock")
	}
	err := a.Seams.Files.Do(FileSocketGone, func() error { return os.Remove(name) })
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return ls, fmt.Errorf("listen: %w", err)
	}
	err = a.Seams.Files.Do(FileSocket, func() error {
		if ls.socket, err = net.Listen("unix", name); err != nil {
			return err
		}
		return os.Chmod(name, 0o600)
	})
	if err != nil {
		return ls, errors.Join(fmt.Errorf("listen: %w", err), ls.close())
	}
	if ls.hooks, err = a.listenHooks(); err != nil {
		return ls, errors.Join(err, ls.close())
	}
	if a.config.Listen == "" {
		return ls, nil
	}
	ls.health, err = net.Listen("tcp", a.config.Listen)
	if errors.Is(err, syscall.EADDRINUSE) && a.config.Listen == DefaultListen {
		// Several services on one machine get along without being told; verbs find them by their data directories.
		if ls.health, err = net.Listen("tcp", "127.0.0.1:0"); err == nil {
			a.log.Warn().Stringer("listen", ls.health.Addr()).Str("hint", "choose the address with --listen").Msg(DefaultListen + " is taken")
		}
	}
	if err != nil {
		return ls, errors.Join(&hinted{fmt.Errorf("listen: %w", err), "choose another address with --listen"}, ls.close())
	}
	return ls, nil
}

func (ls listeners) close() error {
	var err error
	for _, l := range []net.Listener{ls.socket, ls.health, ls.hooks} {
		if l != nil {
			err = errors.Join(err, l.Close())
		}
	}
	return errors.Join(err, ls.dropPrivate(nil))
}

// dropPrivate drops the directory made for the socket alone.
func (ls listeners) dropPrivate(files state.Files) error {
	if ls.private == "" {
		return nil
	}
	return files.Do(FileSocketGone, func() error { return os.RemoveAll(ls.private) })
}

// serve answers until ctx ends. The service is announced while it answers.
func (a *App) serve(ctx context.Context, ls listeners, p parts, store *state.Store) error {
	o := &operator{store: store, loop: p.loop, sources: p.names, secret: p.secret}
	if ls.hooks != nil {
		o.hooks = ls.hooks.Addr().String()
	}
	r := &reader{store: store, engine: p.engine, loop: p.loop, found: p.found, doing: p.doing, wrong: p.problems, survey: p.survey}
	k := &keeper{reader: r, loop: p.loop, wait: o.wait}
	handler := control.Handler(r, o, k, k, p.pause.Ask)
	api, err := a.kubernetes(ls.health, handler, store, p)
	if err != nil {
		return errors.Join(err, ls.close())
	}
	own := &http.Server{
		Handler:           handler,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       knowPeer,
		ReadHeaderTimeout: 10 * time.Second,
	}
	servers := []*http.Server{own}
	served := make(chan error, 3)
	var wg sync.WaitGroup
	defer wg.Wait()
	inside, stop := context.WithCancel(ctx)
	defer stop()
	wg.Go(func() { served <- own.Serve(ls.socket) })
	s := Service{PID: os.Getpid(), Socket: ls.socket.Addr().String()}
	if ls.health != nil {
		s.Address = ls.health.Addr().String()
	}
	switch {
	case api != nil:
		s.Kubeconfig = api.Kubeconfig()
		p.readTokens(api.ReadTokens)
		wg.Go(func() { served <- api.Run(inside) })
		select {
		case <-api.Ready():
		case err = <-served:
		case <-ctx.Done():
		}
	case ls.health != nil:
		health := &http.Server{Handler: healthHandler(store), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
		servers = append(servers, health)
		wg.Go(func() { served <- health.Serve(ls.health) })
	}
	if ls.hooks != nil {
		s.Webhook = o.hooks
		hooks := hookServer(p.hooks)
		servers = append(servers, hooks)
		wg.Go(func() { served <- hooks.Serve(ls.hooks) })
	}
	if err == nil {
		err = writeService(a.dir, s, a.Seams.Files)
	}
	if err == nil {
		close(a.ready)
		select {
		case err = <-served:
		case <-ctx.Done():
		}
	}
	err = errors.Join(err, removeService(a.dir, a.Seams.Files), shutdown(ctx, servers))
	return errors.Join(err, ls.dropPrivate(a.Seams.Files))
}

// shutdown lets requests under way end within the grace, and breaks them off after it.
func shutdown(ctx context.Context, servers []*http.Server) error {
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	var err error
	for _, server := range servers {
		if server.Shutdown(grace) != nil {
			err = errors.Join(err, server.Close())
		}
	}
	return err
}

// healthHandler answers whether the process lives, and whether it can make anything durable.
func healthHandler(store *state.Store) http.Handler {
	mux := http.NewServeMux()
	live := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") } // the client is gone: nobody to tell
	mux.HandleFunc("GET /livez", live)
	mux.HandleFunc("GET /healthz", live)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := store.DiskError(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		live(w, r)
	})
	return mux
}
