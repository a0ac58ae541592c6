package control

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// service answers everything with nothing.
type service struct{}

func (service) Status(context.Context) (EncodedStatus, error)            { return EncodedStatus{}, nil }
func (service) History(context.Context, HistoryQuery) ([]Row, error)     { return nil, nil }
func (service) Diff(context.Context, DiffQuery) (Diff, error)            { return Diff{}, nil }
func (service) Plan(context.Context, PlanQuery) (Forecast, error)        { return Forecast{}, nil }
func (service) Objects(context.Context, ObjectQuery) (Objects, error)    { return Objects{}, nil }
func (service) Suspend(context.Context, string, bool) error              { return nil }
func (service) Backup(context.Context, io.Writer) error                  { return nil }
func (service) TestWebhook(context.Context, string) (WebhookTest, error) { return WebhookTest{}, nil }

func (service) Sync(context.Context, SyncRequest, func(Row)) (SyncResult, error) {
	return SyncResult{}, nil
}

func (service) Rollback(_ context.Context, r RollbackRequest) (Rollback, error) {
	return Rollback{Name: r.Name}, nil
}
func (service) Pin(context.Context, PinRequest) (Rollback, error)        { return Rollback{}, nil }
func (service) Release(context.Context, ReleaseRequest) (Release, error) { return Release{}, nil }
func (service) Holds(context.Context) (Holds, error)                     { return Holds{}, nil }
func (service) Follow(context.Context, string, func(Row)) (Row, error)   { return Row{}, nil }

func (service) RollbackCommit(context.Context, CommitRollbackRequest) (CommitRollback, error) {
	return CommitRollback{}, nil
}

// TestRoles: which role each call takes, and which of them a token that is confined to namespaces reaches. A caller that
// nobody knows reaches nothing.
func TestRoles(t *testing.T) {
	t.Parallel()
	h := Handler(service{}, service{}, service{}, service{}, func() func() { return func() {} })
	for _, c := range []struct {
		method, path string
		need         Role
		confined     bool
	}{
		{"GET", "status", RoleView, false}, {"GET", "history", RoleView, true}, {"GET", "diff", RoleView, false},
		{"GET", "objects", RoleView, false}, {"POST", "plan", RoleView, false},
		{"GET", "holds", RoleView, true}, {"GET", "follow", RoleView, true},
		{"POST", "rollback", RoleRollback, true}, {"POST", "pin", RoleRollback, true}, {"POST", "release", RoleRollback, true},
		{"POST", "rollback-commit", RoleRollback, true},
		{"POST", "sync", RoleEdit, false}, {"POST", "suspend", RoleEdit, false}, {"POST", "resume", RoleEdit, false},
		{"POST", "webhook-test", RoleEdit, false}, {"GET", "backup", RoleEdit, false},
	} {
		for _, caller := range []Caller{
			{}, {Name: "x", Role: "root"}, {Name: "v", Role: RoleView}, {Name: "r", Role: RoleRollback}, {Name: "e", Role: RoleEdit},
			{Name: "c", Role: RoleEdit, Namespaces: []string{"shop"}},
		} {
			req := httptest.NewRequestWithContext(WithCaller(t.Context(), caller), c.method, prefix+c.path, strings.NewReader("{}"))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			allowed := caller.May(c.need) && (len(caller.Namespaces) == 0 || c.confined)
			if got := w.Code != http.StatusForbidden; got != allowed {
				t.Errorf("%s %s as %+v: %d %s", c.method, c.path, caller, w.Code, w.Body)
			}
		}
	}
}
