package verbs

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// diff prints what a sync would change. Exit status 0: nothing; 1: something; more: an error.
func (e *env) diff() *cobra.Command {
	var q control.DiffQuery
	var output string
	cmd := &cobra.Command{
		Use:   "diff [PATH]",
		Short: "Show what a sync would change of what runs",
		Long: "Show what a sync of the newest commit, or of the one given, would change of what runs, field by field.\n\n" +
			"PATH narrows it to a file or directory of the repository.\n" +
			"Exit status 0: nothing would change; 1: something would; more than 1: an error.",
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				q.Path = args[0]
			}
			q.Patch = output == "patch"
			d, err := ask(cmd.Context(), e, func(c *control.Client) (control.Diff, error) { return c.Diff(cmd.Context(), q) })
			if err != nil {
				return cannotTell(err)
			}
			if err := e.printDiff(output, d); err != nil {
				return err
			}
			if serious(d.Problems) {
				return &ExitError{Code: 2}
			}
			if len(d.Objects) > 0 {
				return &ExitError{Code: 1}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&q.Source, "source", "", "which source, where there are several")
	cmd.Flags().StringVar(&q.Commit, "commit", "", "commit to compare with (default the newest)")
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, yaml or patch, or nothing for people")
	return cmd
}

// printDiff prints a diff in the form that was asked for.
func (e *env) printDiff(output string, d control.Diff) error {
	switch output {
	case "yaml":
		b, err := yaml.Marshal(d)
		if err != nil {
			return fmt.Errorf("write the diff: %w", err)
		}
		_, err = e.out.Write(b)
		return err
	case "patch":
		for _, o := range d.Objects {
			if _, err := io.WriteString(e.out, o.Patch); err != nil {
				return err
			}
		}
		return nil
	}
	return e.print(output, d, func(w io.Writer) error { return printDiff(w, d) })
}

// printDiff prints what each commit would change, where there are several, and what a sync would change of what runs.
func printDiff(w io.Writer, d control.Diff) error {
	if len(d.Commits) > 1 {
		for _, c := range d.Commits {
			if _, err := fmt.Fprintf(w, "commit %s %s\n", short(c.Commit), Line(c.Subject)); err != nil {
				return err
			}
			printObjects(w, "  ", c.Objects)
		}
		fmt.Fprintln(w, "\nin all, of what runs:")
	}
	printObjects(w, "", d.Objects)
	for _, p := range d.Problems {
		fmt.Fprintln(w, problemLine(p))
	}
	return nil
}

func printObjects(w io.Writer, indent string, objects []control.ObjectDiff) {
	for _, o := range objects {
		name := o.Kind + " " + o.Name
		if o.Namespace != "" {
			name = o.Kind + " " + o.Namespace + "/" + o.Name
		}
		place := o.File
		if o.Line > 0 {
			place = fmt.Sprintf("%s:%d", o.File, o.Line)
		}
		fmt.Fprintf(w, "%s%s %s  (%s)\n", indent, o.Action, name, place)
		for _, f := range o.Fields {
			fmt.Fprintf(w, "%s  %s\n", indent, f)
		}
	}
}
