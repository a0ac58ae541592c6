package docker

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/belay-dev/belay/reconciler/node"
)

// A log that is followed ends after its container also where the engine never ends it, with all that the engine sent.
func TestFollowedLogEnds(t *testing.T) {
	t.Parallel()
	const text = "one\ntwo\n"
	ended, gone := make(chan struct{}), make(chan struct{})
	engine := http.NewServeMux()
	answer := func(w http.ResponseWriter, body string) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body) // a client that is gone
	}
	engine.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.44") })
	engine.HandleFunc("GET /{version}/containers/c/json", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, `{"Id": "c", "Config": {"Tty": false}}`)
	})
	engine.HandleFunc("POST /{version}/containers/c/wait", func(w http.ResponseWriter, q *http.Request) {
		select {
		case <-ended:
			answer(w, `{"StatusCode": 0}`)
		case <-q.Context().Done():
		}
	})
	engine.HandleFunc("GET /{version}/containers/c/logs", func(w http.ResponseWriter, q *http.Request) {
		defer close(gone)
		_, _ = fmt.Fprintf(w, "\x01\x00\x00\x00\x00\x00\x00%c%s", len(text), text)
		_ = http.NewResponseController(w).Flush()
		<-q.Context().Done()
	})
	server := httptest.NewServer(engine)
	t.Cleanup(server.Close)
	c, err := client.New(client.WithHost("tcp://" + strings.TrimPrefix(server.URL, "http://")))
	if err != nil {
		t.Fatal(err)
	}
	r := &Runtime{c: c, quiet: 20 * time.Millisecond}
	t.Cleanup(func() { _ = r.Close() })

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	logs, err := r.Logs(ctx, "c", node.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(logs, got); err != nil || string(got) != text {
		t.Errorf("%q, %v", got, err)
	}
	close(ended)
	if rest, err := io.ReadAll(logs); err != nil || len(rest) > 0 {
		t.Errorf("then %q, %v", rest, err)
	}
	if err := logs.Close(); err != nil {
		t.Error(err)
	}
	<-gone
}
