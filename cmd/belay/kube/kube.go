package kube

import (
	"context"
	"net/http"

	"github.com/belay-dev/belay/cmd/belay/app"
	"github.com/belay-dev/belay/state/api"
)

var _ app.NewAPI = New

// New makes the Kubernetes API of a service.
func New(o app.APIOptions) (app.API, error) {
	paths := map[string]http.Handler{}
	for path, h := range o.Paths {
		paths[path] = known(h)
	}
	return api.New(api.Options{
		Store: o.Store, Pods: o.Pods, Node: o.Node, Metrics: o.Metrics, Writer: writer{o.Write}, Warn: o.Warn, Listener: o.Listener, Dir: o.Dir, Paths: paths, Now: o.Now, Log: o.Log, Files: o.Files,
	})
}

// caller is the user of a token.
func caller(u api.User) app.Caller {
	return app.Caller{Name: u.Name, Role: app.Role(u.Role), Namespaces: u.Namespaces}
}

// known tells a handler whose token a request shows.
func known(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, ok := api.UserOf(r.Context()); ok {
			r = r.WithContext(app.WithCaller(r.Context(), caller(u)))
		}
		h.ServeHTTP(w, r)
	})
}

// writer hands writes to what Git manages to the app.
type writer struct {
	write func(context.Context, app.ManagedWrite) ([]string, error)
}

func (w writer) Write(ctx context.Context, m api.ManagedWrite) ([]string, error) {
	return w.write(ctx, app.ManagedWrite{
		Managed: m.Managed, Caller: caller(m.User), AuditID: m.AuditID, DryRun: m.DryRun, Old: m.Old, New: m.New,
	})
}
