package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	apiversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/util/compatibility"
	utilopenapi "k8s.io/apiserver/pkg/util/openapi"
	"k8s.io/client-go/rest"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	generated "k8s.io/kubernetes/pkg/generated/openapi"

	"github.com/belay-dev/belay/state"
)

// Options of a server.
type Options struct {
	Store *state.Store
	// Writer decides about what Git manages.
	Writer Writer
	// Warn says what whoever writes an object that Git does not manage is to be warned of, a line each; nil: nothing.
	// before is nil when it is made, after when it is deleted. Neither may be modified.
	Warn func(before, after state.Object) []string
	// Metrics are shown beside the API server's own; nil: those alone.
	Metrics prometheus.Gatherer
	// Pods reaches into running pods; nil: nothing does.
	Pods Pods
	// Node is where the pods are, as clients are shown it: its name, labels and status, whose conditions and version are
	// the server's to say; nil: there is no node to see.
	Node *corev1.Node
	// Listener is where to serve; the server closes it.
	Listener net.Listener
	// Dir is the data directory: the certificate lies in tls, the tokens in tokens, what kubectl needs in kubeconfig.
	// What is missing is made.
	Dir string
	// Paths are handlers of more paths, each for what begins with it. Any role reaches them: they decide for themselves
	// what the user of a request (UserOf) may do.
	Paths map[string]http.Handler
	Now   func() time.Time
	Log   zerolog.Logger
	// Files is told of the steps by which the files in Dir become durable; nil: nobody is.
	Files state.Files

	slowest time.Duration // tests set it; 0: the constant
	most    int           // connections; tests set it; 0: the constant
}

// Server is the Kubernetes API. Run it once.
type Server struct {
	backend    *backend
	generic    *genericapiserver.GenericAPIServer
	kubeconfig string
	// tokens are those in force; address and certificate are what the kubeconfig names beside them.
	tokens      atomic.Pointer[[]token]
	tokensFile  string
	files       state.Files
	address     net.Addr
	certificate []byte
	ready       chan struct{}
	// connections are all that are open.
	connections *connections
}

// kubernetesVersion is that of the module k8s.io/kubernetes.
const kubernetesVersion = "v1.36.3"

// New makes a server and the files that it needs. It serves nothing before Run.
func New(o Options) (*Server, error) {
	libraries.log.Store(&o.Log)
	s := &Server{
		backend: &backend{
			store: o.Store, writer: o.Writer, warn: o.Warn, reach: o.Pods, node: o.Node, now: o.Now, stopping: make(chan struct{}),
		},
		kubeconfig: filepath.Join(o.Dir, "kubeconfig"), files: o.Files, ready: make(chan struct{}), connections: newConnections(o.Listener, cmp.Or(o.most, maxConnections), o.Log),
	}
	o.Listener = s.connections
	s.address, s.tokensFile = o.Listener.Addr(), filepath.Join(o.Dir, "tokens")
	if err := clearFiles(o.Files, o.Dir); err != nil {
		return nil, fmt.Errorf("kubernetes api: %w", err)
	}
	tokens, err := openTokens(o.Files, s.tokensFile)
	if err != nil {
		return nil, err
	}
	s.tokens.Store(&tokens)
	config, err := s.configure(o, func() []token { return *s.tokens.Load() })
	if err != nil {
		return nil, fmt.Errorf("kubernetes api: %w", err)
	}
	if s.generic, err = config.Complete(nil).New("belay", genericapiserver.NewEmptyDelegate()); err != nil {
		return nil, fmt.Errorf("kubernetes api: %w", err)
	}
	if err := s.backend.install(s.generic, accessOf(o)); err != nil {
		return nil, fmt.Errorf("kubernetes api: %w", err)
	}
	s.generic.Handler.NonGoRestfulMux.Handle(metricsPath, metricsHandler(o.Metrics))
	s.generic.Handler.NonGoRestfulMux.HandleFunc(customPath, noCustom)
	for path, handler := range o.Paths {
		s.generic.Handler.NonGoRestfulMux.UnlistedHandlePrefix(path, handler)
	}
	s.certificate, _ = config.SecureServing.Cert.CurrentCertKeyContent()
	if err := writeKubeconfig(s.files, s.kubeconfig, s.address, s.certificate, tokens); err != nil {
		return nil, err
	}
	return s, nil
}

// ReadTokens reads the tokens again: who has none of them any more is refused from the next request on. When that
// fails, those before stay in force. One call at a time.
func (s *Server) ReadTokens() error {
	tokens, err := readTokens(s.tokensFile)
	if err != nil {
		return err
	}
	s.tokens.Store(&tokens)
	return writeKubeconfig(s.files, s.kubeconfig, s.address, s.certificate, tokens)
}

