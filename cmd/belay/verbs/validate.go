package verbs

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/belay-dev/belay/cmd/belay/app"
)

// validate checks a working tree without a service, for CI and for a hook before a commit.
func (e *env) validate() *cobra.Command {
	var namespace, output string
	cmd := &cobra.Command{
		Use:   "validate PATH",
		Short: "Render and check a working tree, as a sync would, without a service",
		Long: "Render and check the manifests below PATH exactly as a sync would.\n\n" +
			"Exit status 0: everything would be applied; 1: something would not; 2: it could not be checked.",
		Example: "  belay validate apps/shop\n  belay validate . -o sarif >belay.sarif",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			report, _, err := app.Check(cmd.Context(), args[0], namespace)
			if err != nil {
				return cannotTell(err)
			}
			var v any = report
			switch output {
			case "":
				for _, p := range report.Problems {
					fmt.Fprintln(e.out, p)
				}
				fmt.Fprintf(e.out, "%d roots, %d objects, %d problems\n", report.Roots, report.Objects, len(report.Problems))
				v = nil
			case "json":
			case "sarif":
				v = report.SARIF(build())
			default:
				return UsageError(cmd.CommandPath(), fmt.Errorf("output %q is none of json and sarif", output))
			}
			if v != nil {
				enc := json.NewEncoder(e.out)
				enc.SetIndent("", "  ")
				enc.SetEscapeHTML(false)
				if err := enc.Encode(v); err != nil {
					return err
				}
			}
			if !report.OK() {
				return &ExitError{Code: exitFailure}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace for objects that name none")
	cmd.Flags().StringVarP(&output, "output", "o", "", "json or sarif, or nothing for people")
	return cmd
}
