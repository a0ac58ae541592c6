package api

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// status asks with the given token, "" for none.
func (s *served) status(t *testing.T, method, path, token string, body io.Reader, versions ...uint16) (int, error) {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true}
	if len(versions) > 0 {
		config.MaxVersion = versions[0]
	}
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, s.config.Host+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, errors.Join(err, res.Body.Close())
}

func checkDoors(t *testing.T, s *served) {
	for _, c := range []struct {
		path, token string
		want        int
	}{
		{"/healthz", "", 200}, {"/livez", "", 200}, {"/readyz", "", 200}, {"/metrics", "", 401}, {"/", "", 401},
		{"/apis/apps/v1/deployments", "", 401}, {"/apis/apps/v1/deployments", "wrong", 401}, {"/healthz", "wrong", 401},
		{"/apis/apps/v1/deployments", s.config.BearerToken, 200}, {"/metrics", s.config.BearerToken, 200},
		{"/belay/v1/status", s.config.BearerToken, 200}, {"/belay/v1/status", "", 401},
		{"/debug/pprof/", s.config.BearerToken, 404}, {"/openapi/v2", s.config.BearerToken, 200}, {"/openapi/v3", s.config.BearerToken, 200},
	} {
		if got, err := s.status(t, http.MethodGet, c.path, c.token, nil); err != nil || got != c.want {
			t.Errorf("%s with token %t: %d %v, want %d", c.path, c.token != "", got, err, c.want)
		}
	}
	if _, err := s.status(t, http.MethodGet, "/healthz", "", nil, tls.VersionTLS12); err == nil {
		t.Error("TLS 1.2 was accepted")
	}
}

func checkHostile(t *testing.T, s *served) {
	token := s.config.BearerToken
	maps := "/api/v1/namespaces/default/configmaps"
	for name, c := range map[string]struct {
		method, path string
		body         string
		want         int
	}{
		"huge":        {"POST", maps, `{"data":{"x":"` + strings.Repeat("a", 4<<20) + `"}}`, 413},
		"deep":        {"POST", maps, `{"metadata":{"name":"deep"},"x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}", 400},
		"not as deep": {"POST", maps, `{"metadata":{"name":"deep"},"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}", 201},
		"no json":     {"POST", maps, "\x00\x01", 400},
		"up":          {"GET", "/api/v1/namespaces/default/configmaps/..%2f..%2fdefault", "", 404},
		"further up":  {"GET", "/api/v1/namespaces/default/configmaps/%2e%2e", "", 400},
		"made up":     {"POST", maps, `{"metadata":{"name":"../../secrets/x"}}`, 422},
		"elsewhere":   {"POST", maps, `{"metadata":{"name":"x","namespace":"other"}}`, 400},
		"bad limit":   {"GET", maps + "?limit=x", "", 400},
		"bad token":   {"GET", maps + "?limit=1&continue=zzz", "", 400},
		"future":      {"GET", maps + "?resourceVersion=99999999&resourceVersionMatch=Exact", "", 504},
		"patch type":  {"PATCH", maps + "/x", "[]", 415},
		"unknown field": {"POST", maps + "?fieldValidation=Strict",
			`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"u"},"datum":{}}`, 400},
		"long name": {"GET", maps + "/" + strings.Repeat("a", 100_000), "", 404},
		"no kind":   {"GET", "/apis/apps/v1/daemonsets", "", 404},
	} {
		got, err := s.status(t, c.method, c.path, token, strings.NewReader(c.body))
		if err != nil || got != c.want {
			t.Errorf("%s: %d %v, want %d", name, got, err, c.want)
		}
	}
	// A slash that is written otherwise is one to those who decide, too.
	tokens, err := openTokens(nil, filepath.Join(s.dir, "tokens"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range tokens {
		got, err := s.status(t, "GET", "/api/v1/namespaces/default%2fsecrets", k.secret, nil)
		if want := map[Role]int{RoleView: 403, RoleRollback: 403, RoleEdit: 200}[k.role]; err != nil || got != want {
			t.Errorf("%s reads secrets: %d %v, want %d", k.role, got, err, want)
		}
	}
	checkHostilePatches(t, s)
}

// checkHostilePatches: each is refused because of what the row says, and the object stays as it was.
func checkHostilePatches(t *testing.T, s *served) {
	ctx, maps := t.Context(), s.as(t, RoleEdit).CoreV1().ConfigMaps("default")
	before, err := maps.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "patched"}, Data: map[string]string{"a": strings.Repeat("a", 100_000)},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	deep := strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000)
	copies := strings.Repeat(`{"op":"copy","from":"/data","path":"/metadata/x"},`, 100)
	for name, c := range map[string]struct {
		kind types.PatchType
		text string
		want int32
	}{
		"json, not one":             {types.JSONPatchType, `{"op":"remove"}`, 400},
		"json, no such path":        {types.JSONPatchType, `[{"op":"remove","path":"/data/none"}]`, 422},
		"json, no such op":          {types.JSONPatchType, `[{"op":"explode","path":"/data/a"}]`, 422},
		"json, many":                {types.JSONPatchType, "[" + strings.Repeat(`{"op":"test","path":"/kind","value":"ConfigMap"},`, 10_001) + `{"op":"test","path":"/kind","value":"ConfigMap"}]`, 413},
		"json, copies":              {types.JSONPatchType, "[" + copies + `{"op":"test","path":"/kind","value":"ConfigMap"}]`, 422},
		"merge, not one":            {types.MergePatchType, `[1`, 400},
		"merge, deep":               {types.MergePatchType, deep, 400},
		"merge, wrong type":         {types.MergePatchType, `{"data":[1]}`, 422},
		"merge, another name":       {types.MergePatchType, `{"metadata":{"name":"other"}}`, 400},
		"merge, another space":      {types.MergePatchType, `{"metadata":{"namespace":"other"}}`, 400},
		"merge, another UID":        {types.MergePatchType, `{"metadata":{"uid":"x"}}`, 422},
		"merge, another type":       {types.MergePatchType, `{"kind":"Secret"}`, 422},
		"strategic, not one":        {types.StrategicMergePatchType, `"x"`, 400},
		"strategic, deep":           {types.StrategicMergePatchType, deep, 400},
		"strategic, no such":        {types.StrategicMergePatchType, `{"$patch":"explode"}`, 500},
		"applied, not one":          {types.ApplyPatchType, "a: [", 400},
		"applied, another name":     {types.ApplyPatchType, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"other"}}`, 400},
		"applied, in nobody's name": {types.ApplyPatchType, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"patched"}}`, 422},
	} {
		var by metav1.PatchOptions
		if c.kind == types.ApplyPatchType && !strings.HasSuffix(name, "nobody's name") {
			by.FieldManager = "somebody"
		}
		_, err := maps.Patch(ctx, "patched", c.kind, []byte(c.text), by)
		var status apierrors.APIStatus
		if !errors.As(err, &status) || status.Status().Code != c.want {
			t.Errorf("%s: %.300v, want %d", name, err, c.want)
		}
	}
	if after, err := maps.Get(ctx, "patched", metav1.GetOptions{}); err != nil || after.ResourceVersion != before.ResourceVersion {
		t.Errorf("%v changed %v", err, after.ManagedFields)
	}
}

