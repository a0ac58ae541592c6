package api

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// The library waits half a minute for the head of a request, and then for ever for its body, whoever sends it, and for a
// watch's client to take what it is sent. Here both have a minute.
const slowest = time.Minute

// bound gives the handlers of a server that patience, and has them tell what its clients do.
func bound(config *genericapiserver.Config, limit time.Duration, clients *connections) {
	limit = cmp.Or(limit, slowest)
	config.BuildHandlerChainFunc = func(api http.Handler, c *genericapiserver.Config) http.Handler {
		chain := sentBy(genericapiserver.DefaultBuildHandlerChain(takenBy(api, limit, clients), c), limit)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer clients.began(r.RemoteAddr).ended()
			chain.ServeHTTP(w, r)
		})
	}
}

// sentBy breaks off whoever has not sent a request's body by then. A request without a body, and one whose body was read,
// may take as long as it takes.
func sentBy(h http.Handler, limit time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 && r.Body != nil {
			control := http.NewResponseController(w)
			if control.SetReadDeadline(after(r.Context(), limit)) == nil { // else it comes from this process
				r = r.WithContext(r.Context()) // the server looks into its own for what is left of the body
				r.Body = &awaited{r.Body, control}
			}
		}
		h.ServeHTTP(w, r)
	})
}

// awaited is a body with a deadline, which ends with it.
type awaited struct {
	io.ReadCloser
	control *http.ResponseController
}

func (a *awaited) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = a.control.SetReadDeadline(time.Time{}) // the connection is gone: so is the request
	}
	return n, err
}

// takenBy breaks off the watches whose client does not take by then what it is sent.
func takenBy(h http.Handler, limit time.Duration, clients *connections) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if info, ok := request.RequestInfoFrom(r.Context()); ok && info.Verb == "watch" {
			client := clients.watches(r.RemoteAddr)
			defer client.watched()
			t := &taken{ResponseWriter: w, control: http.NewResponseController(w), limit: limit, client: client}
			t.begin()
			defer t.end()
			w = responsewriter.WrapForHTTP1Or2(t)
		}
		h.ServeHTTP(w, r)
	})
}

// taken is an answer each part of which is to be on its way by then. What is written stays until a flush. Nobody is slow
// while there is nothing to write.
type taken struct {
	http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration
	client  *connection // nil: it is this process

	timer *time.Timer // runs while something is to be taken; set with the lock held, since it may be over at once

	mu   sync.Mutex // guards what follows
	told bool       // that it was late
	over bool
}

func (t *taken) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = time.AfterFunc(t.limit, t.late)
	t.timer.Stop()
}

func (t *taken) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *taken) Write(p []byte) (int, error) {
	t.timer.Reset(t.limit)
	return t.ResponseWriter.Write(p)
}

// Flush implements http.Flusher.
func (t *taken) Flush() {
	t.timer.Reset(t.limit)
	_ = t.control.Flush() // the next write fails, too
	t.timer.Stop()
}

// late ends the request. Where that cannot be told to the client either, because it takes nothing at all, the whole connection ends
// as long after that.
func (t *taken) late() {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.over:
	case t.told && t.client != nil:
		_ = t.client.Close() // it is broken off
	case !t.told:
		t.told = true
		_ = t.control.SetWriteDeadline(time.Unix(1, 0)) // it is over; where there can be none it is this process
		t.timer.Reset(t.limit)
	}
}

// end is when the request has ended.
func (t *taken) end() {
	t.timer.Stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
}

// after is the time so long from now, by the clock of connections, which is never one that Options gives.
func after(ctx context.Context, d time.Duration) time.Time {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	t, _ := ctx.Deadline() // it has one
	return t
}
