package verbs

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// pin keeps a Deployment at a revision.
func (e *env) pin() *cobra.Command {
	var r control.PinRequest
	var f rollbackFlags
	var until string
	cmd := &cobra.Command{
		Use:   "pin deploy/NAME --to-revision N -m WHY",
		Short: "Keep a Deployment at a revision until somebody releases it",
		Long: "Keep a Deployment at a revision, whatever Git says, until `belay release`, or until a time.\n" +
			"Nothing is marked as bad, and nothing changes in Git.",
		Example: "  belay pin deploy/web --to-revision 3 -m 'campaign, no changes'\n" +
			"  belay pin deploy/web --to-revision 3 --until 12h -m 'campaign, no changes'",
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: e.completeDeployments,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if r.Name, err = deploymentName(cmd, args[0]); err != nil {
				return err
			}
			switch {
			case r.ToRevision <= 0:
				return UsageError(cmd.CommandPath(), errors.New("say which revision: --to-revision N"))
			case r.Why == "":
				return UsageError(cmd.CommandPath(), errors.New("say why: -m WHY"))
			}
			if r.Until, err = e.when(until); err != nil {
				return UsageError(cmd.CommandPath(), fmt.Errorf("--until: %w", err))
			}
			res, err := sends(e, cmd, (*control.Client).Pin)(r)
			if err != nil {
				return err
			}
			return e.rolledBack(cmd, res, f)
		},
	}
	namespaceFlag(cmd, &r.Namespace)
	flags := cmd.Flags()
	flags.Int64Var(&r.ToRevision, "to-revision", 0, "revision to stay at")
	flags.StringVar(&until, "until", "", "when it ends by itself: a duration such as 12h, or an RFC 3339 time (default never)")
	whyFlag(cmd, &r.Why)
	waitFlag(cmd, &f.wait)
	outputFlag(cmd, &f.output)
	e.completeRevisions(cmd)
	return cmd
}

// when reads a time, or how long it is until then; empty is never.
func (e *env) when(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		if d <= 0 {
			return time.Time{}, fmt.Errorf("%s is over", text)
		}
		return e.now().Add(d).UTC().Truncate(time.Second), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	switch {
	case err != nil:
		return t, fmt.Errorf("%q is neither a duration such as 12h nor an RFC 3339 time such as 2026-11-21T06:00:00Z", text)
	case !t.After(e.now()):
		return t, fmt.Errorf("%s is over", text)
	}
	return t, nil
}

// release ends a hold.
func (e *env) release() *cobra.Command {
	var r control.ReleaseRequest
	var yes bool
	var output string
	cmd := &cobra.Command{
		Use:   "release deploy/NAME",
		Short: "End a hold, and let what Git wants roll out",
		Long: "End the hold of a Deployment, and forget what was marked as bad: what Git wants rolls out.\n" +
			"On a terminal it shows what that is, and asks.",
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: e.completeDeployments,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if r.Name, err = deploymentName(cmd, args[0]); err != nil {
				return err
			}
			return e.letGo(cmd, r, yes, output)
		},
	}
	namespaceFlag(cmd, &r.Namespace)
	askingFlags(cmd, &yes, &r.DryRun, "only show what would roll out")
	outputFlag(cmd, &output)
	return cmd
}

func (e *env) letGo(cmd *cobra.Command, r control.ReleaseRequest, yes bool, output string) error {
	release := sends(e, cmd, (*control.Client).Release)
	if !r.DryRun && !yes {
		preview := r
		preview.DryRun = true
		p, err := agreed(e, release, preview, printRelease, func(p control.Release) string {
			return fmt.Sprintf("Release %s/%s?", p.Namespace, p.Name)
		})
		if err != nil {
			return err
		}
		r.Namespace = p.Namespace
		if p.Hold != nil {
			r.Hold = p.Hold.ID
		}
	}
	res, err := release(r)
	if err != nil {
		return err
	}
	if !yes && !res.DryRun && output == "" {
		_, err := fmt.Fprintf(e.out, "%s/%s released\n", res.Namespace, res.Name)
		return err
	}
	return e.print(output, res, func(w io.Writer) error { return printRelease(w, res) })
}

// holds lists them.
func (e *env) holds() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "holds",
		Short: "List the Deployments that are held, and what is marked as bad",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := ask(cmd.Context(), e, func(c *control.Client) (control.Holds, error) { return c.Holds(cmd.Context()) })
			if err != nil {
				return err
			}
			return e.print(output, h, func(w io.Writer) error { return e.printHolds(w, h) })
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func (e *env) printHolds(w io.Writer, h control.Holds) error {
	if len(h.Holds)+len(h.Marks) == 0 {
		_, err := fmt.Fprintln(w, "nothing is held")
		return err
	}
	now := e.now()
	holds := [][]string{}
	for _, one := range h.Holds {
		kind := "rollback"
		if one.Manual {
			kind = "pin"
		}
		until, wants := "-", "-"
		if !one.Until.IsZero() {
			until = clock(one.Until, now)
		}
		if one.Wants != nil {
			wants = wanted(*one.Wants)
		}
		holds = append(holds, []string{
			one.Namespace, one.Name, kind, number(one.Revision), short(one.Commit), strings.Join(one.Images, ","), one.By,
			Age(one.Since, now), until, orNone(one.Reason), wants,
		})
	}
	if len(holds) > 0 {
		header := []string{"NAMESPACE", "DEPLOYMENT", "KIND", "REVISION", "COMMIT", "IMAGES", "BY", "AGE", "UNTIL", "WHY", "GIT WANTS"}
		if err := writeTable(w, header, holds); err != nil {
			return err
		}
	}
	if len(h.Marks) == 0 {
		return nil
	}
	if len(holds) > 0 {
		fmt.Fprintln(w)
	}
	marks := [][]string{}
	for _, m := range h.Marks {
		marks = append(marks, []string{m.Namespace, m.Name, strings.Join(m.Bad, ","), m.By, Age(m.Since, now), orNone(m.Reason)})
	}
	return writeTable(w, []string{"NAMESPACE", "DEPLOYMENT", "BAD", "BY", "AGE", "WHY"}, marks)
}
