package api

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// Role is what a token may do.
type Role string

// The roles, each with what the one before may.
const (
	RoleView     Role = "view"     // read everything but Secrets
	RoleRollback Role = "rollback" // view, and roll back what Git manages
	RoleEdit     Role = "edit"     // everything
)

var roles = []Role{RoleView, RoleRollback, RoleEdit}

const (
	groupPrefix = "belay:"
	// namespacesKey names the namespaces to which a token is confined.
	namespacesKey = "belay.dev/namespaces"
)

// healthPaths answer whoever asks.
var healthPaths = []string{"/healthz", "/livez", "/readyz"}

// who tells a request's user by its token.
type who struct{ bearer authenticator.Request }

func newWho(tokens func() []token) who {
	return who{bearertoken.New(authenticator.TokenFunc(func(_ context.Context, shown string) (*authenticator.Response, bool, error) {
		for _, t := range tokens() {
			if t.is(shown) {
				return &authenticator.Response{User: t.user()}, true, nil
			}
		}
		return nil, false, nil
	}))}
}

func (w who) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	if r.Header.Get("Authorization") == "" && slices.Contains(healthPaths, r.URL.Path) {
		return &authenticator.Response{User: &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}}}, true, nil
	}
	return w.bearer.AuthenticateRequest(r)
}

// access decides what a user may do.
type access struct {
	own []string // what begins with these decides for itself, whatever the role
}

func accessOf(o Options) access { return access{slices.Sorted(maps.Keys(o.Paths))} }

// Authorize decides about one request.
func (x access) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if !a.IsResourceRequest() && slices.Contains(healthPaths, a.GetPath()) {
		return authorizer.DecisionAllow, "", nil
	}
	role := roleOf(a.GetUser())
	if role == "" {
		return authorizer.DecisionDeny, "no role of belay", nil
	}
	if !a.IsResourceRequest() && slices.ContainsFunc(x.own, func(p string) bool { return strings.HasPrefix(a.GetPath(), p) }) {
		return authorizer.DecisionAllow, "", nil
	}
	if need := needed(a); slices.Index(roles, role) < slices.Index(roles, need) {
		return authorizer.DecisionDeny, "it takes the role " + string(need), nil
	}
	if !confined(a) {
		return authorizer.DecisionDeny, "the token is for the namespaces " + strings.Join(namespacesOf(a.GetUser()), ", "), nil
	}
	return authorizer.DecisionAllow, "", nil
}

func roleOf(u user.Info) Role {
	if u == nil {
		return ""
	}
	for _, g := range u.GetGroups() {
		if role := Role(strings.TrimPrefix(g, groupPrefix)); strings.HasPrefix(g, groupPrefix) && slices.Contains(roles, role) {
			return role
		}
	}
	return ""
}

func namespacesOf(u user.Info) []string { return u.GetExtra()[namespacesKey] }

// User is who makes a request.
type User struct {
	Name       string
	Role       Role
	Namespaces []string // to which the token is confined; empty: all
}

// UserOf tells the user of a request to one of Options.Paths.
func UserOf(ctx context.Context) (User, bool) {
	u, ok := request.UserFrom(ctx)
	if !ok {
		return User{}, false
	}
	return User{Name: u.GetName(), Role: roleOf(u), Namespaces: namespacesOf(u)}, true
}

// needed is the least role that may do it. What a patch of a Deployment does is known when it has been computed: see
// objects.ask.
func needed(a authorizer.Attributes) Role {
	read := slices.Contains([]string{"get", "list", "watch", "head", "options"}, a.GetVerb())
	switch {
	case !a.IsResourceRequest():
	case about(a):
		return RoleView
	case a.GetResource() == "secrets":
		return RoleEdit
	case a.GetResource() == "pods" && slices.Contains([]string{"exec", "attach", "portforward"}, a.GetSubresource()):
		return RoleEdit
	}
	switch {
	case read:
		return RoleView
	case a.GetVerb() == "patch" && a.GetAPIGroup() == "apps" && a.GetResource() == "deployments" && a.GetSubresource() == "":
		return RoleRollback
	}
	return RoleEdit
}

// confined says whether a request stays in the namespaces of its token.
func confined(a authorizer.Attributes) bool {
	only := namespacesOf(a.GetUser())
	if len(only) == 0 || about(a) {
		return true
	}
	if !a.IsResourceRequest() {
		return a.IsReadOnly()
	}
	return slices.Contains(only, a.GetNamespace())
}

// about says whether a request asks who one is or what one may do, and changes nothing whatever its verb.
func about(a authorizer.Attributes) bool {
	return a.GetAPIGroup() == "authorization.k8s.io" || a.GetAPIGroup() == "authentication.k8s.io"
}

var _ authorizer.RuleResolver = access{}

// RulesFor lists what a user may do in a namespace, for those who ask. Authorize decides: what it decides by more than the
// verb and the resource is left out, and said to be.
func (x access) RulesFor(ctx context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	var rules []authorizer.ResourceRuleInfo
	for _, r := range []authorizer.DefaultResourceRuleInfo{
		{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}},
		{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"patch"}},
		{APIGroups: []string{""}, Resources: []string{"configmaps", "endpoints", "events", "namespaces", "nodes", "pods", "pods/log", "resourcequotas", "serviceaccounts", "services"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{"apps"}, Resources: []string{"deployments", "replicasets"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{"autoscaling"}, Resources: []string{"horizontalpodautoscalers"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: []string{"get", "list", "watch"}},
	} {
		if x.all(ctx, u, namespace, r) {
			rules = append(rules, &r)
		}
		if len(rules) > 0 && r.Verbs[0] == "*" {
			break
		}
	}
	var paths []authorizer.NonResourceRuleInfo
	if roleOf(u) != "" {
		paths = append(paths, &authorizer.DefaultNonResourceRuleInfo{NonResourceURLs: []string{"*"}, Verbs: []string{"get"}})
	}
	return rules, paths, roleOf(u) == RoleRollback, nil
}

// all says whether a user may do all of a rule.
func (x access) all(ctx context.Context, u user.Info, namespace string, r authorizer.DefaultResourceRuleInfo) bool {
	for _, resource := range r.Resources {
		name, sub, _ := strings.Cut(resource, "/")
		for _, verb := range r.Verbs {
			d, _, err := x.Authorize(ctx, authorizer.AttributesRecord{
				User: u, Verb: verb, Namespace: namespace, APIGroup: r.APIGroups[0], Resource: name, Subresource: sub, ResourceRequest: true,
			})
			if err != nil || d != authorizer.DecisionAllow {
				return false
			}
		}
	}
	return true
}
