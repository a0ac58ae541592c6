package trigger

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Limits of what a sender may ask for.
const (
	maxHookBody     = 1 << 20
	maxHooks        = 64 // read at once
	maxHooksPerHost = 16 // of them, from one address
	acceptedRate    = 50 // authentic requests a second, in the long run
	acceptedBurst   = 200
	replayMemory    = time.Hour
	replayCount     = 4096
	commitPatience  = 30 * time.Second // for a commit that was announced and cannot be seen yet
)

// HookSource is a source as webhooks see it.
type HookSource struct {
	Name, URL, Branch string
	// Look makes it time to look; it must not block.
	Look func()
	// Has reports whether a commit was fetched already.
	Has func(commit string) bool
}

// HooksConfig is what webhooks are served with.
type HooksConfig struct {
	// Secret is what senders sign with. It is asked for at each request; an empty one lets nobody in.
	Secret func() (string, error)
	Now    func() time.Time
	Log    zerolog.Logger
}

// Hooks serves /hooks and /hooks/SOURCE. A request that is signed as GitHub, GitLab, Gitea, Forgejo, Gogs, Bitbucket or a
// sender of X-Signature does it makes it time to look at a source; nothing that it says is trusted any further.
type Hooks struct {
	cfg     HooksConfig
	changed chan struct{} // full when other sources were given

	mu      sync.Mutex // guards all below
	sources []HookSource
	expects map[string]chan string // source → the commit that was announced last
	reads   map[string]int
	total   int
	tokens  float64
	at      time.Time
	seen    map[[32]byte]time.Time
	order   [][32]byte
}

// NewHooks makes the handler; Run must run beside it.
func NewHooks(cfg HooksConfig) *Hooks {
	h := &Hooks{
		cfg: cfg, changed: make(chan struct{}, 1), expects: map[string]chan string{}, reads: map[string]int{}, tokens: acceptedBurst,
		at: cfg.Now(), seen: map[[32]byte]time.Time{},
	}
	return h
}

// Follow says which sources there are from now on.
func (h *Hooks) Follow(sources []HookSource) {
	h.mu.Lock()
	h.sources = slices.Clone(sources)
	for _, s := range sources {
		if h.expects[s.Name] == nil {
			h.expects[s.Name] = make(chan string, 1)
		}
	}
	h.mu.Unlock()
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// followed lists the sources that there are.
func (h *Hooks) followed() []HookSource {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sources
}

// source finds one of them.
func (h *Hooks) source(name string) (HookSource, bool) {
	all := h.followed()
	i := slices.IndexFunc(all, func(s HookSource) bool { return s.Name == name })
	if i < 0 {
		return HookSource{}, false
	}
	return all[i], true
}

// refusal is an answer other than 202.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

// ServeHTTP answers 202 before anything is looked at; 400, 401, 404, 405, 413, 429 or 503 when nothing will be.
func (h *Hooks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := h.deliver(w, r)
	if refused := (*refusal)(nil); errors.As(err, &refused) {
		if refused.status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "1")
		}
		http.Error(w, refused.text, refused.status)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, text+"\n") // the sender is gone: nobody to tell
}

func (h *Hooks) deliver(w http.ResponseWriter, r *http.Request) (string, error) {
	name, ok := strings.CutPrefix(strings.TrimSuffix(r.URL.Path, "/")+"/", "/hooks/")
	if name = strings.TrimSuffix(name, "/"); !ok || strings.Contains(name, "/") {
		return "", &refusal{http.StatusNotFound, "not found"}
	}
	if r.Method != http.MethodPost {
		return "", &refusal{http.StatusMethodNotAllowed, "want POST"}
	}
	from, event := senderOf(r.Header)
	if from == "" || signature(from, r.Header) == "" {
		return "", &refusal{http.StatusUnauthorized, "not signed"}
	}
	body, err := h.verified(w, r, from)
	if err != nil {
		return "", err
	}
	if events, ok := pushes[from]; ok && !slices.Contains(events, event) {
		return "nothing to look at: event " + event, nil
	}
	p, err := parsePush(from, r.Header, body)
	if err != nil {
		return "", &refusal{http.StatusBadRequest, err.Error()}
	}
	if len(p.moves) > 0 && h.replayed(name, body) {
		return "seen before", nil
	}
	return h.look(from, name, p)
}

// verified is the body of a request whose sender knows the secret.
func (h *Hooks) verified(w http.ResponseWriter, r *http.Request, from host) ([]byte, error) {
	secret, err := h.cfg.Secret()
	if err != nil || secret == "" {
		return nil, &refusal{http.StatusServiceUnavailable, "no secret"}
	}
	body, err := h.read(w, r)
	if err != nil {
		return nil, err
	}
	if !authentic(from, r.Header, body, secret, h.cfg.Now()) {
		return nil, &refusal{http.StatusUnauthorized, "wrong signature"}
	}
	if !h.spend() {
		return nil, &refusal{http.StatusTooManyRequests, "too many requests"}
	}
	return body, nil
}

