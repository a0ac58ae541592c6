package docker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/belay-dev/belay/reconciler/node"
)

// written is one entry of a log.
type written struct {
	at   time.Time
	text string
}

// forgetful is an engine with the log of one container, which says of a log that it follows only that there is something.
type forgetful struct {
	mu      sync.Mutex
	log     []written
	waiting []chan struct{} // of those that follow
	ended   chan struct{}
}

// change has the log become another.
func (e *forgetful) change(f func(log []written) []written) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.log = f(e.log)
	for _, w := range e.waiting {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

func (e *forgetful) logs(w http.ResponseWriter, q *http.Request) {
	query := q.URL.Query()
	if query.Get("follow") == "1" {
		news := make(chan struct{}, 1)
		e.mu.Lock()
		e.waiting = append(e.waiting, news)
		e.mu.Unlock()
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case <-news:
				_, _ = io.WriteString(w, "\x01\x00\x00\x00\x00\x00\x00\x01?")
				_ = http.NewResponseController(w).Flush()
			case <-q.Context().Done():
				return
			}
		}
	}
	e.mu.Lock()
	log := slices.Clone(e.log)
	e.mu.Unlock()
	if since, nanos, ok := strings.Cut(query.Get("since"), "."); ok {
		s, first := strconv.ParseInt(since, 10, 64)
		n, second := strconv.ParseInt(nanos, 10, 64)
		if err := errors.Join(first, second); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		log = slices.DeleteFunc(log, func(l written) bool { return l.at.Before(time.Unix(s, n)) })
	}
	if n, err := strconv.Atoi(query.Get("tail")); err == nil {
		log = log[max(0, len(log)-n):]
	}
	for _, l := range log {
		entry := l.at.Format("2006-01-02T15:04:05.000000000Z07:00") + " " + l.text
		header := binary.BigEndian.AppendUint32([]byte{1, 0, 0, 0}, uint32(len(entry)))
		_, _ = w.Write(append(header, entry...))
	}
}

func (e *forgetful) open(t *testing.T) *Runtime {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.41") })
	mux.HandleFunc("GET /{version}/containers/c/json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"Id": "c", "Config": {"Tty": false}}`)
	})
	mux.HandleFunc("POST /{version}/containers/c/wait", func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = http.NewResponseController(w).Flush() // as engines do, before there is an answer
		select {
		case <-e.ended:
			_, _ = io.WriteString(w, `{"StatusCode": 0}`)
		case <-q.Context().Done():
		}
	})
	mux.HandleFunc("GET /{version}/containers/c/logs", e.logs)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	c, err := client.New(client.WithHost("tcp://" + strings.TrimPrefix(server.URL, "http://")))
	if err != nil {
		t.Fatal(err)
	}
	r := &Runtime{c: c, outruns: true}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// TestFollower follows a log on an engine that loses what it follows.
func TestFollower(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	line := func(n int) written {
		return written{noon.Add(time.Duration(n) * time.Millisecond), fmt.Sprintf("line %d\n", n)}
	}
	lines := func(from, to int) (all []written) {
		for n := from; n <= to; n++ {
			all = append(all, line(n))
		}
		return all
	}
	chunk := written{noon.Add(time.Hour), strings.Repeat("a", 100)}
	end := written{noon.Add(time.Hour), "\n"}
	zero, two := int64(0), int64(2)
	for name, c := range map[string]struct {
		first   []written
		o       node.LogOptions
		begins  []written   // of the first that come
		changes [][]written // what the log becomes, one after the other
		comes   [][]written // with each of them
	}{
		"lines": {
			lines(1, 2), node.LogOptions{}, lines(1, 2), [][]written{lines(1, 3), lines(1, 5)}, [][]written{{line(3)}, lines(4, 5)},
		},
		"many at once": {
			lines(1, 1), node.LogOptions{}, lines(1, 1), [][]written{lines(1, 25_000)}, [][]written{lines(2, 25_000)},
		},
		"from nothing": {nil, node.LogOptions{}, nil, [][]written{lines(1, 2)}, [][]written{lines(1, 2)}},
		"a part":       {lines(1, 9), node.LogOptions{Tail: &two}, lines(8, 9), [][]written{lines(1, 10)}, [][]written{{line(10)}}},
		"no part":      {lines(1, 9), node.LogOptions{Tail: &zero}, nil, [][]written{lines(1, 10)}, [][]written{{line(10)}}},
		"since":        {lines(1, 9), node.LogOptions{Since: line(8).at}, lines(8, 9), [][]written{lines(1, 10)}, [][]written{{line(10)}}},
		"the same at one time": {
			[]written{line(1), chunk}, node.LogOptions{}, []written{line(1), chunk},
			[][]written{{line(1), chunk, chunk}, {line(1), chunk, chunk, chunk, chunk, end}, {line(1), chunk, chunk, chunk, chunk, end, end}},
			[][]written{{chunk}, {chunk, chunk, end}, {end}},
		},
		"rotated away": {
			lines(1, 3), node.LogOptions{}, lines(1, 3), [][]written{lines(5, 7), lines(7, 8)}, [][]written{lines(5, 7), {line(8)}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := &forgetful{log: c.first, ended: make(chan struct{})}
			r := e.open(t)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			c.o.Follow = true
			logs, err := r.Logs(ctx, "c", c.o)
			if err != nil {
				t.Fatal(err)
			}
			defer logs.Close()
			expect := func(entries []written) {
				t.Helper()
				var want strings.Builder
				for _, w := range entries {
					want.WriteString(w.text)
				}
				got := make([]byte, want.Len())
				if _, err := io.ReadFull(logs, got); err != nil || string(got) != want.String() {
					t.Fatalf("%q comes, and %v; want %q", got, err, want.String())
				}
			}
			expect(c.begins)
			for i, log := range c.changes {
				e.change(func([]written) []written { return log })
				expect(c.comes[i])
			}
			close(e.ended)
			if rest, err := io.ReadAll(logs); err != nil || len(rest) > 0 {
				t.Errorf("then %q, %v", rest, err)
			}
			if err := logs.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOutruns(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"20.10.24+dfsg1": true, "19.03.15": true, "23.0.1": false, "28.5.2": false, "v27": false, "": false, "dev": false,
	} {
		if got := outruns(version); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}
