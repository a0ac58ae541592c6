package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/util/compatibility"
	utilopenapi "k8s.io/apiserver/pkg/util/openapi"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	generated "k8s.io/kubernetes/pkg/generated/openapi"

	"github.com/belay-dev/belay/state"
)

// Options of a server.
type Options struct {
	Store *state.Store
	// Writer decides about what Git manages.
	Writer Writer
	// Listener is where to serve; the server closes it.
	Listener net.Listener
	// Dir is the data directory: the certificate lies in tls, the tokens in tokens, what kubectl needs in kubeconfig.
	// What is missing is made.
	Dir string
	// Paths are handlers of more paths, each for what begins with it. Reading them takes any role, the rest the role
	// edit.
	Paths map[string]http.Handler
	Now   func() time.Time
	Log   zerolog.Logger
}

// Server is the Kubernetes API. Run it once.
type Server struct {
	backend    *backend
	generic    *genericapiserver.GenericAPIServer
	kubeconfig string
}

// klogOnce directs the log of the libraries, which is the process's.
var klogOnce sync.Once

// New makes a server and the files that it needs. It serves nothing before Run.
func New(o Options) (*Server, error) {
	klogOnce.Do(func() {
		klog.LogToStderr(false)
		klog.SetOutput(io.Discard)
		klog.SetSlogLogger(slog.New(zerolog.NewSlogHandler(o.Log.Level(zerolog.WarnLevel))))
	})
	s := &Server{backend: &backend{store: o.Store, writer: o.Writer}, kubeconfig: filepath.Join(o.Dir, "kubeconfig")}
	tokens, err := openTokens(filepath.Join(o.Dir, "tokens"))
	if err != nil {
		return nil, err
	}
	config, err := configure(o, tokens)
	if err != nil {
		return nil, fmt.Errorf("kubernetes api: %w", err)
	}
	if s.generic, err = config.Complete(nil).New("belay", genericapiserver.NewEmptyDelegate()); err != nil {
		return nil, fmt.Errorf("kubernetes api: %w", err)
	}
	if err := s.backend.install(s.generic, access{}); err != nil {
		return nil, fmt.Errorf("kubernetes api: %w", err)
	}
	for path, handler := range o.Paths {
		s.generic.Handler.NonGoRestfulMux.UnlistedHandlePrefix(path, handler)
	}
	certificate, _ := config.SecureServing.Cert.CurrentCertKeyContent()
	if err := writeKubeconfig(s.kubeconfig, o.Listener.Addr(), certificate, tokens); err != nil {
		return nil, err
	}
	return s, nil
}

// Kubeconfig is the file with which kubectl finds the server.
func (s *Server) Kubeconfig() string { return s.kubeconfig }

// Run serves until ctx ends, and returns when every request and every watch has ended.
func (s *Server) Run(ctx context.Context) error {
	err := s.generic.PrepareRun().RunWithContext(ctx)
	s.backend.watches.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// configure sets what the library leaves open or sets otherwise than we want it.
func configure(o Options, tokens []token) (*genericapiserver.Config, error) {
	config := genericapiserver.NewConfig(legacyscheme.Codecs)
	config.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	config.EnableProfiling = false
	config.LoopbackClientConfig = &rest.Config{} // nothing in the process comes in through the network
	config.ShutdownWatchTerminationGracePeriod = 0

	definitions := utilopenapi.GetOpenAPIDefinitionsWithoutDisabledFeatures(generated.GetOpenAPIDefinitions)
	namer := openapi.NewDefinitionNamer(legacyscheme.Scheme)
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, namer)
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, namer)
	config.OpenAPIConfig.Info.Title, config.OpenAPIV3Config.Info.Title = "Belay", "Belay"

	config.Authentication.Authenticator = newWho(tokens)
	config.Authorization.Authorizer = access{}
	config.AuditBackend = auditLog{o.Log}
	config.AuditPolicyRuleEvaluator = auditPolicy{}
	config.LongRunningFunc = longRunning(o.Paths)
	config.ReadyzChecks = append(config.ReadyzChecks, healthz.NamedCheck("disk", func(*http.Request) error {
		return o.Store.DiskError()
	}))

	certificate, err := openCertificate(filepath.Join(o.Dir, "tls"), o.Listener.Addr(), o.Now())
	if err != nil {
		return nil, err
	}
	serving := options.NewSecureServingOptions()
	serving.Listener = o.Listener
	serving.ServerCert.CertKey = certificate
	serving.MinTLSVersion = "VersionTLS13"
	return config, serving.ApplyTo(&config.SecureServing)
}

// longRunning says which requests no time limit ends.
func longRunning(paths map[string]http.Handler) request.LongRunningRequestCheck {
	streams := filters.BasicLongRunningRequestCheck(sets.NewString("watch"), sets.NewString("log"))
	return func(r *http.Request, info *request.RequestInfo) bool {
		for path := range paths {
			if strings.HasPrefix(r.URL.Path, path) {
				return true
			}
		}
		return streams(r, info)
	}
}
