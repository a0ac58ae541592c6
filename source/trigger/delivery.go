package trigger

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// host is a kind of sender, told by its headers.
type host string

const (
	hostForgejo         host = "Forgejo"
	hostGitea           host = "Gitea"
	hostGogs            host = "Gogs"
	hostGitHub          host = "GitHub"
	hostGitLab          host = "GitLab"
	hostBitbucketCloud  host = "Bitbucket Cloud"
	hostBitbucketServer host = "Bitbucket Server"
	hostStandard        host = "Standard Webhooks"
	hostGeneric         host = "generic"
)

// clockTolerance is how old, or how far ahead, the time in a signature may be.
const clockTolerance = 5 * time.Minute

// signs lists the headers by which each kind of host is told, in the order of asking: Forgejo, Gitea and Gogs send
// GitHub's headers too.
var signs = []struct {
	host    host
	event   string // header with the event
	headers []string
}{
	{hostForgejo, "X-Forgejo-Event", []string{"X-Forgejo-Event", "X-Forgejo-Signature"}},
	{hostGitea, "X-Gitea-Event", []string{"X-Gitea-Event", "X-Gitea-Signature"}},
	{hostGogs, "X-Gogs-Event", []string{"X-Gogs-Event", "X-Gogs-Signature"}},
	{hostGitHub, "X-Github-Event", []string{"X-Github-Event", "X-Hub-Signature-256"}},
	{hostGitLab, "X-Gitlab-Event", []string{"X-Gitlab-Event", "X-Gitlab-Token"}},
	{hostBitbucketCloud, "X-Event-Key", []string{"X-Hook-Uuid"}},
	{hostBitbucketServer, "X-Event-Key", []string{"X-Event-Key"}},
	{hostStandard, "", []string{"Webhook-Signature"}},
	{hostGeneric, "", []string{"X-Signature"}},
}

// pushes are the events of each kind of host that may move a branch. Hosts that are not listed name no events.
var pushes = map[host][]string{
	hostForgejo: {"push"}, hostGitea: {"push"}, hostGogs: {"push"}, hostGitHub: {"push"},
	hostGitLab: {"Push Hook", "System Hook"}, hostBitbucketCloud: {"repo:push"}, hostBitbucketServer: {"repo:refs_changed"},
}

// senderOf tells who sent a request, and its event; empty: nobody that is known.
func senderOf(h http.Header) (host, string) {
	for _, s := range signs {
		for _, name := range s.headers {
			if len(h.Values(name)) > 0 {
				return s.host, h.Get(s.event)
			}
		}
	}
	return "", ""
}

// single is the value of a header that is there exactly once.
func single(h http.Header, name string) string {
	if v := h.Values(name); len(v) == 1 {
		return v[0]
	}
	return ""
}

// signature finds what a sender shows to prove itself; empty: nothing, or it twice.
func signature(from host, h http.Header) string {
	switch from {
	case hostForgejo:
		if s := single(h, "X-Forgejo-Signature"); s != "" {
			return "sha256=" + s
		}
		return "sha256=" + single(h, "X-Gitea-Signature")
	case hostGitea:
		return "sha256=" + single(h, "X-Gitea-Signature")
	case hostGogs:
		return "sha256=" + single(h, "X-Gogs-Signature")
	case hostGitHub:
		return single(h, "X-Hub-Signature-256")
	case hostBitbucketCloud, hostBitbucketServer:
		return single(h, "X-Hub-Signature")
	case hostGeneric:
		return single(h, "X-Signature")
	case hostGitLab:
		if s := single(h, "Webhook-Signature"); s != "" {
			return s
		}
		return single(h, "X-Gitlab-Token")
	case hostStandard:
		return single(h, "Webhook-Signature")
	}
	return ""
}

// authentic reports whether who sent a body knows the secret. It compares in constant time.
func authentic(from host, h http.Header, body []byte, secret string, now time.Time) bool {
	shown := signature(from, h)
	if secret == "" || shown == "" {
		return false
	}
	if from == hostStandard || from == hostGitLab && len(h.Values("Webhook-Signature")) > 0 {
		return standard(shown, h, body, secret, now)
	}
	if from == hostGitLab {
		want, got := sha256.Sum256([]byte(secret)), sha256.Sum256([]byte(shown))
		return hmac.Equal(want[:], got[:])
	}
	algorithm, digits, _ := strings.Cut(shown, "=")
	var sum func() hash.Hash
	switch {
	case algorithm == "sha256":
		sum = sha256.New
	case algorithm == "sha512" && from == hostGeneric:
		sum = sha512.New
	default:
		return false
	}
	got, err := hex.DecodeString(digits)
	return err == nil && hmac.Equal(mac(sum, []byte(secret), body), got)
}

// standard checks a signature of Standard Webhooks, which GitLab sends too: a list, over the delivery's id, its time and
// the body.
func standard(shown string, h http.Header, body []byte, secret string, now time.Time) bool {
	id, stamp := single(h, "Webhook-Id"), single(h, "Webhook-Timestamp")
	at, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || id == "" || now.Sub(time.Unix(at, 0)).Abs() > clockTolerance {
		return false
	}
	key := []byte(secret)
	if encoded, ok := strings.CutPrefix(secret, "whsec_"); ok {
		if key, err = base64.StdEncoding.DecodeString(encoded); err != nil || len(key) == 0 {
			return false
		}
	}
	want := mac(sha256.New, key, []byte(id+"."+stamp+"."), body)
	found := false
	for s := range strings.FieldsSeq(shown) {
		encoded, ok := strings.CutPrefix(s, "v1,")
		got, err := base64.StdEncoding.DecodeString(encoded)
		found = hmac.Equal(want, got) && ok && err == nil || found
	}
	return found
}

