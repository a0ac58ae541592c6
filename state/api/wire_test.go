package api

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/belay-dev/belay/state"
)

// spoken is an answer as it came over the connection.
type spoken struct {
	*http.Response
	body string
}

// speaker asks a server without a client library, in one version of HTTP.
type speaker struct {
	t      *testing.T
	server *served
	client *http.Client
	major  int
}

func (s *served) speak(t *testing.T, major int) *speaker {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true, ForceAttemptHTTP2: major == 2}
	t.Cleanup(transport.CloseIdleConnections)
	return &speaker{t, s, &http.Client{Transport: transport}, major}
}

func (s *speaker) open(method, path string, body io.Reader, headers ...string) *http.Response {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.server.config.Host+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.server.config.BearerToken)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = res.Body.Close() })
	if res.ProtoMajor != s.major {
		s.t.Fatalf("the answer comes in %s", res.Proto)
	}
	return res
}

func (s *speaker) ask(method, path string, body io.Reader, headers ...string) spoken {
	s.t.Helper()
	res := s.open(method, path, body, headers...)
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return spoken{res, string(text)}
}

// list is what the tests read of a list.
type list struct {
	metav1.ListMeta `json:"metadata"`
	Items           []metav1.PartialObjectMetadata `json:"items"`
}

func (s *speaker) list(path string) list {
	s.t.Helper()
	var l list
	res := s.ask(http.MethodGet, path, nil)
	if err := json.Unmarshal([]byte(res.body), &l); err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s %.300s: %v", path, res.Status, res.body, err)
	}
	return l
}

const wireMaps, wireDeployments = "/api/v1/namespaces/default/configmaps", "/apis/apps/v1/namespaces/default/deployments"

// TestWire is what clients of any language meet: what is sent and answered over HTTP, in both of its versions.
func TestWire(t *testing.T) {
	t.Parallel()
	s := serveOver(t, state.Options{Now: time.Now, HistorySize: 20})
	for n := range 5 {
		if _, err := s.store.Commit(state.Create(deployment(fmt.Sprintf("web-%d", n)))); err != nil {
			t.Fatal(err)
		}
	}
	big := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "big"}, Data: map[string]string{"x": strings.Repeat("x", 200_000)}}
	if _, err := s.store.Commit(state.Create(big)); err != nil {
		t.Fatal(err)
	}
	for _, major := range []int{1, 2} {
		t.Run(fmt.Sprintf("HTTP %d", major), func(t *testing.T) {
			speaker := s.speak(t, major)
			wireForms(speaker)
			wireLists(speaker)
			wireWatch(speaker)
		})
	}
	// Last, since it takes the versions away from the others.
	for _, major := range []int{1, 2} {
		wireExpiry(s.speak(t, major))
	}
}

// chunks is a body whose length nobody knows.
type chunks struct{ io.Reader }

