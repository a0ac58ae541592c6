package api

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// checkGuards has one row or more for each guard in front of the registries, which lets through what the row asks for when
// it is taken away.
func checkGuards(t *testing.T, s *served) {
	tokens, err := openTokens(nil, filepath.Join(s.dir, "tokens"))
	if err != nil {
		t.Fatal(err)
	}
	edit, view := "Authorization: Bearer "+tokenOf(tokens, RoleEdit), "Authorization: Bearer "+tokenOf(tokens, RoleView)
	const maps, secrets, isYAML = "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/secrets", "Content-Type: application/yaml"
	bomb := "metadata: {name: bomb}\na: &a [x,x,x,x,x,x,x,x,x]\n"
	for n := range 9 {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", 'b'+n, 'b'+n, strings.Repeat(fmt.Sprintf("*%c,", 'a'+n), 9))
	}
	for _, c := range []struct {
		guard, method, path, body string
		headers                   []string
		want                      []int // one of them
	}{
		{"a token is asked for", "GET", maps, "", nil, []int{401}},
		{"in the header alone", "GET", maps + "?access_token=" + tokenOf(tokens, RoleEdit), "", nil, []int{401}},
		{"as a bearer's", "GET", maps, "", []string{"Authorization: Basic " + tokenOf(tokens, RoleEdit)}, []int{401}},
		{"the whole of it", "GET", maps, "", []string{edit[:len(edit)-1]}, []int{401}},
		{"nobody vouches for another", "GET", maps, "", []string{"X-Remote-User: edit", "X-Remote-Group: belay:edit"}, []int{401}},
		{"health is all that nobody sees", "GET", "/healthz/", "", nil, []int{401}},
		{"nobody becomes another", "GET", secrets, "", []string{view, "Impersonate-User: edit", "Impersonate-Group: belay:edit"}, []int{403}},
		{"a role is needed", "GET", maps, "", []string{edit, "Impersonate-User: system:serviceaccount:default:default"}, []int{403}},
		{"beside the API, too", "GET", "/belay/v1/status", "", []string{edit, "Impersonate-User: system:serviceaccount:default:default"}, []int{403}},
		{"views read no Secrets", "GET", secrets, "", []string{view}, []int{403}},
		{"nor their metadata", "GET", secrets, "", []string{view, "Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}, []int{403}},
		{"nor by another method", "HEAD", secrets, "", []string{view}, []int{403}},
		{"nor by a watch", "GET", "/api/v1/watch/secrets", "", []string{view}, []int{403}},
		{"nor by another name", "GET", "/api/v1/namespaces/default/%73ecrets", "", []string{view}, []int{403}},
		{"nor by more slashes", "GET", "//api/v1/namespaces/default/secrets", "", []string{view}, []int{403, 404, 301}},
		{"nor by slashes between", "GET", "/api//v1/namespaces/default/secrets", "", []string{view}, []int{403, 404, 301}},
		{"nor by a slash behind", "GET", secrets + "/", "", []string{view}, []int{403, 404}},
		{"nor by a detour", "GET", "/api/v1/namespaces/default/configmaps/../secrets", "", []string{view}, []int{403, 404, 301, 400}},
		{"views change nothing", "POST", maps, "{}", []string{view}, []int{403}},
		{"nor with another word for it", "GET", maps, "", []string{view, "X-HTTP-Method-Override: DELETE"}, []int{200}},
		{"views run nothing", "GET", "/api/v1/namespaces/default/pods/x/exec?command=ls", "", []string{view}, []int{403}},
		{"no profiles", "GET", "/debug/pprof/heap", "", []string{edit}, []int{404}},
		{"no flags", "PUT", "/debug/flags/v", "9", []string{edit}, []int{404}},
		{"what is for nobody is for no view", "POST", "/elsewhere", "", []string{view}, []int{403}},
		{"a body's size", "POST", maps, strings.Repeat(" ", 4<<20), []string{edit}, []int{413}},
		{"a head's size", "GET", maps, "", []string{edit, "X: " + strings.Repeat("x", 2<<20)}, []int{431}},
		{"an address's size", "GET", maps + "?x=" + strings.Repeat("x", 2<<20), "", []string{edit}, []int{431}},
		{"depth", "POST", maps, strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000), []string{edit}, []int{400}},
		{"depth of yaml", "POST", maps, strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000), []string{edit, isYAML}, []int{400}},
		{"what yaml becomes", "POST", maps, bomb, []string{edit, isYAML}, []int{400}},
		{"unknown kinds of body", "POST", maps, "a=b", []string{edit, "Content-Type: application/x-www-form-urlencoded"}, []int{415}},
	} {
		got, err := s.say(t, c.method, c.path, c.body, c.headers...)
		if err != nil || !slices.Contains(c.want, got) {
			t.Errorf("%s: %d %v, want one of %v", c.guard, got, err, c.want)
		}
	}
}

func tokenOf(tokens []token, role Role) string {
	return tokens[slices.IndexFunc(tokens, func(t token) bool { return t.role == role })].secret
}

// say asks over HTTP/1.1, with the path as it is, and follows nothing.
func (s *served) say(t *testing.T, method, path, body string, headers ...string) (int, error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, s.config.Host, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.URL.Opaque = "//" + req.URL.Host + path
	req.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

// TestInFlight: there is an end to how many requests are being answered, and who only reads still gets in then.
func TestInFlight(t *testing.T) {
	t.Parallel()
	s := startImpatient(t, time.Hour, 0)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const most, clients = 200, 3
	var transports []*http.Transport
	for range clients {
		transports = append(transports, &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true})
	}
	ask := func(via *http.Transport, method string, body io.Reader) (int, error) {
		req, err := http.NewRequestWithContext(ctx, method, "https://"+s.address.String()+"/api/v1/namespaces/default/configmaps", body)
		if err != nil {
			return 0, err
		}
		req.Header.Set("Authorization", "Bearer "+s.token)
		req.Header.Set("Content-Type", "application/json")
		res, err := via.RoundTrip(req)
		if err != nil {
			return 0, err
		}
		return res.StatusCode, res.Body.Close()
	}
	// Bodies that do not end, some more than there may be.
	const asked = most + most/5
	refused := make(chan struct{}, asked)
	var waiting sync.WaitGroup
	for n := range asked {
		body, never := io.Pipe()
		defer never.Close()
		waiting.Go(func() {
			if status, err := ask(transports[n%clients], http.MethodPost, body); err == nil && status == http.StatusTooManyRequests {
				refused <- struct{}{}
			}
		})
	}
	select {
	case <-refused:
	case <-ctx.Done():
		t.Error("none is refused")
	}
	if status, err := ask(transports[0], http.MethodGet, nil); err != nil || status != http.StatusOK {
		t.Errorf("who reads: %d, %v", status, err)
	}
	cancel()
	waiting.Wait()
	for _, transport := range transports {
		transport.CloseIdleConnections()
	}
}
