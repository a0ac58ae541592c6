package verbs

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// history prints the rows of one Deployment.
func (e *env) history() *cobra.Command {
	var output, at string
	var q control.HistoryQuery
	cmd := &cobra.Command{
		Use:     "history deploy/NAME",
		Short:   "Show every commit that changed a Deployment, and what became of it",
		Example: "  belay history deploy/web\n  belay history deploy/web --at 2026-11-21T02:14:00Z",
		Args:    arguments(cobra.ExactArgs(1)), ValidArgsFunction: e.completeDeployments,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if q.Name, err = deploymentName(cmd, args[0]); err != nil {
				return err
			}
			if at != "" {
				if q.At, err = time.Parse(time.RFC3339, at); err != nil {
					return UsageError(cmd.CommandPath(), fmt.Errorf("--at %q is no RFC 3339 time, such as 2026-11-21T02:14:00Z", at))
				}
			}
			rows, err := ask(cmd.Context(), e, func(c *control.Client) ([]control.Row, error) { return c.History(cmd.Context(), q) })
			if err != nil {
				return err
			}
			return e.print(output, rows, func(w io.Writer) error { return printHistory(w, rows, e.now()) })
		},
	}
	namespaceFlag(cmd, &q.Namespace)
	cmd.Flags().StringVar(&at, "at", "", "show what ran at a time (RFC 3339), also of a Deployment that is gone")
	cmd.Flags().BoolVar(&q.All, "all", false, "include Deployments of that name that are gone")
	outputFlag(cmd, &output)
	return cmd
}

func printHistory(w io.Writer, rows []control.Row, now time.Time) error {
	byID := map[string]control.Row{}
	for _, r := range rows {
		byID[r.ID] = r
	}
	table := [][]string{}
	for _, r := range rows {
		table = append(table, []string{
			revision(r), short(r.Commit), actor(r), Age(made(r), now), outcome(r, byID), orNone(r.ChangeCause),
		})
	}
	return writeTable(w, []string{"REVISION", "COMMIT", "AUTHOR", "AGE", "OUTCOME", "CHANGE-CAUSE"}, table)
}

// revision is the number that was given, `-` where none was, and today's number where it was re-used.
func revision(r control.Row) string {
	if r.Now != 0 {
		return fmt.Sprintf("%d (now %d)", r.Revision, r.Now)
	}
	return number(r.Revision)
}

// outcome is the word, with what ended the row: another row's revision, or its commit where it has none. Of a rollback
// that a person asked for, who it was, why, and its ID.
func outcome(r control.Row, byID map[string]control.Row) string {
	by := r.SupersededBy
	if by == "" {
		by = r.RolledBackBy
	}
	switch {
	case by != "":
		other := byID[by]
		name := number(other.Revision)
		if other.Revision == 0 {
			name = short(other.Commit)
		}
		if r.RolledBackBy != "" && other.Operation != "" {
			name += ", " + operated(other)
		}
		return fmt.Sprintf("%s(by %s)", r.Outcome, name)
	case r.Reason != "":
		return fmt.Sprintf("%s(%s)", r.Outcome, r.Reason)
	}
	return r.Outcome
}

// operated says who did something beside Git, why, and under which ID.
func operated(r control.Row) string {
	s := r.By
	if r.Why != "" {
		s += fmt.Sprintf(" %q", Line(r.Why))
	}
	return s + " " + r.ID
}

// actor is who made a revision: the author of the commit, or who did it beside Git.
func actor(r control.Row) string {
	if r.Commit == "" && r.By != "" {
		return r.By
	}
	return author(r.Author)
}

// author is the name without the address.
func author(s string) string {
	name, _, _ := strings.Cut(s, " <")
	return orNone(name)
}

// made is when a row came about: when its commit was made, or when it was asked for.
func made(r control.Row) time.Time {
	if r.CommittedAt.IsZero() {
		return r.StartedAt
	}
	return r.CommittedAt
}
