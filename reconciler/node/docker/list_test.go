package docker

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/moby/moby/client"
)

// TestListWhileOneVanishes has podman, whose list fails for as long as one of the containers is being removed.
func TestListWhileOneVanishes(t *testing.T) {
	t.Parallel()
	const refusals = 12
	var asked atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.41") })
	mux.HandleFunc("GET /{version}/containers/json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if asked.Add(1) <= refusals {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, `{"message": "container 6b81e4 does not exist in database: no such container"}`)
			return
		}
		_, _ = io.WriteString(w, `[{"Id": "c", "Labels": {"belay.dev/pod-uid": "p"}}]`)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	c, err := client.New(client.WithHost("tcp://" + strings.TrimPrefix(server.URL, "http://")))
	if err != nil {
		t.Fatal(err)
	}
	r := &Runtime{c: c}
	t.Cleanup(func() { _ = r.Close() })
	if all, err := r.summaries(t.Context(), "p"); err != nil || len(all) != 1 {
		t.Errorf("the list is %+v, %v", all, err)
	}
}