func wireForms(s *speaker) {
	s.t.Helper()
	name := func(kind string) string { return fmt.Sprintf("%s-%d", kind, s.major) }
	text := func(kind string) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q},"data":{"a":"b"}}`, name(kind))
	}
	var binary bytes.Buffer
	made := &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Name: name("protobuf")}}
	if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(made, &binary); err != nil {
		s.t.Fatal(err)
	}
	const isJSON, isProtobuf = "application/json", "application/vnd.kubernetes.protobuf"
	for _, c := range []struct {
		what, method, path string
		body               io.Reader
		headers            []string
		want               int
		kind, has          string // of what is answered
	}{
		{"json", "GET", wireDeployments + "/web-0", nil, nil, 200, isJSON, `"kind":"Deployment"`},
		{"protobuf", "GET", wireDeployments + "/web-0", nil, []string{"Accept: " + isProtobuf}, 200, isProtobuf, "k8s\x00"},
		{"protobuf if it can be", "GET", wireDeployments, nil, []string{"Accept: " + isProtobuf + ",application/json"}, 200, isProtobuf, "k8s\x00"},
		{"yaml", "GET", wireDeployments + "/web-0", nil, []string{"Accept: application/yaml"}, 200, "application/yaml", "kind: Deployment\n"},
		{"a table", "GET", wireDeployments, nil, []string{"Accept: application/json;as=Table;v=v1;g=meta.k8s.io"}, 200, isJSON, `"kind":"Table"`},
		{"metadata", "GET", wireDeployments, nil, []string{"Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}, 200, isJSON, `"kind":"PartialObjectMetadataList"`},
		{"a picture", "GET", wireDeployments, nil, []string{"Accept: image/png"}, 406, isJSON, "406: Not Acceptable"},
		{"made", "POST", wireMaps, strings.NewReader(text("json")), []string{"Content-Type: " + isJSON}, 201, isJSON, `"uid":`},
		{"made twice", "POST", wireMaps, strings.NewReader(text("json")), []string{"Content-Type: " + isJSON}, 409, isJSON, `"reason":"AlreadyExists"`},
		{"made of chunks", "POST", wireMaps, chunks{strings.NewReader(text("chunks"))}, []string{"Content-Type: " + isJSON}, 201, isJSON, `"uid":`},
		{"made of too many chunks", "POST", wireMaps, chunks{strings.NewReader(strings.Repeat(" ", 4<<20))}, []string{"Content-Type: " + isJSON}, 413, isJSON, `"reason":"RequestEntityTooLarge"`},
		{"made of protobuf", "POST", wireMaps, &binary, []string{"Content-Type: " + isProtobuf, "Accept: " + isProtobuf}, 201, isProtobuf, name("protobuf")},
		{"made of half of it", "POST", wireMaps, strings.NewReader("k8s\x00\x0a\xff"), []string{"Content-Type: " + isProtobuf}, 400, isJSON, `"reason":"BadRequest"`},
		{"made of yaml", "POST", wireMaps, strings.NewReader("metadata:\n  name: " + name("yaml")), []string{"Content-Type: application/yaml"}, 201, isJSON, `"uid":`},
		{"made of text", "POST", wireMaps, strings.NewReader("a"), []string{"Content-Type: text/plain"}, 415, isJSON, `"reason":"UnsupportedMediaType"`},
		{"deleted", "DELETE", wireMaps + "/" + name("json"), nil, nil, 200, isJSON, `"status":"Success"`},
		{"deleted twice", "DELETE", wireMaps + "/" + name("json"), nil, nil, 404, isJSON, `"reason":"NotFound"`},
		{"put into a list", "PUT", wireMaps, strings.NewReader("{}"), nil, 405, isJSON, `"reason":"MethodNotAllowed"`},
	} {
		res := s.ask(c.method, c.path, c.body, c.headers...)
		if kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";"); res.StatusCode != c.want || kind != c.kind || !strings.Contains(res.body, c.has) {
			s.t.Errorf("%s: %d %s %.300q, want %d %s %s", c.what, res.StatusCode, kind, res.body, c.want, c.kind, c.has)
		}
		// What is left of a body that was refused is never taken for another request.
		if s.major == 1 && res.StatusCode == http.StatusRequestEntityTooLarge && !res.Close {
			s.t.Errorf("%s: the connection goes on", c.what)
		}
	}
	for path, compressed := range map[string]bool{wireMaps + "?fieldSelector=metadata.name=big": true, wireDeployments + "/web-0": false} {
		res := s.ask("GET", path, nil, "Accept-Encoding: gzip")
		if got := res.Header.Get("Content-Encoding") == "gzip"; got != compressed {
			s.t.Errorf("%s is compressed: %t", path, got)
		} else if got {
			r, err := gzip.NewReader(strings.NewReader(res.body))
			if err != nil {
				s.t.Fatal(err)
			}
			if text, err := io.ReadAll(r); err != nil || !strings.Contains(string(text), strings.Repeat("x", 200_000)) || len(res.body) > 100_000 {
				s.t.Errorf("%s: %d bytes, of %d: %v", path, len(text), len(res.body), err)
			}
		}
	}
}

// wireLists asks for lists of versions and for pages of them.
func wireLists(s *speaker) {
	s.t.Helper()
	now := s.list(wireDeployments).ResourceVersion
	first := s.list(wireDeployments + "?limit=2")
	if len(first.Items) != 2 || first.Continue == "" || first.RemainingItemCount == nil || *first.RemainingItemCount != 3 || first.ResourceVersion != now {
		s.t.Errorf("the first page: %+v", first)
	}
	// What changes meanwhile is not in the pages that follow.
	if _, err := s.server.store.Commit(state.Delete(state.Key{Kind: state.KindDeployment, Namespace: "default", Name: "web-4"}, state.DeleteOptions{})); err != nil {
		s.t.Fatal(err)
	}
	names := []string{first.Items[0].Name, first.Items[1].Name}
	for page := first; page.Continue != ""; {
		page = s.list(wireDeployments + "?limit=2&continue=" + url.QueryEscape(page.Continue))
		for _, o := range page.Items {
			names = append(names, o.Name)
		}
		if page.ResourceVersion != now {
			s.t.Errorf("a page is of version %s, the first of %s", page.ResourceVersion, now)
		}
	}
	if got := strings.Join(names, " "); got != "web-0 web-1 web-2 web-3 web-4" {
		s.t.Errorf("page by page there are %s", got)
	}
	for query, want := range map[string]int{
		"": 4, "?resourceVersion=0": 4, "?resourceVersion=" + now: 4, "?resourceVersion=" + now + "&resourceVersionMatch=NotOlderThan": 4,
		"?resourceVersion=" + now + "&resourceVersionMatch=Exact": 5,
	} {
		if got := s.list(wireDeployments + query); len(got.Items) != want || got.ResourceVersion == "" {
			s.t.Errorf("%q: %d at %s, want %d", query, len(got.Items), got.ResourceVersion, want)
		}
	}
	for _, c := range []struct {
		query string
		want  int
		has   string
	}{
		{"?resourceVersion=1000000", 504, `Timeout: Too large resource version: 1000000, current: `},
		{"?resourceVersion=x", 400, `"reason":"BadRequest"`},
		{"?resourceVersion=0&resourceVersionMatch=Exact", 422, `resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"`},
		{"?resourceVersionMatch=Exact", 422, `resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided`},
		{"?limit=1&continue=zzz", 400, `"reason":"BadRequest"`},
		{"?watch=true&sendInitialEvents=true", 422, `resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan`},
	} {
		if res := s.ask("GET", wireDeployments+c.query, nil); res.StatusCode != c.want || !strings.Contains(res.body, c.has) {
			s.t.Errorf("%s: %d %s, want %d %s", c.query, res.StatusCode, res.body, c.want, c.has)
		}
	}
	if _, err := s.server.store.Commit(state.Create(deployment("web-4"))); err != nil {
		s.t.Fatal(err)
	}
}

