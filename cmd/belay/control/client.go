package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Error is an error of the API, with a hint for people.
type Error struct {
	Status   int    `json:"-"` // HTTP status
	Message  string `json:"error"`
	HintText string `json:"hint,omitempty"`
}

func (e *Error) Error() string { return e.Message }

// Hint says what to do about it; empty: nothing is known.
func (e *Error) Hint() string { return e.HintText }

// Client talks to a running service over its unix socket.
type Client struct {
	http *http.Client
}

// NewClient makes a client of the service that listens on a socket. It connects with the first call.
func NewClient(socket string) *Client {
	return &Client{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}}
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks for everything at a glance.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, "status", nil, nil)
}

// History asks for the rows of a Deployment, oldest first.
func (c *Client) History(ctx context.Context, q HistoryQuery) ([]Row, error) {
	v := url.Values{"name": {q.Name}}
	if q.Namespace != "" {
		v.Set("namespace", q.Namespace)
	}
	if q.All {
		v.Set("all", "true")
	}
	if !q.At.IsZero() {
		v.Set("at", q.At.UTC().Format(time.RFC3339Nano))
	}
	return call[[]Row](ctx, c, http.MethodGet, "history", v, nil)
}

// Diff asks what a sync would change.
func (c *Client) Diff(ctx context.Context, q DiffQuery) (Diff, error) {
	v := url.Values{"source": {q.Source}, "commit": {q.Commit}, "path": {q.Path}, "patch": {strconv.FormatBool(q.Patch)}}
	return call[Diff](ctx, c, http.MethodGet, "diff", v, nil)
}

// Plan asks how a rollout would go.
func (c *Client) Plan(ctx context.Context, q PlanQuery) (Forecast, error) {
	return call[Forecast](ctx, c, http.MethodPost, "plan", nil, q)
}

// Objects asks for live objects.
func (c *Client) Objects(ctx context.Context, q ObjectQuery) (Objects, error) {
	v := url.Values{"kind": {q.Kind}, "namespace": {q.Namespace}, "name": {q.Name}, "after": {strconv.FormatInt(q.After, 10)}}
	return call[Objects](ctx, c, http.MethodGet, "objects", v, nil)
}

// Suspend stops, or resumes, acting on a source.
func (c *Client) Suspend(ctx context.Context, source string, suspended bool) error {
	verb := "resume"
	if suspended {
		verb = "suspend"
	}
	_, err := call[struct{}](ctx, c, http.MethodPost, verb, url.Values{"source": {source}}, nil)
	return err
}

// TestWebhook lets the service send itself a signed push of a source.
func (c *Client) TestWebhook(ctx context.Context, source string) (WebhookTest, error) {
	return call[WebhookTest](ctx, c, http.MethodPost, "webhook-test", url.Values{"source": {source}}, nil)
}

// Sync asks for a look now, and, when the request says so, waits until every rollout that it began has ended or
// stands still. moved is called with each row whose outcome changed meanwhile.
func (c *Client) Sync(ctx context.Context, r SyncRequest, moved func(Row)) (SyncResult, error) {
	return streamed[SyncResult](ctx, c, http.MethodPost, "sync", nil, r, moved)
}

// Rollback goes back, or says what it would do.
func (c *Client) Rollback(ctx context.Context, r RollbackRequest) (Rollback, error) {
	return call[Rollback](ctx, c, http.MethodPost, "rollback", nil, r)
}

// Pin keeps a Deployment at a revision.
func (c *Client) Pin(ctx context.Context, r PinRequest) (Rollback, error) {
	return call[Rollback](ctx, c, http.MethodPost, "pin", nil, r)
}

// Release ends a hold, or says what it would do.
func (c *Client) Release(ctx context.Context, r ReleaseRequest) (Release, error) {
	return call[Release](ctx, c, http.MethodPost, "release", nil, r)
}

// Holds asks for all holds and marks.
func (c *Client) Holds(ctx context.Context) (Holds, error) {
	return call[Holds](ctx, c, http.MethodGet, "holds", nil, nil)
}

// Follow waits until a row of the history has ended or stands still. moved is called whenever its outcome changes.
func (c *Client) Follow(ctx context.Context, row string, moved func(Row)) (Row, error) {
	return streamed[Row](ctx, c, http.MethodGet, "follow", url.Values{"row": {row}}, nil, moved)
}

// streamed makes a request whose answer is rows that move, and a result at the end.
func streamed[T any](ctx context.Context, c *Client, method, path string, query url.Values, body any, moved func(Row)) (T, error) {
	var zero T
	res, err := c.send(ctx, method, path, query, body)
	if err != nil {
		return zero, err
	}
	defer func() { _ = res.Body.Close() }()
	for d := json.NewDecoder(res.Body); ; {
		var e event[T]
		if err := d.Decode(&e); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return zero, fmt.Errorf("read the answer: %w", err)
		}
		switch {
		case e.Error != nil:
			return zero, e.Error
		case e.Result != nil:
			return *e.Result, nil
		case e.Row != nil:
			moved(*e.Row)
		}
	}
}

// Backup writes the state as it is on disk to w: all of it, or there is an error.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	res, err := c.send(ctx, http.MethodGet, "backup", nil, nil)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(w, res.Body); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

// send makes a request and turns an error answer into an *Error.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	var reader io.Reader = http.NoBody
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
		reader = bytes.NewReader(b)
	}
	u := url.URL{Scheme: "http", Host: "belay", Path: prefix + path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), reader)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the service: %w", err)
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer func() { _ = res.Body.Close() }()
	e := &Error{Status: res.StatusCode}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxBody)).Decode(e); err != nil || e.Message == "" {
		e.Message = "the service answered " + res.Status
	}
	return nil, e
}

// call makes a request and decodes its answer.
func call[T any](ctx context.Context, c *Client, method, path string, query url.Values, body any) (T, error) {
	var out T
	res, err := c.send(ctx, method, path, query, body)
	if err != nil {
		return out, err
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("read the answer: %w", err)
	}
	return out, nil
}
