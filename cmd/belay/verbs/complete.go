package verbs

import (
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// completeDeployments completes deploy/NAME with what a running service manages; without one there is nothing.
func (e *env) completeDeployments(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	s, err := ask(cmd.Context(), e, func(c *control.Client) (control.Status, error) { return c.Status(cmd.Context()) })
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	namespace, _ := cmd.Flags().GetString("namespace") // a verb without it means every namespace
	var names []string
	for _, d := range s.Deployments {
		if namespace == "" || d.Namespace == namespace {
			names = append(names, "deploy/"+d.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
}

// completeRevisions completes --to-revision with the revisions of the Deployment that is named, the newest first.
func (e *env) completeRevisions(cmd *cobra.Command) {
	e.complete(cmd, "to-revision", func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		none := cobra.ShellCompDirectiveNoFileComp
		if len(args) == 0 {
			return nil, none
		}
		q := control.HistoryQuery{Name: args[0][strings.IndexByte(args[0], '/')+1:]}
		q.Namespace, _ = cmd.Flags().GetString("namespace") // absent: the only one that has it
		rows, err := ask(cmd.Context(), e, func(c *control.Client) ([]control.Row, error) { return c.History(cmd.Context(), q) })
		if err != nil {
			return nil, none
		}
		var out []string
		for _, r := range slices.Backward(rows) {
			if r.Revision != 0 {
				out = append(out, strconv.FormatInt(r.Revision, 10)+"\t"+r.Outcome+" "+Line(r.ChangeCause))
			}
		}
		return out, none | cobra.ShellCompDirectiveKeepOrder
	})
}

// completeFlag completes a flag that has a few values.
func (e *env) completeFlag(cmd *cobra.Command, flag string, values ...string) {
	e.complete(cmd, flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

func (e *env) complete(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err) // the verb has no such flag
	}
}
