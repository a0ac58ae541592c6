package image

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/node"
)

func TestParse(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for text, want := range map[string]string{
		"web":                           "index.docker.io/library/web:latest",
		"web:1":                         "index.docker.io/library/web:1",
		"docker.io/library/web:1":       "index.docker.io/library/web:1",
		"registry.example.com:5000/a/b": "registry.example.com:5000/a/b:latest",
		"127.0.0.1:5000/web@" + digest:  "127.0.0.1:5000/web@" + digest,
		"Web:1":                         `failed to apply default image tag "Web:1": couldn't parse image name "Web:1": invalid reference format`,
		"web::1":                        `failed to apply default image tag "web::1": couldn't parse image name "web::1": invalid reference format`,
		"":                              `failed to apply default image tag "": couldn't parse image name "": invalid reference format`,
	} {
		ref, err := Parse(text)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = ref.String()
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestKeychain(t *testing.T) {
	pair := func(user, password string) string {
		return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	}
	config := fmt.Sprintf(`{"auths": {
		"https://index.docker.io/v1/": {"auth": %q},
		"registry.example.com": {"username": "all", "password": "p"},
		"registry.example.com/team": {"username": "team", "password": "p"},
		"*.wild.example.com": {"identitytoken": "token"},
		"empty.example.com": {}
	}, "credsStore": "evil"}`, pair("hub", "a:b"))
	var k Keychain
	if err := k.AddSecret(&corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{".dockerconfigjson": []byte(config)}}); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]node.Credential{
		"web:1":                           {{Username: "hub", Password: "a:b"}},
		"registry.example.com/other/web":  {{Username: "all", Password: "p"}},
		"registry.example.com/team/web":   {{Username: "team", Password: "p"}, {Username: "all", Password: "p"}},
		"registry.example.com/teamwork/w": {{Username: "all", Password: "p"}},
		"a.wild.example.com/web":          {{IdentityToken: "token"}},
		"a.b.wild.example.com/web":        nil,
		"registry.example.com:5000/web":   nil,
		"empty.example.com/web":           nil,
	} {
		ref, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := k.For(ref); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
	for name, s := range map[string]*corev1.Secret{
		"no JSON":   {Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{".dockerconfigjson": []byte("s3cr3t")}},
		"bad auth":  {Type: corev1.SecretTypeDockercfg, Data: map[string][]byte{".dockercfg": []byte(`{"a": {"auth": "s3cr3t!"}}`)}},
		"no colon":  {Type: corev1.SecretTypeDockercfg, Data: map[string][]byte{".dockercfg": []byte(`{"a": {"auth": "czNjcjN0"}}`)}},
		"wrong one": {Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"x": []byte("s3cr3t")}},
	} {
		if err := k.AddSecret(s); err == nil || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
