package verbs

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// status prints everything at a glance. Exit status 0: well; 1: unhealthy, or a source cannot be synced; 2: nobody
// can tell.
func (e *env) status() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show sources, apps, Deployments and problems",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := ask(cmd.Context(), e, func(c *control.Client) (control.Status, error) { return c.Status(cmd.Context()) })
			if err != nil {
				return cannotTell(err)
			}
			if err := e.print(output, s, func(w io.Writer) error { return printStatus(w, s, e.now()) }); err != nil {
				return err
			}
			return verdict(s)
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

// verdict is the exit status that a status deserves.
func verdict(s control.Status) error {
	bad := serious(s.Problems)
	for _, src := range s.Sources {
		bad = bad || src.Error != ""
	}
	for _, d := range s.Deployments {
		awaited := d.Health == control.Missing && d.Outcome == "Waiting" // its first rollout
		bad = bad || d.Health == control.Degraded || d.Health == control.Missing && !awaited || d.Health == control.UnknownLive
	}
	if bad {
		return &ExitError{Code: 1}
	}
	return nil
}

// serious reports whether there are problems that are more than warnings.
func serious(problems []control.Problem) bool {
	return slices.ContainsFunc(problems, func(p control.Problem) bool { return !p.Warning })
}

func printStatus(w io.Writer, s control.Status, now time.Time) error {
	sources := [][]string{}
	for _, src := range s.Sources {
		sources = append(sources, []string{
			src.Name, src.Branch + "@" + short(src.Head), short(src.Commit), ago(src.LastPoll, now), sourceState(src), src.URL,
		})
	}
	if err := writeTable(w, []string{"SOURCE", "HEAD", "SYNCED", "POLLED", "STATE", "URL"}, sources); err != nil {
		return err
	}
	for _, src := range s.Sources {
		if src.Error == "" {
			continue
		}
		fmt.Fprintf(w, "%s: %s\n", src.Name, src.Error)
		if src.Hint != "" {
			fmt.Fprintf(w, "hint: %s\n", src.Hint)
		}
	}
	for _, a := range s.Apps {
		if a.Closed != nil {
			fmt.Fprintf(w, "%s: app %s is %s\n", a.Source, a.Name, closed(*a.Closed))
		}
	}
	if len(s.Deployments) > 0 {
		fmt.Fprintln(w)
	}
	deployments := [][]string{}
	for _, d := range s.Deployments {
		deployments = append(deployments, []string{
			d.Namespace, d.Name, number(d.Revision), short(d.Commit), strings.Join(d.Images, ","),
			fmt.Sprintf("%d/%d", d.Ready, d.Replicas), string(d.Health), note(d),
		})
	}
	if len(deployments) > 0 {
		header := []string{"NAMESPACE", "DEPLOYMENT", "REVISION", "COMMIT", "IMAGES", "READY", "HEALTH", "NOTE"}
		if err := writeTable(w, header, deployments); err != nil {
			return err
		}
	}
	if err := printHeld(w, s.Deployments, now); err != nil {
		return err
	}
	if len(s.Problems) > 0 {
		fmt.Fprintln(w, "\nPROBLEMS")
	}
	for _, p := range s.Problems {
		fmt.Fprintln(w, problemLine(p))
	}
	return nil
}

// sourceState sums a source up in a few words.
func sourceState(s control.Source) string {
	switch {
	case s.Activity != "":
		return s.Activity
	case s.Error != "":
		return "error"
	case s.Suspended:
		return "suspended"
	case s.LastPoll.IsZero():
		return "starting"
	case s.Head != s.Commit:
		return "syncing"
	}
	return "synced"
}

// closed says until when, and by what, changes are kept from beginning.
func closed(c control.Closed) string {
	if c.Until.IsZero() {
		return "closed by " + c.By
	}
	return fmt.Sprintf("closed until %s by %s", c.Until.Format(time.RFC3339), c.By)
}

// problemLine is file:line: field: message (reason, commit), as far as each is known.
func problemLine(p control.Problem) string {
	var b strings.Builder
	switch {
	case p.File != "" && p.Line > 0:
		fmt.Fprintf(&b, "%s:%d: ", p.File, p.Line)
	case p.File != "":
		fmt.Fprintf(&b, "%s: ", p.File)
	case p.Root != "":
		fmt.Fprintf(&b, "%s: ", p.Root)
	}
	if p.Field != "" && !strings.Contains(p.Message, p.Field) {
		fmt.Fprintf(&b, "%s: ", p.Field)
	}
	fmt.Fprintf(&b, "%s (%s", p.Message, p.Reason)
	if p.Commit != "" {
		fmt.Fprintf(&b, ", at %s", short(p.Commit))
	}
	b.WriteString(")")
	return b.String()
}
