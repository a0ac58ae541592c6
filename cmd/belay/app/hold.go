package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

// keeper goes back, and lets go again, for callers of Belay's own API.
type keeper struct {
	*reader
	loop *reconciler.Loop
	wait func(ctx context.Context, ids []string, moved func(control.Row)) error
}

var _ control.Holder = (*keeper)(nil)

// maxWhy bounds what a person may give as a reason.
const maxWhy = 1000

// said checks what a person gives as a reason: it is printed, and kept for good.
func said(why string) error {
	switch {
	case len(why) > maxWhy:
		return invalidRequest(fmt.Sprintf("the message is longer than %d bytes", maxWhy), "")
	case strings.ContainsFunc(why, unicode.IsControl):
		return invalidRequest("the message has control characters", "say it on one line")
	}
	return nil
}

var hashPrefix = regexp.MustCompile(`^[0-9a-f]{4,64}$`)

// Rollback goes back, or says what it would do.
func (h *keeper) Rollback(ctx context.Context, r control.RollbackRequest) (control.Rollback, error) {
	ns, caller, err := h.reach(ctx, r.Namespace, r.Name)
	if err != nil {
		return control.Rollback{}, err
	}
	mode := rollback.Mode(r.Mode)
	switch mode {
	case "", rollback.ModeAuto, rollback.ModeHold, rollback.ModeRevert, rollback.ModeRestore:
	default:
		return control.Rollback{}, invalidRequest(fmt.Sprintf("no such mode: %q", r.Mode), "there are auto, revert, restore and hold")
	}
	if r.ToCommit != "" && !hashPrefix.MatchString(r.ToCommit) {
		return control.Rollback{}, invalidRequest(fmt.Sprintf("%q is not the hash of a commit, or its beginning", r.ToCommit), "belay history lists them")
	}
	if err := said(r.Why); err != nil {
		return control.Rollback{}, err
	}
	if err := maySecrets(caller, r.Secrets); err != nil {
		return control.Rollback{}, err
	}
	do := h.loop.Rollback
	if r.DryRun {
		do = h.loop.PreviewRollback
	}
	res, err := do(ctx, rollback.Request{
		Namespace: ns, Name: r.Name, ToRevision: r.ToRevision, ToCommit: r.ToCommit, Expect: r.Expect, Mode: mode, Secrets: r.Secrets, Why: r.Why,
		By: caller.Name, Door: rollback.DoorCLI, StableOnly: !caller.May(control.RoleEdit),
	})
	if err != nil {
		return control.Rollback{}, refused(err)
	}
	return h.rolledBack(ns, r.Name, res, r.DryRun), nil
}

// Pin keeps a Deployment at a revision.
func (h *keeper) Pin(ctx context.Context, r control.PinRequest) (control.Rollback, error) {
	ns, caller, err := h.reach(ctx, r.Namespace, r.Name)
	if err != nil {
		return control.Rollback{}, err
	}
	if err := said(r.Why); err != nil {
		return control.Rollback{}, err
	}
	if r.ToRevision <= 0 || r.Why == "" {
		return control.Rollback{}, invalidRequest("a pin names a revision and a reason", "belay pin deploy/"+r.Name+" --to-revision N -m WHY")
	}
	res, err := h.loop.Pin(ctx, rollback.PinRequest{
		Namespace: ns, Name: r.Name, ToRevision: r.ToRevision, Until: r.Until, Why: r.Why, By: caller.Name, Expect: r.Expect,
		StableOnly: !caller.May(control.RoleEdit),
	})
	if err != nil {
		return control.Rollback{}, refused(err)
	}
	return h.rolledBack(ns, r.Name, res, false), nil
}

// Release ends a hold and its marks, or says what it would do.
func (h *keeper) Release(ctx context.Context, r control.ReleaseRequest) (control.Release, error) {
	ns, caller, err := h.reach(ctx, r.Namespace, r.Name)
	if err != nil {
		return control.Release{}, err
	}
	res, err := h.loop.Release(ctx, rollback.ReleaseRequest{Namespace: ns, Name: r.Name, Hold: r.Hold, By: caller.Name, Preview: r.DryRun})
	if err != nil {
		return control.Release{}, refused(err)
	}
	out := control.Release{
		Namespace: ns, Name: r.Name, DryRun: r.DryRun, Marks: []control.Mark{}, Fields: fields(res.Fields), Steps: steps(res.Steps),
	}
	if res.Hold != nil {
		out.Hold = new(h.hold(*res.Hold))
	}
	for _, m := range res.Marks {
		out.Marks = append(out.Marks, markOf(m))
	}
	if res.Next.ID != "" {
		out.Next = new(rowOf(res.Next))
	}
	return out, nil
}

// Holds lists what the caller may see of holds and marks.
func (h *keeper) Holds(ctx context.Context) (control.Holds, error) {
	caller := control.CallerOf(ctx)
	out := control.Holds{Holds: []control.Hold{}, Marks: []control.Mark{}}
	for _, one := range h.store.Holds() {
		if !caller.Reaches(one.Namespace) {
			continue
		}
		shown := h.hold(one)
		shown.Wants = h.wants(one)
		out.Holds = append(out.Holds, shown)
	}
	for _, k := range h.deployments() {
		if !caller.Reaches(k.Namespace) {
			continue
		}
		for _, m := range h.store.Marks(k.Namespace, k.Name) {
			out.Marks = append(out.Marks, markOf(m))
		}
	}
	return out, nil
}