var wireVersion = regexp.MustCompile(`"resourceVersion":"[0-9]+"`)

// wireWatch reads what a watch sends, line by line.
func wireWatch(s *speaker) {
	s.t.Helper()
	type event struct {
		Type   string
		Object metav1.PartialObjectMetadata
	}
	const ends = `"annotations":{"k8s.io/initial-events-end":"true"}`
	res := s.open("GET", wireDeployments+"?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", nil)
	lines := bufio.NewReader(res.Body)
	next := func(want string) string {
		s.t.Helper()
		line, err := lines.ReadString('\n')
		var e event
		if err == nil {
			err = json.Unmarshal([]byte(line), &e)
		}
		if got := e.Type + " " + e.Object.Name; err != nil || got != want || !wireVersion.MatchString(line) {
			s.t.Fatalf("%q: %v, want %s", line, err, want)
		}
		return line
	}
	for n := range 5 {
		next(fmt.Sprint("ADDED web-", n))
	}
	if line := next("BOOKMARK "); !strings.Contains(line, ends) {
		s.t.Errorf("where it begins there is %s", line)
	}
	change := func(n int32) {
		s.t.Helper()
		d, _ := state.Get[*appsv1.Deployment](s.server.store, "default", "web-0")
		d = d.DeepCopy()
		d.Spec.Replicas = &n
		if _, err := s.server.store.Commit(state.Update(d)); err != nil {
			s.t.Fatal(err)
		}
	}
	at := s.list(wireDeployments).ResourceVersion
	change(int32(10 + s.major))
	next("MODIFIED web-0")
	// After a version, in other forms.
	for accept, want := range map[string]string{
		"application/json;as=Table;v=v1;g=meta.k8s.io":     `"kind":"Table"`,
		"application/vnd.kubernetes.protobuf;stream=watch": "web-0",
	} {
		res := s.open("GET", wireDeployments+"?watch=true&resourceVersion="+at, nil, "Accept: "+accept)
		var got []byte
		for part := make([]byte, 4096); !bytes.Contains(got, []byte(want)); {
			n, err := res.Body.Read(part)
			if got = append(got, part[:n]...); err != nil {
				s.t.Fatalf("%s: %q: %v", accept, got, err)
			}
		}
		if kind, _, _ := strings.Cut(accept, ";"); !strings.HasPrefix(res.Header.Get("Content-Type"), kind) {
			s.t.Errorf("%s: it is %s", accept, res.Header.Get("Content-Type"))
		}
	}
	// Its time is over after a second at most.
	over := s.ask("GET", wireDeployments+"?watch=true&timeoutSeconds=1&resourceVersion="+s.list(wireDeployments).ResourceVersion, nil)
	if over.StatusCode != http.StatusOK || over.body != "" {
		s.t.Errorf("nothing changed: %s %s", over.Status, over.body)
	}
}

