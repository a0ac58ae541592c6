package verbs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// sync looks now. Exit status 0: everything ended well; 1: it did not; 2: nobody can tell.
func (e *env) sync() *cobra.Command {
	var r control.SyncRequest
	var timeout time.Duration
	var override bool
	var why string
	cmd := &cobra.Command{
		Use:   "sync [SOURCE]",
		Short: "Look at a source now, and wait for what it changes",
		Long: "Look at a source, or at all of them, now.\n\n" +
			"With --wait it ends when every rollout it began has ended, or when one is held, waits or is paused.\n" +
			"Exit status 0: complete; 1: not; 2: cannot tell.",
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				r.Source = args[0]
			}
			if override != (why != "") {
				return UsageError(cmd.CommandPath(), errors.New("--override-window and --message go together: say why"))
			}
			r.OverrideWindow = why
			ctx := cmd.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			res, err := ask(cmd.Context(), e, func(c *control.Client) (control.SyncResult, error) {
				return c.Sync(ctx, r, func(row control.Row) {
					if isTerminal(e.out) {
						fmt.Fprintln(e.out, rowLine(row))
					}
				})
			})
			if errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("not ended after %s", timeout)
			}
			if err != nil {
				return cannotTell(err)
			}
			return e.synced(res, r.Wait)
		},
	}
	cmd.Flags().BoolVar(&r.Wait, "wait", false, "wait until every rollout has ended, or one stands still")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "give up waiting after this long (default never)")
	cmd.Flags().BoolVar(&r.Prune, "prune", false, "delete what waits to be pruned")
	cmd.Flags().BoolVar(&r.AcceptRender, "accept-render", false, "roll out templates that the same commit now renders differently")
	cmd.Flags().BoolVar(&override, "override-window", false, "let changes begin in a closed window, and those of a failing commit; needs -m")
	cmd.Flags().StringVarP(&why, "message", "m", "", "why; kept in the history")
	return cmd
}

// synced prints how a sync ended.
func (e *env) synced(res control.SyncResult, waited bool) error {
	known := false
	for _, s := range res.Sources {
		if s.Error != "" {
			fmt.Fprintf(e.err, "belay: %s: %s\n", s.Name, s.Error)
			if s.Hint != "" {
				fmt.Fprintf(e.err, "hint: %s\n", s.Hint)
			}
			continue
		}
		known = true
		fmt.Fprintf(e.out, "%s: %s %s\n", s.Name, short(s.Commit), s.Outcome)
		for _, p := range s.Problems {
			fmt.Fprintln(e.err, problemLine(p))
		}
	}
	switch {
	case !known:
		return &ExitError{Code: 2}
	case !waited && !res.OK:
		return e.begunOnly(res)
	case !res.OK:
		return &ExitError{Code: 1}
	}
	return nil
}

// begunOnly is the verdict of a sync that did not wait: rollouts under way are no failure.
func (e *env) begunOnly(res control.SyncResult) error {
	for _, s := range res.Sources {
		switch s.Outcome {
		case "Pending", "Progressing", "Waiting", "":
			if s.Error == "" {
				continue
			}
		}
		if s.Error != "" || s.Outcome == "Failed" || s.Outcome == "Invalid" {
			return &ExitError{Code: 1}
		}
	}
	return nil
}

// rowLine is one row as progress shows it.
func rowLine(r control.Row) string {
	s := r.Namespace + "/" + r.Name
	if r.Revision != 0 {
		s += fmt.Sprintf(" revision %d", r.Revision)
	}
	if r.Commit != "" || r.Revision == 0 {
		s += " " + short(r.Commit)
	}
	s += " " + r.Outcome
	if r.Reason != "" {
		s += " (" + r.Reason + ")"
	}
	return s
}
