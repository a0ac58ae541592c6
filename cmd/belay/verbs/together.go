package verbs

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// takeBack shows, asks, and takes a commit back for every Deployment that it broke. Exit status 0: all are held; 1: some
// are not.
func (e *env) takeBack(cmd *cobra.Command, r control.CommitRollbackRequest, f rollbackFlags) error {
	undo := sends(e, cmd, (*control.Client).RollbackCommit)
	if !r.DryRun && !f.yes {
		if err := e.askCommit(&r, undo); err != nil {
			return err
		}
	}
	res, err := undo(r)
	if err != nil {
		return err
	}
	if err := e.print(f.output, res, func(w io.Writer) error { return printTakenBack(w, res) }); err != nil {
		return err
	}
	ok := true
	for _, d := range res.Deployments {
		ok = ok && d.Error == ""
	}
	if !res.DryRun && f.wait {
		done, err := e.followAll(cmd, res)
		if err != nil {
			return err
		}
		ok = ok && done
	}
	if !ok {
		return &ExitError{Code: exitFailure}
	}
	return nil
}

// askCommit shows what taking a commit back would do, and asks; the request is then what was shown.
func (e *env) askCommit(r *control.CommitRollbackRequest, undo func(control.CommitRollbackRequest) (control.CommitRollback, error)) error {
	preview := *r
	preview.DryRun = true
	p, err := agreed(e, undo, preview, printTakenBack, func(p control.CommitRollback) string {
		return fmt.Sprintf("Take %s back?", short(p.Commit))
	})
	if err != nil {
		return err
	}
	r.Commit, r.Expect = p.Commit, map[string]int64{}
	for _, d := range p.Deployments {
		if d.From != nil && d.Error == "" {
			r.Expect[d.Namespace+"/"+d.Name] = current(*d.From)
		}
	}
	return nil
}

// followAll waits for the rollouts of a commit that was taken back, and reports whether all ended well.
func (e *env) followAll(cmd *cobra.Command, res control.CommitRollback) (bool, error) {
	ok := true
	for _, d := range res.Deployments {
		if d.Row == "" || d.Error != "" {
			continue
		}
		row, err := ask(cmd.Context(), e, func(c *control.Client) (control.Row, error) {
			return c.Follow(cmd.Context(), d.Row, func(control.Row) {})
		})
		if err != nil {
			return false, err
		}
		fmt.Fprintln(e.err, rowLine(row))
		ok = ok && (row.Outcome == "Complete" || row.Outcome == "Applied")
	}
	return ok, nil
}

// printTakenBack prints a line for each Deployment, and what becomes of the commit in Git.
func printTakenBack(w io.Writer, r control.CommitRollback) error {
	held := "held at"
	if r.DryRun {
		held = "would be held at"
	}
	rows := [][]string{}
	for _, d := range r.Deployments {
		at, runs, verdict := "-", "-", verdictOf(d)
		if d.Hold != nil {
			at = heldAt(*d.Hold)
		}
		if d.From != nil {
			runs = named(*d.From)
		}
		if d.Error != "" {
			at = "-"
		}
		rows = append(rows, []string{d.Namespace, d.Name, runs, at, verdict})
	}
	if err := writeTable(w, []string{"NAMESPACE", "DEPLOYMENT", "RUNS", strings.ToUpper(held), "VERDICT"}, rows); err != nil {
		return err
	}
	var b strings.Builder
	for _, g := range r.Git {
		b.WriteString("git")
		if len(r.Git) > 1 {
			b.WriteString(" of " + Line(g.Source))
		}
		fmt.Fprintf(&b, ": %s\n", gitLine(g.GitChange))
		gitPlan(&b, g.GitChange)
	}
	for _, d := range r.Deployments {
		for _, text := range d.Warnings {
			fmt.Fprintf(&b, "warning: %s/%s: %s\n", d.Namespace, d.Name, Line(text))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// verdictOf says in a few words how it went, or would go, with one Deployment.
func verdictOf(d control.CommitVerdict) string {
	switch {
	case d.Error != "" && d.Hint != "":
		return "refused: " + d.Error + " (" + d.Hint + ")"
	case d.Error != "":
		return "refused: " + d.Error
	case d.Left != "":
		return "stays held: " + d.Left
	case d.NotDurable != "":
		return d.NotDurable
	case d.Pods > 0:
		return fmt.Sprintf("replaces %d pods", d.Pods)
	}
	return "replaces no pod"
}
