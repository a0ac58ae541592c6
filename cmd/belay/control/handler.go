package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Reader answers questions. Its methods return at once, however busy the service is.
type Reader interface {
	Status(context.Context) (EncodedStatus, error)
	History(context.Context, HistoryQuery) ([]Row, error)
	Diff(context.Context, DiffQuery) (Diff, error)
	Plan(context.Context, PlanQuery) (Forecast, error)
	Objects(context.Context, ObjectQuery) (Objects, error)
}

// Operator does what it is asked. Sync calls moved with each row that it began, whenever the row's outcome changes.
// Neither returns before what it did is durable.
type Operator interface {
	Sync(ctx context.Context, r SyncRequest, moved func(Row)) (SyncResult, error)
	Suspend(ctx context.Context, source string, suspended bool) error
	// Backup writes the state as it is on disk, the service goes on meanwhile.
	Backup(ctx context.Context, w io.Writer) error
	// TestWebhook lets the service send itself a signed push of a source.
	TestWebhook(ctx context.Context, source string) (WebhookTest, error)
}

// maxBody bounds a request's body; a manifest for `belay plan -f` is the largest of them.
const maxBody = 3 << 20

const prefix = "/belay/v1/"

// Handler serves the API to callers that the request's context names (WithCaller), each to what its role lets it.
// Errors are JSON objects {error, hint}. Before a question is answered that people ask while they watch, first is called,
// and what it gives once it is answered.
func Handler(r Reader, o Operator, h Holder, u Undoer, first func() (answered func())) http.Handler {
	s := routes{http.NewServeMux(), first}
	s.reads(r)
	s.holds(h)
	s.undoes(u)
	s.handle("POST", "sync", RoleEdit, false, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { syncNow(w, req, o) }))
	s.answer("POST", "webhook-test", RoleEdit, false, func(req *http.Request) (any, error) {
		return o.TestWebhook(req.Context(), req.URL.Query().Get("source"))
	})
	for verb, suspended := range map[string]bool{"suspend": true, "resume": false} {
		s.answer("POST", verb, RoleEdit, false, func(req *http.Request) (any, error) {
			return struct{}{}, o.Suspend(req.Context(), req.URL.Query().Get("source"), suspended)
		})
	}
	s.handle("GET", "backup", RoleEdit, false, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { backup(w, req, o) }))
	s.Handle("/", answer(func(req *http.Request) (any, error) {
		return nil, &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("no such call: %s %s", req.Method, req.URL.Path)}
	}))
	return s
}

// routes are the calls of the API. Those that are confined look at the caller's namespaces themselves.
type routes struct {
	*http.ServeMux
	first func() (answered func())
}

func (s routes) handle(method, path string, need Role, confined bool, h http.Handler) {
	s.Handle(method+" "+prefix+path, guarded(need, confined, h))
}

func (s routes) answer(method, path string, need Role, confined bool, f func(*http.Request) (any, error)) {
	s.handle(method, path, need, confined, answer(f))
}

// question serves a call that is answered at once, before everything else.
func (s routes) question(path string, confined bool, h http.Handler) {
	s.handle("GET", path, RoleView, confined, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		answered := s.first()
		defer answered()
		h.ServeHTTP(w, req)
	}))
}

// asked serves a call whose request is a JSON body.
func asked[Q, A any](s routes, path string, need Role, confined bool, f func(context.Context, Q) (A, error)) {
	s.answer("POST", path, need, confined, func(req *http.Request) (any, error) {
		var q Q
		if err := decode(req, &q); err != nil {
			return nil, err
		}
		return f(req.Context(), q)
	})
}

