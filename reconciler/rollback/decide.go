package rollback

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// Facts is all that is known of a Deployment when somebody wishes something of it.
type Facts struct {
	Namespace, Name string
	Rows            []state.Row // as the ledger gives them
	Running         Running
	Git             string      // digest, without restartedAt, of the template that Git wants; empty: it wants none
	Hold            *state.Hold // nil: none is in force
	Marks           []state.Mark
	Overrides       []state.Override
	// Template gives a template of the ledger by its digest; nil when it is not there.
	Template func(digest string) *corev1.PodTemplateSpec
}

// Running is what runs of a Deployment.
type Running struct {
	UID      types.UID // empty: it does not exist
	Template string    // digest of the live pod template
	Bare     string    // the same without restartedAt
	Revision int64
	Paused   bool
}

// Decision is a wish that is granted: what to record with the change that carries it out.
type Decision struct {
	ID       string
	Skipped  bool
	Hold     state.Hold
	Mark     *state.Mark  // nil: nothing is bad from now on
	Marks    []state.Mark // all that there are from now on, sorted by ID
	Changed  []state.Mark // of those, the ones that lost a part
	Ended    []state.Mark
	Row      state.Row // the hold's own, Pending
	From, To state.Row
	Undone   []state.Row // as they are recorded from now on, newest first
	Template *corev1.PodTemplateSpec
	Warnings []string
}

// Decide grants a wish to go back, or refuses it with a *Refusal. Pure.
func Decide(f Facts, r Request) (Decision, error) {
	if r.Door == "" {
		r.Door = DoorCLI
	}
	if err := f.check(r); err != nil {
		return Decision{}, err
	}
	to, err := f.target(r)
	if err != nil {
		return Decision{}, err
	}
	return f.grant(r, to, "")
}

// grant decides to go to a row, or refuses to; an empty id is one of its own.
func (f Facts) grant(r Request, to state.Row, id string) (Decision, error) {
	d := Decision{To: to, From: f.running()}
	if f.Running.UID != "" && to.Template == f.Running.Template {
		d.Skipped = true
		return d, nil
	}
	if r.StableOnly && !f.stable(to) {
		return Decision{}, refuse(NotStable, f.nameOf(to)+" is not stable", "somebody with the role edit may go back there")
	}
	if d.Template = f.Template(to.Template); d.Template == nil {
		return Decision{}, refuse(NoTemplate, "the pod template of "+f.nameOf(to)+" is not in the ledger", "")
	}
	if d.ID = id; id == "" {
		d.ID = NewID(r.Now, f.Namespace, f.Name, strconv.Itoa(len(f.Rows)))
	}
	for _, t := range f.bad(to) {
		d.Warnings = append(d.Warnings, "the target is bad: "+t.String())
	}
	if !ran(to) {
		d.Warnings = append(d.Warnings, f.nameOf(to)+" never ran here")
	}
	d.Changed, d.Ended = without(f.Marks, d.Template, bare(to))
	if d.From.ID != "" {
		d.Mark = f.mark(d.ID, d.From, to, d.Template, r)
	}
	d.Marks = keep(f.Marks, d.Changed, d.Ended)
	if d.Mark != nil {
		d.Marks = append(d.Marks, *d.Mark)
	}
	d.Hold = f.hold(d.ID, to)
	d.Hold.Reason, d.Hold.By, d.Hold.Since, d.Hold.Door = r.Why, r.By, r.Now, string(r.Door)
	d.Row = f.row(d.Hold, to, OperationRollback)
	d.Undone = f.undone(d.Hold, to)
	return d, nil
}

// check refuses what no target makes right.
func (f Facts) check(r Request) error {
	switch {
	case r.ToRevision == 0 && r.ToCommit == "" && f.Hold != nil && !f.Hold.Manual:
		h := f.Hold
		who := cmpOr(h.By, "somebody")
		message := fmt.Sprintf("%s rolled it back already, at %s", who, h.Since.UTC().Format(time.RFC3339))
		if h.Reason != "" {
			message += fmt.Sprintf(": %q", h.Reason)
		}
		return refuse(AlreadyRolledBack, message, "name the revision to go to with --to-revision")
	case r.Expect != 0 && f.Running.Revision != r.Expect:
		return moved(f.Running.Revision, r.Expect)
	case f.Running.Paused:
		return refuse(Paused, "cannot rollback a paused deployment", "resume it first with 'kubectl rollout resume' and try again")
	case r.ToRevision != 0 && r.ToCommit != "":
		return refuse(InvalidValue, "a revision and a commit are named", "name one of them")
	case r.ToRevision < 0:
		return refuse(UnknownRevision, fmt.Sprintf("no revision %d", r.ToRevision), "")
	}
	return nil
}

// present are the rows of the Deployment that runs, or that ran last: not of those that had its name before.
func (f Facts) present() []state.Row {
	uid := f.Running.UID
	for i := len(f.Rows) - 1; i >= 0 && uid == ""; i-- {
		uid = f.Rows[i].UID
	}
	return slices.DeleteFunc(slices.Clone(f.Rows), func(r state.Row) bool { return r.UID != "" && r.UID != uid })
}

// running is the newest row that was handed over with what runs.
func (f Facts) running() state.Row {
	for _, r := range slices.Backward(f.present()) {
		if !r.StartedAt.IsZero() && r.Template == f.Running.Template {
			return r
		}
	}
	return state.Row{}
}

