package api

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// The library waits half a minute for the head of a request, and then for ever for its body, whoever sends it, and for a
// watch's client to take what it is sent. Here both have a minute.
const slowest = time.Minute

// bound gives the handlers of a server that patience.
func bound(config *genericapiserver.Config, limit time.Duration) {
	limit = cmp.Or(limit, slowest)
	config.BuildHandlerChainFunc = func(api http.Handler, c *genericapiserver.Config) http.Handler {
		return sentBy(genericapiserver.DefaultBuildHandlerChain(takenBy(api, limit), c), limit)
	}
}

// sentBy breaks off whoever has not sent a request's body by then. A request without a body, and one whose body was read,
// may take as long as it takes.
func sentBy(h http.Handler, limit time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 && r.Body != nil {
			control := http.NewResponseController(w)
			if control.SetReadDeadline(after(r.Context(), limit)) == nil { // else it comes from this process
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
func takenBy(h http.Handler, limit time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if info, ok := request.RequestInfoFrom(r.Context()); ok && info.Verb == "watch" {
			w = responsewriter.WrapForHTTP1Or2(&taken{w, http.NewResponseController(w), r.Context, limit})
		}
		h.ServeHTTP(w, r)
	})
}

// taken is an answer of which each part is on its way before the next is written.
type taken struct {
	http.ResponseWriter
	control *http.ResponseController
	ctx     func() context.Context // of the request
	limit   time.Duration
}

func (t *taken) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *taken) Write(p []byte) (int, error) {
	// Where there can be no deadline nobody is slow: it is this process.
	_ = t.control.SetWriteDeadline(after(t.ctx(), t.limit))
	n, err := t.ResponseWriter.Write(p)
	if err == nil {
		err = t.control.Flush()
	}
	// A deadline that passes while there is nothing to write would end the watch all the same.
	_ = t.control.SetWriteDeadline(time.Time{})
	return n, err
}

// after is the time so long from now, by the clock of connections, which is never one that Options gives.
func after(ctx context.Context, d time.Duration) time.Time {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	t, _ := ctx.Deadline() // it has one
	return t
}