func mac(sum func() hash.Hash, key []byte, parts ...[]byte) []byte {
	m := hmac.New(sum, key)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)
}

// move is a branch that a sender says was pushed, and where to; an empty commit: it is gone, or not said.
type move struct{ branch, commit string }

// push is what a sender says happened. It is a hint, however well signed.
type push struct {
	addresses []string // of the repository
	refs      bool     // references are named, so branches that are not among the moves did not move
	moves     []move
}

// payload is the union of what the hosts send for a push.
type payload struct {
	Ref        string `json:"ref"`
	After      string `json:"after"`
	Repository struct {
		CloneURL string `json:"clone_url"`
		SSHURL   string `json:"ssh_url"`
		HTMLURL  string `json:"html_url"`
		URL      string `json:"url"`
		GitHTTP  string `json:"git_http_url"`
		GitSSH   string `json:"git_ssh_url"`
		Homepage string `json:"homepage"`
		Links    struct {
			HTML  struct{ Href string } `json:"html"`
			Clone []struct{ Href string }
		} `json:"links"`
	} `json:"repository"`
	Project struct {
		GitHTTP string `json:"git_http_url"`
		GitSSH  string `json:"git_ssh_url"`
		Web     string `json:"web_url"`
	} `json:"project"`
	Push struct {
		Changes []struct {
			New, Old *struct {
				Type, Name string
				Target     struct{ Hash string }
			}
		}
	} `json:"push"`
	Changes []struct {
		Ref    json.RawMessage `json:"ref"` // Bitbucket: an object with id; GitLab: the name
		ToHash string          `json:"toHash"`
		After  string          `json:"after"`
	} `json:"changes"`
}

// parsePush reads the body of an authentic request. The body of a generic sender need not say anything.
func parsePush(from host, h http.Header, body []byte) (push, error) {
	if strings.HasPrefix(h.Get("Content-Type"), "application/x-www-form-urlencoded") {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return push{}, fmt.Errorf("read the form: %w", err)
		}
		body = []byte(form.Get("payload"))
	}
	var p payload
	if err := json.Unmarshal(body, &p); err != nil {
		if from == hostGeneric || from == hostStandard {
			return push{}, nil
		}
		return push{}, fmt.Errorf("read the payload: %w", err)
	}
	out := push{addresses: p.addresses()}
	out.add(p.Ref, p.After)
	for _, c := range p.Changes {
		var ref struct{ ID string }
		var name string
		if json.Unmarshal(c.Ref, &name) != nil && json.Unmarshal(c.Ref, &ref) == nil {
			name = ref.ID
		}
		out.add(name, c.ToHash+c.After)
	}
	for _, c := range p.Push.Changes {
		switch {
		case c.New != nil && c.New.Type == "branch":
			out.add("refs/heads/"+c.New.Name, c.New.Target.Hash)
		case c.New == nil && c.Old != nil && c.Old.Type == "branch":
			out.add("refs/heads/"+c.Old.Name, "")
		default:
			out.refs = true
		}
	}
	return out, nil
}

// addresses are those under which the repository can be reached or seen.
func (p *payload) addresses() []string {
	r := p.Repository
	all := []string{
		r.CloneURL, r.SSHURL, r.HTMLURL, r.URL, r.GitHTTP, r.GitSSH, r.Homepage, r.Links.HTML.Href,
		p.Project.GitHTTP, p.Project.GitSSH, p.Project.Web,
	}
	for _, l := range r.Links.Clone {
		all = append(all, l.Href)
	}
	return slices.DeleteFunc(all, func(a string) bool { return a == "" })
}

// add notes that a reference moved.
func (p *push) add(ref, commit string) {
	if ref == "" {
		return
	}
	p.refs = true
	branch, ok := strings.CutPrefix(ref, "refs/heads/")
	if !ok {
		return
	}
	if _, err := hex.DecodeString(commit); err != nil || len(commit) != 40 && len(commit) != 64 || strings.Trim(commit, "0") == "" {
		commit = ""
	}
	p.moves = append(p.moves, move{branch, commit})
}

// of finds the move of a branch, and whether it may have moved at all.
func (p *push) of(branch string) (move, bool) {
	for _, m := range p.moves {
		if m.branch == branch {
			return m, true
		}
	}
	return move{branch: branch}, !p.refs
}

// address makes addresses of one repository equal: host and path, whatever the protocol, the user and the port.
func address(raw string) string {
	scheme, rest, isURL := strings.Cut(raw, "://")
	if !isURL {
		h, path, ok := strings.Cut(raw, ":")
		if !ok || strings.Contains(h, "/") {
			return strings.TrimSuffix(strings.TrimRight(raw, "/"), ".git")
		}
		return cleanAddress(h, path)
	}
	authority, path, _ := strings.Cut(rest, "/")
	if scheme == "file" {
		return address("/" + path)
	}
	return cleanAddress(authority, path)
}

func cleanAddress(authority, path string) string {
	h := authority[strings.LastIndexByte(authority, '@')+1:]
	if i := strings.LastIndexByte(h, ':'); i >= 0 && !strings.HasSuffix(h, "]") {
		h = h[:i]
	}
	return strings.ToLower(h) + "/" + strings.TrimSuffix(strings.Trim(path, "/"), ".git")
}
