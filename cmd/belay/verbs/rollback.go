package verbs

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// rollbackFlags are what a rollback takes besides its request.
type rollbackFlags struct {
	yes, wait bool
	output    string
}

// rollback goes back. Exit status 0: the hold is applied; 1: refused, or nobody can tell.
func (e *env) rollback() *cobra.Command {
	var r control.RollbackRequest
	var all control.CommitRollbackRequest
	var f rollbackFlags
	cmd := &cobra.Command{
		Use:   "rollback deploy/NAME | rollback --commit SHA",
		Short: "Go back to a revision that ran, and stay there until Git agrees",
		Long: "Go back to the stable revision that ran last, or to another one, at once and whatever Git says: the Deployment is\n" +
			"held there until Git no longer wants what was rolled back. Everything else goes on being synced.\n\n" +
			"With --commit, take one commit back for every Deployment that runs what it brought, or waits for it: one rollback,\n" +
			"and one revert in Git.\n\n" +
			"On a terminal it shows what it would do, and asks. Exit status 0: held; 1: refused.",
		Example: "  belay rollback deploy/web --dry-run\n" +
			"  belay rollback deploy/web -m '5xx since 02:10'\n" +
			"  belay rollback deploy/web --to-revision 3 --yes --wait\n" +
			"  belay rollback --commit 3f2a91c -m 'the base image'",
		Args:              arguments(cobra.MaximumNArgs(1)),
		ValidArgsFunction: e.completeDeployments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all.Commit != "" || len(args) == 0 {
				if err := commitAlone(cmd, args); err != nil {
					return UsageError(cmd.CommandPath(), err)
				}
				all.Mode, all.Secrets, all.Why, all.DryRun = r.Mode, r.Secrets, r.Why, r.DryRun
				return e.takeBack(cmd, all, f)
			}
			var err error
			if r.Name, err = deploymentName(cmd, args[0]); err != nil {
				return err
			}
			switch {
			case len(all.Only) > 0:
				return UsageError(cmd.CommandPath(), errors.New("--only is for --commit"))
			case r.Secrets && r.Mode != "revert":
				return UsageError(cmd.CommandPath(), errors.New("--secrets is for --mode revert"))
			case cmd.Flags().Changed("to-revision") && r.ToRevision <= 0:
				return UsageError(cmd.CommandPath(), fmt.Errorf("--to-revision %d is not positive", r.ToRevision))
			case r.ToRevision != 0 && r.ToCommit != "":
				return UsageError(cmd.CommandPath(), errors.New("--to-revision and --to-commit exclude each other"))
			}
			return e.rollBack(cmd, r, f)
		},
	}
	namespaceFlag(cmd, &r.Namespace)
	flags := cmd.Flags()
	flags.Int64Var(&r.ToRevision, "to-revision", 0, "revision to go back to (default the stable one that ran last)")
	flags.StringVar(&r.ToCommit, "to-commit", "", "commit to go back to, of those in the history")
	flags.StringVar(&all.Commit, "commit", "", "commit to take back, for every Deployment that it broke")
	flags.StringSliceVar(&all.Only, "only", nil, "with --commit, the Deployments that go back, as namespace/name (default all)")
	flags.BoolVar(&r.Secrets, "secrets", false, "a revert that is asked for may change Secrets")
	flags.StringVar(&r.Mode, "mode", "auto", "what becomes of it in Git: auto, revert, restore or hold")
	whyFlag(cmd, &r.Why)
	askingFlags(cmd, &f.yes, &r.DryRun, "only show what would be done")
	waitFlag(cmd, &f.wait)
	outputFlag(cmd, &f.output)
	e.completeFlag(cmd, "mode", "auto", "revert", "restore", "hold")
	e.completeRevisions(cmd)
	return cmd
}

// commitAlone refuses what --commit does not go with.
func commitAlone(cmd *cobra.Command, args []string) error {
	flags := cmd.Flags()
	switch {
	case !flags.Changed("commit"):
		return errors.New("say what goes back: deploy/NAME, or --commit SHA")
	case len(args) > 0:
		return errors.New("--commit names no Deployment: see --only")
	case flags.Changed("to-revision") || flags.Changed("to-commit") || flags.Changed("namespace"):
		return errors.New("--commit says what goes back, and to what ran before it")
	}
	return nil
}

// rollBack shows, asks, and goes back.
func (e *env) rollBack(cmd *cobra.Command, r control.RollbackRequest, f rollbackFlags) error {
	roll := sends(e, cmd, (*control.Client).Rollback)
	if !r.DryRun && !f.yes {
		preview := r
		preview.DryRun = true
		p, err := agreed(e, roll, preview, printPreview, func(p control.Rollback) string {
			if p.Skipped {
				return ""
			}
			return fmt.Sprintf("Roll back %s/%s?", p.Namespace, p.Name)
		})
		if err != nil || p.Skipped {
			return err
		}
		r.Namespace = p.Namespace
		if p.From != nil {
			r.Expect = current(*p.From)
		}
	}
	res, err := roll(r)
	if err != nil {
		return err
	}
	return e.rolledBack(cmd, res, f)
}

// rolledBack prints what was done, and waits for it where it was asked to.
func (e *env) rolledBack(cmd *cobra.Command, res control.Rollback, f rollbackFlags) error {
	people := printRolledBack
	if res.DryRun {
		people = printPreview
	}
	if err := e.printRollback(f.output, res, people); err != nil {
		return err
	}
	if !f.wait || res.DryRun || res.Skipped || res.Row == "" {
		return nil
	}
	row, err := ask(cmd.Context(), e, func(c *control.Client) (control.Row, error) {
		return c.Follow(cmd.Context(), res.Row, func(row control.Row) {
			if isTerminal(e.out) {
				fmt.Fprintln(e.out, rowLine(row))
			}
		})
	})
	if err != nil {
		return err
	}
	if f.output == "" {
		fmt.Fprintln(e.out, rowLine(row))
	}
	if row.Outcome != "Complete" && row.Outcome != "Applied" {
		return &ExitError{Code: exitFailure}
	}
	return nil
}
