package control

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Role is what a caller may do: each may do what the one before may.
type Role string

const (
	RoleView     Role = "view"     // ask
	RoleRollback Role = "rollback" // go back to stable revisions, pin them, and release
	RoleEdit     Role = "edit"     // everything
)

var roles = []Role{RoleView, RoleRollback, RoleEdit}

// Caller is who makes a request. Its name comes from a token or from the system, never from what the request says.
type Caller struct {
	Name string
	Role Role
	// Namespaces to which the caller is confined; empty: all.
	Namespaces []string
}

// May reports whether the caller may do what takes a role.
func (c Caller) May(need Role) bool {
	have := slices.Index(roles, c.Role)
	return have >= 0 && have >= slices.Index(roles, need)
}

// Reaches reports whether a namespace is one of the caller's.
func (c Caller) Reaches(namespace string) bool {
	return len(c.Namespaces) == 0 || slices.Contains(c.Namespaces, namespace)
}

type callerKey struct{}

// WithCaller gives a request's context the caller.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf is the caller of a request; one without a role, when nobody said who it is.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// Unreachable is the answer to a caller who is confined to other namespaces.
func Unreachable(c Caller, namespace string) error {
	return &Error{
		Status: http.StatusForbidden, Message: fmt.Sprintf("%s may not reach namespace %q", c.Name, namespace),
		HintText: "the token is for " + strings.Join(c.Namespaces, ", "),
	}
}

// guarded lets a request through to a handler when its caller has the role. One who is confined to namespaces needs a
// handler that looks at them.
func guarded(need Role, confined bool, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c := CallerOf(req.Context())
		switch {
		case !c.May(need):
			writeError(w, &Error{Status: http.StatusForbidden, Message: "it takes the role " + string(need)})
		case len(c.Namespaces) > 0 && !confined:
			writeError(w, &Error{
				Status: http.StatusForbidden, Message: "the token is confined to namespaces, and this is about all of them",
				HintText: "use a token without namespaces",
			})
		default:
			h.ServeHTTP(w, req)
		}
	})
}