// reads are the questions.
func (s routes) reads(r Reader) {
	s.question("status", false, status(r))
	s.question("history", true, answer(func(req *http.Request) (any, error) {
		q := req.URL.Query()
		query := HistoryQuery{Namespace: q.Get("namespace"), Name: q.Get("name"), All: q.Get("all") == "true"}
		if at := q.Get("at"); at != "" {
			t, err := time.Parse(time.RFC3339, at)
			if err != nil {
				return nil, &Error{Status: http.StatusBadRequest, Message: "time " + strconv.Quote(at) + " is not RFC 3339"}
			}
			query.At = t
		}
		return r.History(req.Context(), query)
	}))
	s.answer("GET", "diff", RoleView, false, func(req *http.Request) (any, error) {
		q := req.URL.Query()
		return r.Diff(req.Context(), DiffQuery{Source: q.Get("source"), Commit: q.Get("commit"), Path: q.Get("path"), Patch: q.Get("patch") == "true"})
	})
	asked(s, "plan", RoleView, false, r.Plan)
	s.answer("GET", "objects", RoleView, false, func(req *http.Request) (any, error) {
		q := req.URL.Query()
		after, err := strconv.ParseInt(q.Get("after"), 10, 64)
		if q.Get("after") != "" && err != nil {
			return nil, &Error{Status: http.StatusBadRequest, Message: "version " + strconv.Quote(q.Get("after")) + " is not a number"}
		}
		return r.Objects(req.Context(), ObjectQuery{Kind: q.Get("kind"), Namespace: q.Get("namespace"), Name: q.Get("name"), After: after})
	})
}

// holds are the ways back, and what keeps a Deployment there.
func (s routes) holds(h Holder) {
	asked(s, "rollback", RoleRollback, true, h.Rollback)
	asked(s, "pin", RoleRollback, true, h.Pin)
	asked(s, "release", RoleRollback, true, h.Release)
	s.question("holds", true, answer(func(req *http.Request) (any, error) { return h.Holds(req.Context()) }))
	s.handle("GET", "follow", RoleView, true, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		stream(w, func(moved func(Row)) (any, error) { return h.Follow(req.Context(), req.URL.Query().Get("row"), moved) })
	}))
}

// answer turns a function into a handler that writes its result, or its error, as JSON.
func answer(f func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		v, err := f(req)
		if err != nil {
			writeError(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // the client is gone: nobody to tell
	})
}

func decode(req *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(nil, req.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return &Error{Status: http.StatusBadRequest, Message: "read the request: " + err.Error()}
	}
	return nil
}

func writeError(w http.ResponseWriter, err error) {
	e := wireError(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	_ = json.NewEncoder(w).Encode(e) // the client is gone: nobody to tell
}

// wireError turns any error into what goes over the wire.
func wireError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	e := &Error{Status: http.StatusInternalServerError, Message: err.Error()}
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		e.HintText = h.Hint()
	}
	return e
}

// backupPatience is how long one piece of a backup may take to be read: the state cannot grow for as long.
const backupPatience = 10 * time.Second

// patient is a response that gives up on a reader who stands still.
type patient struct {
	http.ResponseWriter
	begun bool
}

func (p *patient) Write(b []byte) (int, error) {
	p.begun = true
	// Where there is no deadline to set, there is a request that ends.
	_ = http.NewResponseController(p.ResponseWriter).SetWriteDeadline(time.Now().Add(backupPatience))
	return p.ResponseWriter.Write(b)
}

// backup streams the state. One that ends early is cut off, so that the client knows.
func backup(w http.ResponseWriter, req *http.Request, o Operator) {
	w.Header().Set("Content-Type", "application/octet-stream")
	out := &patient{ResponseWriter: w}
	switch err := o.Backup(req.Context(), out); {
	case err == nil:
	case out.begun:
		panic(http.ErrAbortHandler)
	default:
		writeError(w, err)
	}
}

// syncNow streams the rows that move while the sync is waited for, and its result at the end.
func syncNow(w http.ResponseWriter, req *http.Request, o Operator) {
	var r SyncRequest
	if err := decode(req, &r); err != nil {
		writeError(w, err)
		return
	}
	stream(w, func(moved func(Row)) (any, error) { return o.Sync(req.Context(), r, moved) })
}

// stream answers with rows that move, one JSON object a line, and the result or an error at the end.
func stream(w http.ResponseWriter, f func(moved func(Row)) (any, error)) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc, out := json.NewEncoder(w), http.NewResponseController(w)
	send := func(e event[any]) {
		_ = enc.Encode(e) // the client is gone: the request's context ends the waiting
		_ = out.Flush()
	}
	res, err := f(func(row Row) { send(event[any]{Row: &row}) })
	if err != nil {
		send(event[any]{Error: wireError(err)})
		return
	}
	send(event[any]{Result: &res})
}
