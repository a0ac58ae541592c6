package image

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/node"
)

// maxDockerConfig is how large a docker configuration may be.
const maxDockerConfig = 1 << 20

// Keychain is what registries are shown: the entries of docker configurations.
type Keychain struct{ entries []entry }

type entry struct {
	host, path string
	credential node.Credential
}

// dockerConfig is the part of a docker configuration that is read. Helpers are programs, and are not run.
type dockerConfig struct {
	Auths map[string]dockerAuth `json:"auths"`
}

type dockerAuth struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// Add reads a docker configuration, as ~/.docker/config.json is. Its errors never tell what is in it.
func (k *Keychain) Add(data []byte) error {
	if len(data) > maxDockerConfig {
		return fmt.Errorf("docker configuration is larger than %d bytes", maxDockerConfig)
	}
	var c dockerConfig
	if json.Unmarshal(data, &c) != nil {
		return errors.New("docker configuration is not valid JSON")
	}
	return k.add(c.Auths)
}

// AddSecret reads a pull secret: of type kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg.
func (k *Keychain) AddSecret(s *corev1.Secret) error {
	var err error
	switch s.Type {
	case corev1.SecretTypeDockerConfigJson:
		err = k.Add(s.Data[corev1.DockerConfigJsonKey])
	case corev1.SecretTypeDockercfg:
		var auths map[string]dockerAuth
		if json.Unmarshal(s.Data[corev1.DockerConfigKey], &auths) != nil {
			err = errors.New("docker configuration is not valid JSON")
			break
		}
		err = k.add(auths)
	default:
		err = fmt.Errorf("type %s is none of a pull secret", s.Type)
	}
	if err != nil {
		return fmt.Errorf("pull secret %s: %w", s.Name, err)
	}
	return nil
}

func (k *Keychain) add(auths map[string]dockerAuth) error {
	names := make([]string, 0, len(auths))
	for name := range auths {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		a := auths[name]
		c := node.Credential{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
		if a.Auth != "" {
			plain, err := base64.StdEncoding.DecodeString(a.Auth)
			user, password, found := strings.Cut(strings.TrimRight(string(plain), "\x00"), ":")
			if err != nil || !found {
				return fmt.Errorf("entry of %q: auth is not NAME:PASSWORD in base64", name)
			}
			c.Username, c.Password = user, password
		}
		if c == (node.Credential{}) {
			continue
		}
		host, rest := split(name)
		k.entries = append(k.entries, entry{host: host, path: rest, credential: c})
	}
	return nil
}

// split takes the key of an entry apart: a host, with or without scheme, port and path.
func split(key string) (host, rest string) {
	if _, after, found := strings.Cut(key, "://"); found {
		key = after
	}
	host, rest, _ = strings.Cut(key, "/")
	rest = strings.TrimSuffix(rest, "/")
	if rest == "v1" || rest == "v2" {
		rest = ""
	}
	if host == "docker.io" || host == "registry-1.docker.io" {
		host = "index.docker.io"
	}
	return host, rest
}

// For lists what the registry of an image may be shown, the entry for the longest path first.
func (k *Keychain) For(r Reference) []node.Credential {
	var fitting []entry
	for _, e := range k.entries {
		if matches(e.host, r.Registry()) && within(e.path, r.Repository()) {
			fitting = append(fitting, e)
		}
	}
	slices.SortStableFunc(fitting, func(a, b entry) int { return len(b.path) - len(a.path) })
	var out []node.Credential
	for _, e := range fitting {
		if !slices.Contains(out, e.credential) {
			out = append(out, e.credential)
		}
	}
	return out
}

// matches compares hosts label by label, where a pattern may have stars; ports must be equal.
func matches(pattern, host string) bool {
	p, h := strings.Split(pattern, "."), strings.Split(host, ".")
	if len(p) != len(h) {
		return false
	}
	for i := range p {
		if ok, err := path.Match(p[i], h[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

func within(prefix, repository string) bool {
	return prefix == "" || repository == prefix || strings.HasPrefix(repository, prefix+"/")
}