// deployments are those that are managed or held, by namespace and name.
func (h *keeper) deployments() []state.Key {
	var out []state.Key
	for _, m := range h.store.Inventory("") {
		if m.Key.Kind == state.KindDeployment {
			out = append(out, m.Key)
		}
	}
	for _, one := range h.store.Holds() {
		out = append(out, state.Key{Kind: state.KindDeployment, Namespace: one.Namespace, Name: one.Name})
	}
	slices.SortFunc(out, func(a, b state.Key) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return slices.Compact(out)
}

// Follow waits until a row has ended, or stands still.
func (h *keeper) Follow(ctx context.Context, id string, moved func(control.Row)) (control.Row, error) {
	row, ok := h.store.Row(id)
	if caller := control.CallerOf(ctx); !ok || !caller.Reaches(row.Namespace) {
		return control.Row{}, &control.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("no row %q in the history", id)}
	}
	if err := h.wait(ctx, []string{id}, moved); err != nil {
		return control.Row{}, err
	}
	row, _ = h.store.Row(id)
	return rowOf(row), nil
}

// refused turns a refusal into what goes over the wire.
func refused(err error) error {
	r, ok := errors.AsType[*rollback.Refusal](err)
	if !ok {
		return err
	}
	status := http.StatusConflict
	switch r.Reason {
	case rollback.UnknownRevision, rollback.UnknownCommit, rollback.NotManaged, rollback.NotRunning, rollback.NoTemplate, rollback.NotHeld:
		status = http.StatusNotFound
	case rollback.NotStable:
		status = http.StatusForbidden
	case rollback.InvalidValue:
		status = http.StatusBadRequest
	case rollback.NothingToGoBackTo, rollback.Moved, rollback.Paused, rollback.AlreadyRolledBack:
	}
	return &control.Error{Status: status, Message: r.Message, HintText: r.HintText}
}

// rolledBack shows what a rollback or a pin did, or would do.
func (h *keeper) rolledBack(ns, name string, r rollback.Result, dryRun bool) control.Rollback {
	out := control.Rollback{
		ID: r.ID, Namespace: ns, Name: name, DryRun: dryRun, Skipped: r.Skipped, Undone: []control.Row{}, Fields: fields(r.Fields),
		Changed: list(r.Changed), Recreated: list(r.Recreate), Steps: steps(r.Steps), Pods: replaced(r.Steps), Warnings: list(r.Warnings),
		Git: gitChange(r.Git),
	}
	out.NotDurable = r.NotDurable
	if r.Hold.ID != "" {
		out.Hold = new(h.hold(r.Hold))
	}
	if !dryRun {
		out.Row = r.Row.ID
	}
	if r.From.ID != "" {
		out.From = new(rowOf(r.From))
	}
	if r.To.ID != "" {
		out.To = new(rowOf(r.To))
	}
	for _, row := range r.Undone {
		out.Undone = append(out.Undone, rowOf(row))
	}
	return out
}

// fields shows what changes. Values may be secret, but for images and resources.
func fields(changes []manifests.FieldChange) []string {
	out := []string{}
	for _, c := range changes {
		if strings.HasSuffix(c.Path, ".image") || strings.Contains(c.Path, ".resources") {
			out = append(out, c.String())
			continue
		}
		switch {
		case c.Before == nil:
			out = append(out, c.Path+" is added")
		case c.After == nil:
			out = append(out, c.Path+" goes")
		default:
			out = append(out, c.Path+" changes")
		}
	}
	return out
}

func steps(all []rollout.Step) []string {
	out := make([]string, 0, len(all))
	for _, s := range all {
		out = append(out, s.String())
	}
	return out
}

// replaced counts the pods that go.
func replaced(all []rollout.Step) int32 {
	var n int32
	for _, s := range all {
		n += max(0, s.From-s.To)
	}
	return n
}

// letGo says what ends a hold.
func letGo(h state.Hold, git *control.GitChange) string {
	release := "belay release deploy/" + h.Name
	switch {
	case h.Manual:
		return release
	case git == nil:
	case git.State == string(rollback.GitQueued) || git.State == string(rollback.GitPushed):
		return "it ends by itself with the git change, or " + release
	case git.URL != "":
		return "merge " + git.URL + ", or " + release
	case git.Branch != "":
		return "merge " + git.Branch + ", or " + release
	}
	return "revert or fix it in git, or " + release
}

// gitChange shows what becomes in Git of a hold or an override; nil: nothing is to be changed there.
func (r *reader) gitChange(id, namespace, name, field string) *control.GitChange {
	c, ok := r.store.GitChange(namespace, name, field)
	if !ok || c.ID != id {
		return nil
	}
	return &control.GitChange{
		ID: c.ID, Mode: cmp.Or(c.Made, c.Mode), State: c.State, Why: c.Reason, Commit: c.Commit, Branch: c.Branch, URL: c.Compare,
	}
}

// hold shows a hold.
func (r *reader) hold(h state.Hold) control.Hold {
	out := control.Hold{
		ID: h.ID, Namespace: h.Namespace, Name: h.Name, Revision: h.Revision, Commit: h.Commit, Images: []string{}, Manual: h.Manual, By: h.By,
		Reason: h.Reason, Since: utc(h.Since), Until: utc(h.Until),
	}
	if t, ok := r.store.Template(h.Template); ok {
		out.Images = list(imagesOf(&t.Template))
		out.Stable = r.stable(h, &t.Template)
	}
	out.GitChange = r.gitChange(h.ID, h.Namespace, h.Name, reconciler.FieldTemplate)
	out.Next = letGo(h, out.GitChange)
	return out
}
