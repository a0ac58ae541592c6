package app

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/reconciler/rollback"
)

var _ control.Undoer = (*keeper)(nil)

// maxOnly bounds how many Deployments a person may name at once.
const maxOnly = 1000

// RollbackCommit takes a commit back for every Deployment that it broke, or says what that would do.
func (h *keeper) RollbackCommit(ctx context.Context, r control.CommitRollbackRequest) (control.CommitRollback, error) {
	caller := control.CallerOf(ctx)
	if err := checkCommit(caller, r); err != nil {
		return control.CommitRollback{}, err
	}
	do := h.loop.RollbackCommit
	if r.DryRun {
		do = h.loop.PreviewRollbackCommit
	}
	res, err := do(ctx, rollback.CommitRequest{
		Commit: r.Commit, Only: r.Only, Expect: r.Expect, Mode: rollback.Mode(r.Mode), Secrets: r.Secrets, Why: r.Why, By: caller.Name,
		StableOnly: !caller.May(control.RoleEdit), Reaches: caller.Reaches,
	})
	if err != nil {
		return control.CommitRollback{}, refused(err)
	}
	out := control.CommitRollback{ID: res.ID, Commit: res.Commit, DryRun: r.DryRun, Deployments: []control.CommitVerdict{}, Git: []control.SourceGitChange{}}
	for _, d := range res.Deployments {
		v := control.CommitVerdict{Rollback: h.rolledBack(d.Namespace, d.Name, d.Result, r.DryRun), Left: d.Left}
		v.Error, v.Hint = texts(d.Err)
		out.Deployments = append(out.Deployments, v)
	}
	for _, g := range res.Git {
		out.Git = append(out.Git, control.SourceGitChange{Source: g.Source, GitChange: gitChange(g.GitChange)})
	}
	return out, nil
}

// checkCommit refuses what nobody can mean, or the caller may not.
func checkCommit(caller control.Caller, r control.CommitRollbackRequest) error {
	mode := rollback.Mode(r.Mode)
	switch {
	case mode != "" && mode != rollback.ModeAuto && mode != rollback.ModeHold && mode != rollback.ModeRevert:
		return invalidRequest(fmt.Sprintf("a commit is not taken back by mode %q", r.Mode), "there are auto, revert and hold")
	case !hashPrefix.MatchString(r.Commit):
		return invalidRequest(fmt.Sprintf("%q is not the hash of a commit, or its beginning", r.Commit), "belay history lists them")
	case len(r.Only) > maxOnly:
		return invalidRequest(fmt.Sprintf("more than %d Deployments are named", maxOnly), "")
	}
	if err := maySecrets(caller, r.Secrets); err != nil {
		return err
	}
	for _, one := range r.Only {
		ns, name, ok := strings.Cut(one, "/")
		switch {
		case !ok || ns == "" || name == "":
			return invalidRequest(fmt.Sprintf("%q is not namespace/name", one), "")
		case !caller.Reaches(ns):
			return control.Unreachable(caller, ns)
		}
	}
	return said(r.Why)
}

// maySecrets refuses changing Secrets to who may not edit.
func maySecrets(caller control.Caller, asked bool) error {
	if !asked || caller.May(control.RoleEdit) {
		return nil
	}
	return &control.Error{Status: http.StatusForbidden, Message: "taking Secrets back takes the role " + string(control.RoleEdit)}
}

// gitChange shows what becomes of a rollback in Git.
func gitChange(g rollback.GitChange) control.GitChange {
	return control.GitChange{
		Mode: string(g.Mode), State: string(g.State), Why: g.Why, Commit: g.Commit, Branch: g.Branch, URL: g.Compare,
		Undo: g.Undo, Files: g.Files, Objects: g.Objects, Failed: g.Failed, Hint: g.Hint,
	}
}