// read takes a body in, as far as the limits allow.
func (h *Hooks) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > maxHookBody {
		return nil, &refusal{http.StatusRequestEntityTooLarge, "too large"}
	}
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = r.RemoteAddr
	}
	if !h.enter(address) {
		return nil, &refusal{http.StatusTooManyRequests, "too many requests"}
	}
	defer h.leave(address)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxHookBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, &refusal{http.StatusRequestEntityTooLarge, "too large"}
	}
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, "the body ended early"}
	}
	return body, nil
}

func (h *Hooks) enter(address string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.total >= maxHooks || h.reads[address] >= maxHooksPerHost {
		return false
	}
	h.total++
	h.reads[address]++
	return true
}

func (h *Hooks) leave(address string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.total--
	if h.reads[address]--; h.reads[address] == 0 {
		delete(h.reads, address)
	}
}

// spend takes one of the authentic requests that are allowed.
func (h *Hooks) spend() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.Now()
	h.tokens = min(acceptedBurst, h.tokens+max(0, now.Sub(h.at).Seconds())*acceptedRate)
	h.at = now
	if h.tokens < 1 {
		return false
	}
	h.tokens--
	return true
}

// replayed reports whether the same delivery came before, and remembers it. It is told by its body: that is signed, the
// header with its number is not, and the body of a push names commits.
func (h *Hooks) replayed(name string, body []byte) bool {
	key := sha256.Sum256(append([]byte(name+"\x00"), body...))
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.Now()
	for len(h.order) > 0 && (len(h.order) >= replayCount || now.Sub(h.seen[h.order[0]]) > replayMemory) {
		delete(h.seen, h.order[0])
		h.order = h.order[1:]
	}
	if _, ok := h.seen[key]; ok {
		return true
	}
	h.seen[key] = now
	h.order = append(h.order, key)
	return false
}

// look makes it time to look at the sources that a push is about.
func (h *Hooks) look(from host, name string, p push) (string, error) {
	var looks, others []string
	for _, s := range h.followed() {
		if s.Name != name && (name != "" || !slices.ContainsFunc(p.addresses, func(a string) bool { return address(a) == address(s.URL) })) {
			continue
		}
		m, moved := p.of(s.Branch)
		if !moved {
			others = append(others, s.Name)
			continue
		}
		looks = append(looks, s.Name)
		if m.commit != "" {
			h.expect(s.Name, m.commit)
		}
		s.Look()
		h.cfg.Log.Info().Str("source", s.Name).Str("sender", string(from)).Msg("asked to look")
	}
	switch {
	case len(looks) > 0:
		return "looking at " + strings.Join(looks, ", "), nil
	case len(others) > 0:
		return "nothing to look at: another branch than that of " + strings.Join(others, ", "), nil
	case name != "":
		return "", &refusal{http.StatusNotFound, "no such source"}
	}
	return "", &refusal{http.StatusNotFound, "no source follows this repository: send to /hooks/SOURCE"}
}

// expect remembers the commit that was announced last.
func (h *Hooks) expect(name, commit string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.expects[name]
	select {
	case <-c:
	default:
	}
	c <- commit // never blocks: it is emptied under the same lock
}

// Run looks again, for a while, where a commit was announced that cannot be seen yet; until ctx ends.
func (h *Hooks) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	running := map[string]context.CancelFunc{}
	defer func() {
		for _, stop := range running {
			stop()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.changed:
		}
		for name, stop := range running {
			if _, ok := h.source(name); !ok {
				stop()
				delete(running, name)
			}
		}
		for _, s := range h.followed() {
			if running[s.Name] == nil {
				ctx, stop := context.WithCancel(ctx)
				running[s.Name] = stop
				wg.Go(func() { h.wait(ctx, s.Name) })
			}
		}
	}
}

// wait waits for the commits that are announced for one source.
func (h *Hooks) wait(ctx context.Context, name string) {
	h.mu.Lock()
	announced := h.expects[name]
	h.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return
		case commit := <-announced:
			h.await(ctx, name, commit, announced)
		}
	}
}

func (h *Hooks) await(ctx context.Context, name, commit string, announced <-chan string) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	wait := 500 * time.Millisecond
	for waited := time.Duration(0); waited < commitPatience; wait = min(2*wait, 8*time.Second, commitPatience-waited) {
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case newer := <-announced:
			commit, waited, wait = newer, 0, 250*time.Millisecond
			continue
		case <-timer.C:
		}
		s, ok := h.source(name)
		if !ok || s.Has(commit) {
			return
		}
		waited += wait
		s.Look()
	}
	h.cfg.Log.Warn().Str("source", name).Str("commit", commit).Stringer("waited", commitPatience).Msg("a commit that was announced cannot be seen")
}