// Kubeconfig is the file with which kubectl finds the server.
func (s *Server) Kubeconfig() string { return s.kubeconfig }

// Ready is closed once the server answers.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends, and returns when every request and every watch has ended.
func (s *Server) Run(ctx context.Context) error {
	inside, stop := context.WithCancel(ctx)
	var waiting sync.WaitGroup
	waiting.Go(func() { s.awaitReady(inside) })
	waiting.Go(func() { s.endStreams(inside) })
	err := s.generic.PrepareRun().RunWithContext(ctx)
	stop()
	waiting.Wait()
	s.connections.close()
	s.backend.watches.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// stopGrace is how long requests may go on after the server was told to stop.
const stopGrace = 2 * time.Second

// endStreams ends the streams when ctx does, and breaks off what is left after a grace: a client that reads nothing
// keeps nobody from stopping.
func (s *Server) endStreams(ctx context.Context) {
	<-ctx.Done()
	close(s.backend.stopping)
	time.AfterFunc(stopGrace, s.connections.close)
}

// readyEvery is how often a server that starts is asked whether it is ready.
const readyEvery = 5 * time.Millisecond

// awaitReady asks the server itself, since nothing else tells when all of its parts have started.
func (s *Server) awaitReady(ctx context.Context) {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "/livez", nil)
		if err != nil {
			return // it is a constant
		}
		answer := &answer{header: http.Header{}}
		s.generic.Handler.ServeHTTP(answer, req)
		if answer.status == http.StatusOK {
			close(s.ready)
			return
		}
	}
}

// answer keeps no more of an answer than its status.
type answer struct {
	header http.Header
	status int
}

func (a *answer) Header() http.Header    { return a.header }
func (a *answer) WriteHeader(status int) { a.status = status }

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return len(p), nil
}

// configure sets what the library leaves open or sets otherwise than we want it.
func (s *Server) configure(o Options, tokens func() []token) (*genericapiserver.Config, error) {
	config := genericapiserver.NewConfig(legacyscheme.Codecs)
	config.EffectiveVersion = released{compatibility.DefaultBuildEffectiveVersion()}
	config.EnableProfiling = false
	config.EnableMetrics = false                 // the library's handler knows the library's alone
	config.LoopbackClientConfig = &rest.Config{} // nothing in the process comes in through the network
	config.ShutdownWatchTerminationGracePeriod = 0

	definitions := utilopenapi.GetOpenAPIDefinitionsWithoutDisabledFeatures(generated.GetOpenAPIDefinitions)
	namer := openapi.NewDefinitionNamer(legacyscheme.Scheme)
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, namer)
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, namer)
	config.OpenAPIConfig.Info.Title, config.OpenAPIV3Config.Info.Title = "Belay", "Belay"

	config.Authentication.Authenticator = newWho(tokens)
	config.Authorization.Authorizer = accessOf(o)
	config.AdmissionControl = admission.NewChainHandler(rehearsal{s.backend}, protection{s.backend})
	config.AuditBackend = auditLog{o.Log}
	config.AuditPolicyRuleEvaluator = auditPolicy{}
	config.LongRunningFunc = longRunning(o.Paths)
	bound(config, o.slowest, s.connections)
	config.ReadyzChecks = append(config.ReadyzChecks, healthz.NamedCheck("disk", func(*http.Request) error {
		return o.Store.DiskError()
	}))

	certificate, err := openCertificate(o.Files, filepath.Join(o.Dir, "tls"), o.Listener.Addr(), o.Now())
	if err != nil {
		return nil, err
	}
	serving := options.NewSecureServingOptions()
	serving.Listener = o.Listener
	serving.ServerCert.CertKey = certificate
	serving.MinTLSVersion = "VersionTLS13"
	return config, serving.ApplyTo(&config.SecureServing)
}

// released tells which Kubernetes the libraries are of: a build of them as libraries knows none.
type released struct {
	basecompatibility.EffectiveVersion
}

func (r released) Info() *apiversion.Info {
	info := r.EffectiveVersion.Info()
	binary := r.BinaryVersion()
	info.Major, info.Minor = fmt.Sprint(binary.Major()), fmt.Sprint(binary.Minor())
	info.GitVersion = kubernetesVersion
	info.GitCommit, info.BuildDate = "", "" // placeholders else
	return info
}

// longRunning says which requests no time limit ends.
func longRunning(paths map[string]http.Handler) request.LongRunningRequestCheck {
	streams := filters.BasicLongRunningRequestCheck(sets.NewString("watch"), sets.NewString("log", "portforward", "exec", "attach"))
	return func(r *http.Request, info *request.RequestInfo) bool {
		for path := range paths {
			if strings.HasPrefix(r.URL.Path, path) {
				return true
			}
		}
		return streams(r, info)
	}
}
