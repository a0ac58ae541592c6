package app

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

// History lists the rows of a Deployment, oldest first.
func (r *reader) History(ctx context.Context, q control.HistoryQuery) ([]control.Row, error) {
	ns, _, err := r.reach(ctx, q.Namespace, q.Name)
	if err != nil {
		return nil, err
	}
	rows := r.store.Rows(ns, q.Name)
	if len(rows) == 0 {
		return nil, noDeployment(ns, q.Name)
	}
	if !q.At.IsZero() { // of all that had the name: it may have been another Deployment then
		id := ranAt(rows, q.At)
		return slices.DeleteFunc(historyOf(rows), func(r control.Row) bool { return r.ID != id }), nil
	}
	if !q.All {
		rows = present(rows, r.uidOf(ns, q.Name, rows))
	}
	return historyOf(rows), nil
}

func noDeployment(ns, name string) error {
	return &control.Error{
		Status: http.StatusNotFound, Message: fmt.Sprintf("no Deployment %s/%s has a history here", ns, name),
		HintText: "belay status lists the Deployments that Git manages",
	}
}

// reach finds the namespace of the Deployment that a caller means, if the caller may reach it.
func (r *reader) reach(ctx context.Context, namespace, name string) (string, control.Caller, error) {
	caller := control.CallerOf(ctx)
	if namespace == "" && len(caller.Namespaces) > 0 {
		return "", caller, invalidRequest("a token that is confined to namespaces has to name one", "choose one with --namespace")
	}
	ns, err := r.namespaceOf(namespace, name)
	if err == nil && !caller.Reaches(ns) {
		err = control.Unreachable(caller, ns)
	}
	return ns, caller, err
}

func invalidRequest(message, hint string) error {
	return &control.Error{Status: http.StatusBadRequest, Message: message, HintText: hint}
}

// namespaceOf finds the namespace that a person left out: the only one that has a Deployment of that name.
func (r *reader) namespaceOf(namespace, name string) (string, error) {
	if name == "" {
		return "", &control.Error{Status: http.StatusBadRequest, Message: "no Deployment named", HintText: "write deploy/NAME"}
	}
	if namespace != "" {
		return namespace, nil
	}
	var found []string
	for _, d := range state.List[*appsv1.Deployment](r.store, "") {
		if d.Name == name {
			found = append(found, d.Namespace)
		}
	}
	if len(found) == 0 {
		for _, n := range r.namespaces() {
			if len(r.store.Rows(n, name)) > 0 {
				found = append(found, n)
			}
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", noDeployment("*", name)
	}
	return "", &control.Error{
		Status: http.StatusConflict, Message: fmt.Sprintf("Deployment %q is in several namespaces: %s", name, strings.Join(found, ", ")),
		HintText: "choose one with --namespace",
	}
}

// namespaces lists every namespace there is.
func (r *reader) namespaces() []string {
	var out []string
	for _, o := range r.store.List(state.KindNamespace, "") {
		out = append(out, o.GetName())
	}
	return out
}

// uidOf is the UID of the Deployment that runs under a name, or that ran there last.
func (r *reader) uidOf(ns, name string, rows []state.Row) types.UID {
	if d, ok := state.Get[*appsv1.Deployment](r.store, ns, name); ok {
		return d.UID
	}
	for _, row := range slices.Backward(rows) {
		if row.UID != "" {
			return row.UID
		}
	}
	return ""
}

// present keeps the rows of one Deployment of several that had the name one after the other.
func present(rows []state.Row, uid types.UID) []state.Row {
	return slices.DeleteFunc(rows, func(r state.Row) bool { return r.UID != "" && r.UID != uid })
}

// historyOf turns rows, oldest first, into what people see. A revision whose template got a higher number since
// says so in Now. A commit that fills another row is seen there.
func historyOf(rows []state.Row) []control.Row {
	type incarnation struct {
		uid      types.UID
		template string
	}
	newest := map[incarnation]int64{}
	fills := map[string]string{}
	for _, r := range rows {
		if r.Fills != "" {
			fills[r.ID] = r.Fills
		}
		k := incarnation{r.UID, r.Template}
		newest[k] = max(newest[k], r.Revision)
	}
	out := make([]control.Row, 0, len(rows))
	for _, r := range rows {
		if r.Fills != "" {
			continue
		}
		row := rowOf(r)
		row.SupersededBy = cmp.Or(fills[row.SupersededBy], row.SupersededBy)
		row.RolledBackBy = cmp.Or(fills[row.RolledBackBy], row.RolledBackBy)
		if n := newest[incarnation{r.UID, r.Template}]; r.Revision > 0 && n > r.Revision {
			row.Now = n
		}
		out = append(out, row)
	}
	return out
}

func rowOf(r state.Row) control.Row {
	return control.Row{
		Namespace: r.Namespace, Name: r.Name, ID: r.ID, Revision: r.Revision, Commit: r.Commit, Author: r.Author,
		CommittedAt: utc(r.CommittedAt), Subject: r.Subject, ChangeCause: r.ChangeCause, Outcome: string(r.Outcome), Reason: r.Reason,
		SupersededBy: r.SupersededBy, RolledBackBy: r.RolledBackBy, ReplicaSet: r.ReplicaSet, StartedAt: utc(r.StartedAt),
		EndedAt: utc(r.EndedAt), Images: list(r.Images), Digests: r.Digests, Message: r.Message, Override: r.Override,
		Operation: r.Operation, Door: r.Door, By: r.By, Why: r.Why,
	}
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}

// list is a slice that is never null in JSON.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// ranAt is the ID of the row that was handed over last at a time; empty when nothing ran, or ran any more. A commit that was
// held may run long after newer rows did.
func ranAt(rows []state.Row, at time.Time) string {
	var id string
	var since time.Time
	for _, r := range rows {
		began := r.StartedAt
		removal := r.Template == "" && r.Outcome == ledger.Applied && r.Reason == string(reconciler.ReasonRemoved)
		if removal {
			began = r.EndedAt
		}
		if began.IsZero() || began.After(at) || began.Before(since) {
			continue
		}
		if since, id = began, r.ID; removal {
			id = ""
		}
	}
	return id
}