func checkFiles(t *testing.T, s *served) {
	for _, name := range []string{"tokens", "kubeconfig", "tls/server.key", "tls/server.crt"} {
		info, err := os.Stat(filepath.Join(s.dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, err, info)
		}
	}
	address := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	before, err := os.ReadFile(filepath.Join(s.dir, "tls", "server.crt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		when time.Duration
		kept bool
	}{{0, true}, {life / 10 * 8, true}} {
		if _, err := openCertificate(nil, filepath.Join(s.dir, "tls"), address, time.Now().Add(c.when)); err != nil {
			t.Fatal(err)
		}
		after, err := os.ReadFile(filepath.Join(s.dir, "tls", "server.crt"))
		if err != nil || bytes.Equal(before, after) != c.kept {
			t.Errorf("after %s: kept %t %v", c.when, bytes.Equal(before, after), err)
		}
	}
	elsewhere := t.TempDir()
	if _, err := openCertificate(nil, elsewhere, address, time.Now()); err != nil {
		t.Fatal(err)
	}
	old, _ := os.ReadFile(filepath.Join(elsewhere, "server.crt"))
	for name, again := range map[string]func() error{
		"expiring": func() error {
			_, err := openCertificate(nil, elsewhere, address, time.Now().Add(life/100*95))
			return err
		},
		"moved": func() error {
			_, err := openCertificate(nil, elsewhere, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, time.Now())
			return err
		},
	} {
		if err := again(); err != nil {
			t.Fatal(err)
		}
		now, err := os.ReadFile(filepath.Join(elsewhere, "server.crt"))
		if err != nil || bytes.Equal(old, now) {
			t.Errorf("%s: the certificate is the old one %v", name, err)
		}
		old = now
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", minToken)
	for _, c := range []struct{ text, want string }{
		{"# nothing\n\nview alice " + long + " shop,blog\n", ""},
		{"view alice short", "1: a token has 16 characters or more"},
		{"\nroot alice " + long, "2: no such role"},
		{"view alice", "1: want role, name, token and namespaces"},
		{"view a " + long + "\nedit b " + long, "2: the token is there already"},
	} {
		tokens, err := parseTokens(c.text)
		if got := fmt.Sprint(err); c.want != "" && got != c.want || c.want == "" && (err != nil || len(tokens) != 1 || len(tokens[0].namespaces) != 2) {
			t.Errorf("%q: %v %v", c.text, tokens, err)
		}
	}
	name := filepath.Join(t.TempDir(), "tokens")
	first, err := openTokens(nil, name)
	if err != nil || len(first) != 3 {
		t.Fatalf("%v %v", first, err)
	}
	again, err := openTokens(nil, name)
	if err != nil || again[0].secret != first[0].secret {
		t.Errorf("%v %v", again, err)
	}
	if err := os.Chmod(name, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := openTokens(nil, name); err == nil || !strings.Contains(err.Error(), "others may read") {
		t.Errorf("a file that others may read: %v", err)
	}
}

func TestAccess(t *testing.T) {
	t.Parallel()
	ask := func(verb, group, resource, sub, namespace string) authorizer.AttributesRecord {
		return authorizer.AttributesRecord{Verb: verb, APIGroup: group, Resource: resource, Subresource: sub, Namespace: namespace, ResourceRequest: true}
	}
	path := func(verb, path string) authorizer.AttributesRecord {
		return authorizer.AttributesRecord{Verb: verb, Path: path}
	}
	for _, c := range []struct {
		token token
		asked authorizer.AttributesRecord
		want  bool
	}{
		{token{role: RoleView}, ask("watch", "apps", "deployments", "", ""), true},
		{token{role: RoleView}, ask("get", "", "pods", "log", "shop"), true},
		{token{role: RoleView}, ask("get", "", "pods", "portforward", "shop"), false},
		{token{role: RoleRollback}, ask("patch", "apps", "deployments", "scale", "shop"), false},
		{token{role: RoleRollback}, ask("watch", "", "secrets", "", "shop"), false},
		{token{role: RoleEdit}, ask("create", "", "pods", "portforward", "shop"), true},
		{token{role: RoleEdit}, ask("deletecollection", "", "secrets", "", "shop"), true},
		{token{role: "root"}, ask("get", "", "pods", "", "shop"), false},
		{token{role: RoleView}, path("get", "/belay/v1/status"), true},
		{token{role: RoleView}, path("post", "/belay/v1/sync"), true}, // it decides for itself
		{token{role: "root"}, path("get", "/belay/v1/status"), false},
		{token{role: RoleView}, path("post", "/elsewhere"), false},
		{token{role: RoleEdit}, path("post", "/elsewhere"), true},
		{token{role: RoleRollback}, ask("patch", "apps", "deployments", "", "shop"), true}, // if it goes back
		{token{role: RoleRollback}, ask("update", "apps", "deployments", "", "shop"), false},
		{token{role: RoleRollback}, ask("create", "apps", "deployments", "", "shop"), false},
		{token{role: RoleRollback}, ask("patch", "apps", "replicasets", "", "shop"), false},
		{token{role: RoleRollback}, ask("patch", "", "pods", "", "shop"), false},
		{token{role: RoleView}, ask("patch", "apps", "deployments", "", "shop"), false},
		{token{role: RoleEdit, namespaces: []string{"shop"}}, ask("delete", "apps", "deployments", "", "shop"), true},
		{token{role: RoleEdit, namespaces: []string{"shop"}}, ask("get", "", "pods", "", "blog"), false},
		{token{role: RoleEdit, namespaces: []string{"shop"}}, ask("list", "", "pods", "", ""), false},
		{token{role: RoleEdit, namespaces: []string{"shop"}}, ask("create", "authorization.k8s.io", "selfsubjectaccessreviews", "", ""), true},
		{token{role: RoleView, namespaces: []string{"shop"}}, path("get", "/belay/v1/status"), true},
		{token{role: RoleRollback, namespaces: []string{"shop"}}, ask("patch", "apps", "deployments", "", "blog"), false},
		{token{role: RoleView, namespaces: []string{"shop"}}, path("get", "/openapi/v3"), true},
	} {
		c.asked.User = c.token.user()
		got, reason, err := access{[]string{"/belay/v1/"}}.Authorize(t.Context(), c.asked)
		if err != nil || (got == authorizer.DecisionAllow) != c.want {
			t.Errorf("%s %v: %s %s%s %s: %v %q %v", c.token.role, c.token.namespaces, c.asked.Verb, c.asked.Resource, c.asked.Path, c.asked.Namespace, got, reason, err)
		}
	}
}