// wireExpiry asks for what is no longer kept.
func wireExpiry(s *speaker) {
	s.t.Helper()
	first := s.list(wireDeployments + "?limit=2")
	d, _ := state.Get[*appsv1.Deployment](s.server.store, "default", "web-0")
	for n := range int32(30) {
		d = d.DeepCopy()
		d.Spec.Replicas, d.ResourceVersion = &n, ""
		if _, err := s.server.store.Commit(state.Update(d)); err != nil {
			s.t.Fatal(err)
		}
	}
	for query, words := range map[string]string{
		"?resourceVersionMatch=Exact&resourceVersion=" + first.ResourceVersion: expired,
		"?limit=2&continue=" + url.QueryEscape(first.Continue):                 inconsistentContinue,
	} {
		var status metav1.Status
		res := s.ask("GET", wireDeployments+query, nil)
		if err := json.Unmarshal([]byte(res.body), &status); err != nil || res.StatusCode != http.StatusGone || status.Code != http.StatusGone ||
			status.Reason != metav1.StatusReasonExpired || status.Message != words {
			s.t.Errorf("%s: %s %s: %v", query, res.Status, res.body, err)
		}
		if strings.Contains(query, "continue") {
			rest := s.list(wireDeployments + "?continue=" + url.QueryEscape(status.Continue))
			if len(rest.Items) != 3 || rest.Items[0].Name != "web-2" {
				s.t.Errorf("the rest is %v", rest)
			}
		}
	}
	res := s.ask("GET", wireDeployments+"?watch=true&resourceVersion="+first.ResourceVersion, nil)
	if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.body, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"`+expiredWatch) ||
		!strings.Contains(res.body, `"reason":"Expired","code":410}`) {
		s.t.Errorf("a watch: %s %s", res.Status, res.body)
	}
}
