package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/state"
)

// NewAPI makes the Kubernetes API of a service. It is given to the app because only the binary links it: it is by far
// the largest part.
type NewAPI func(APIOptions) (API, error)

// API is the Kubernetes API of a service.
type API interface {
	// Run serves until ctx ends.
	Run(context.Context) error
	// Ready is closed once it answers.
	Ready() <-chan struct{}
	// Kubeconfig is the file with which kubectl finds it.
	Kubeconfig() string
	// ReadTokens reads the tokens again. When that fails, those before stay in force.
	ReadTokens() error
}

// APIOptions is what the Kubernetes API works with.
type APIOptions struct {
	Store *state.Store
	// Pods reach into running pods; nil: nothing does.
	Pods node.Streamer
	// Node is where the pods are, as clients are shown it.
	Node *corev1.Node
	// Metrics are shown beside the API's own.
	Metrics  prometheus.Gatherer
	Listener net.Listener
	Dir      string // data directory
	// Paths are handlers of more paths. The context of each request says who makes it: see WithCaller.
	Paths map[string]http.Handler
	// Write sees to requests that would change what Git manages.
	Write func(context.Context, ManagedWrite) (warnings []string, err error)
	// Warn says what whoever writes an object that Git does not manage is to be warned of, a line each.
	Warn func(before, after state.Object) []string
	Now  func() time.Time
	Log  zerolog.Logger
	// Files is told of the steps by which its files become durable.
	Files state.Files
}

// kubernetes makes the Kubernetes API on a listener, with Belay's own beside it; nil when there is nothing to serve or
// nowhere.
func (a *App) kubernetes(l net.Listener, own http.Handler, store *state.Store, p parts) (API, error) {
	if a.API == nil || l == nil {
		return nil, nil
	}
	w := &writer{store: store, loop: p.loop, branch: p.branch, writes: p.writes, log: a.log}
	return a.API(APIOptions{
		Store: store, Pods: p.streams, Node: shownNode(p.runtime), Metrics: p.metrics, Listener: l, Dir: a.dir, Paths: map[string]http.Handler{"/belay/v1/": own},
		Write: w.Write, Warn: func(before, after state.Object) []string { return unhonoured(p.fields, before, after) }, Now: a.now, Log: a.log,
		Files: a.Seams.Files,
	})
}

// apiAt is where the Kubernetes API answers that is served on a listener; false when none is.
func (a *App) apiAt(l net.Listener) (netip.AddrPort, bool) {
	if a.API == nil || l == nil {
		return netip.AddrPort{}, false
	}
	at, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	return at.AddrPort(), true
}

// Caller is who makes a request of the Kubernetes API, or of Belay's own beside it.
type Caller = control.Caller

// Role is what a caller may do.
type Role = control.Role

// WithCaller says who makes a request.
func WithCaller(ctx context.Context, c Caller) context.Context { return control.WithCaller(ctx, c) }

// Roles that a token of the Kubernetes API can have.
var Roles = []string{"view", "rollback", "edit"}

// ServiceKubeconfig is the file with which kubectl reaches the service of a data directory in any role. The service was
// there a moment ago.
func ServiceKubeconfig(dir string) (string, error) {
	s, err := ReadService(dir)
	if err != nil {
		return "", err
	}
	if s.Kubeconfig == "" {
		return "", &hinted{fmt.Errorf("the service of %s does not serve the Kubernetes API", dir), "start it with --listen " + DefaultListen}
	}
	c, err := net.Dial("unix", s.Socket)
	if err != nil {
		return "", &NotRunningError{Dir: dir}
	}
	return s.Kubeconfig, c.Close()
}

// Kubeconfig is what kubectl needs to reach the service of a data directory in a role, and nothing of the other roles.
func Kubeconfig(dir, role string) ([]byte, error) {
	if !slices.Contains(Roles, role) {
		return nil, &hinted{fmt.Errorf("no such role: %q", role), "there are view, rollback and edit"}
	}
	file, err := ServiceKubeconfig(dir)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config, err := clientcmd.Load(data)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	context := "belay-" + role
	one, ok := config.Contexts[context]
	if !ok {
		return nil, &hinted{fmt.Errorf("no token has the role %s", role), "give it one in the file tokens of the data directory"}
	}
	for name := range config.Contexts {
		if name != context {
			delete(config.Contexts, name)
		}
	}
	for name := range config.AuthInfos {
		if name != one.AuthInfo {
			delete(config.AuthInfos, name)
		}
	}
	config.CurrentContext = context
	return clientcmd.Write(*config)
}