// target finds the row that is meant.
func (f Facts) target(r Request) (state.Row, error) {
	rows := f.present()
	switch {
	case r.ToRevision > 0:
		for _, row := range slices.Backward(rows) {
			if row.Revision == r.ToRevision && row.Template != "" {
				return row, nil
			}
		}
		return state.Row{}, refuse(UnknownRevision, fmt.Sprintf("no revision %d", r.ToRevision), "belay history lists them")
	case r.ToCommit != "":
		return byCommit(rows, r.ToCommit)
	}
	return f.choose(rows)
}

// byCommit finds the newest row of the one commit whose hash begins so.
func byCommit(rows []state.Row, prefix string) (state.Row, error) {
	var found state.Row
	for _, row := range slices.Backward(rows) {
		switch {
		case row.Template == "" || row.Commit == "" || !strings.HasPrefix(row.Commit, prefix):
		case found.ID == "":
			found = row
		case found.Commit != row.Commit:
			return state.Row{}, refuse(UnknownCommit, fmt.Sprintf("several commits begin with %s", prefix), "write more of the hash")
		case !ran(found) && ran(row):
			found = row
		}
	}
	if found.ID == "" {
		return state.Row{}, refuse(UnknownCommit, fmt.Sprintf("no commit %s changed it", prefix), "belay history lists them")
	}
	return found, nil
}

// choose takes the stable revision that ran last and differs from what runs, else the newest imported row that does.
func (f Facts) choose(rows []state.Row) (state.Row, error) {
	other := func(r state.Row) bool { return r.Template != "" && bare(r) != f.Running.Bare && len(f.bad(r)) == 0 }
	for _, r := range slices.Backward(rows) {
		if !r.StartedAt.IsZero() && ledger.Stable(rows, r.Template) && other(r) {
			return r, nil
		}
	}
	for _, r := range slices.Backward(rows) {
		if r.Outcome == ledger.Imported && other(r) {
			return r, nil
		}
	}
	return state.Row{}, refuse(NothingToGoBackTo, "there is nothing to go back to: nothing else completed here that is not bad",
		"push a fix, or name a revision with --to-revision")
}

// stable reports whether a row's template is: it completed and is not bad.
func (f Facts) stable(r state.Row) bool {
	return ledger.Stable(f.present(), r.Template) && len(f.bad(r)) == 0
}

// numberOf is the revision number that a row's template has today; 0: it has none.
func (f Facts) numberOf(to state.Row) int64 {
	n := to.Revision
	for _, r := range f.present() {
		if r.Template == to.Template {
			n = max(n, r.Revision)
		}
	}
	return n
}

func (f Facts) nameOf(r state.Row) string {
	switch {
	case r.Revision > 0:
		return fmt.Sprintf("revision %d", r.Revision)
	case r.Commit != "":
		return "commit " + Short(r.Commit)
	}
	return "the target"
}

// hold holds the template of a row, and names the commit that brought it: a row of an operation has none of its own.
func (f Facts) hold(id string, of state.Row) state.Hold {
	template, number := of.Template, f.numberOf(of)
	for _, r := range slices.Backward(f.Rows) {
		if of.Commit == "" && r.Commit != "" && bare(r) == bare(of) {
			of = r
		}
	}
	return state.Hold{
		ID: id, Namespace: f.Namespace, Name: f.Name, Template: template, Revision: number, Commit: of.Commit, Row: of.ID, Wanted: f.Git,
	}
}

// row is the row of an operation that runs the template of another row.
func (f Facts) row(h state.Hold, of state.Row, operation string) state.Row {
	return state.Row{
		ID: h.ID, Namespace: f.Namespace, Name: f.Name, Source: of.Source, App: of.App, Root: of.Root,
		ChangeCause: of.ChangeCause, Template: of.Template, Bare: of.Bare, Images: slices.Clone(of.Images),
		Operation: operation, Door: h.Door, By: h.By, Why: h.Reason,
		Outcome: ledger.Pending, Open: true, RecordedAt: h.Since,
	}
}

// undone are the rows between the target and what runs, newest first, as the rollback leaves them. Those that were
// overtaken before they ended stay what they are.
func (f Facts) undone(h state.Hold, to state.Row) []state.Row {
	var out []state.Row
	for _, r := range slices.Backward(f.present()) {
		if bare(r) == bare(to) && ran(r) {
			break
		}
		if r.StartedAt.IsZero() && (r.Outcome != ledger.Superseded || r.Template == "") {
			continue
		}
		if next, ok := ledger.Become(r, ledger.RolledBack); ok {
			next.RolledBackBy, next.Reason, next.Message = h.ID, "", ""
			if next.EndedAt.IsZero() {
				next.EndedAt = h.Since
			}
			r = next
		}
		out = append(out, r)
	}
	return out
}

// NewID makes an ID that sorts by time: the same time and parts give the same one.
func NewID(now time.Time, parts ...string) string {
	const digits = "0123456789abcdefghjkmnpqrstvwxyz"
	ms := uint64(max(now.UnixMilli(), 0))
	var b [10]byte
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = digits[ms%32]
		ms /= 32
	}
	return string(b[:]) + ledger.ID(append([]string{strconv.FormatInt(now.UnixNano(), 10)}, parts...)...)[:8]
}
