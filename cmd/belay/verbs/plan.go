package verbs

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// plan prints a rollout step by step before anybody begins it.
func (e *env) plan() *cobra.Command {
	var q control.PlanQuery
	var images []string
	var file, output string
	var replicas int32
	cmd := &cobra.Command{
		Use:   "plan deploy/NAME",
		Short: "Show step by step how a rollout would go",
		Example: "  belay plan deploy/web --image web=web:2\n" +
			"  belay plan deploy/web --replicas 5\n" +
			"  belay plan deploy/web -f web.yaml",
		Args: arguments(cobra.ExactArgs(1)), ValidArgsFunction: e.completeDeployments,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if q.Name, err = deploymentName(cmd, args[0]); err != nil {
				return err
			}
			q.Images = map[string]string{}
			for _, i := range images {
				container, image, ok := strings.Cut(i, "=")
				if !ok || container == "" || image == "" {
					return UsageError(cmd.CommandPath(), fmt.Errorf("--image %q is not CONTAINER=IMAGE", i))
				}
				q.Images[container] = image
			}
			if cmd.Flags().Changed("replicas") {
				q.Replicas = &replicas
			}
			if file != "" {
				b, err := os.ReadFile(file)
				if err != nil {
					return fmt.Errorf("read the manifest: %w", err)
				}
				q.Manifest, q.File = string(b), file
			}
			if len(images) == 0 && q.Replicas == nil && file == "" {
				return UsageError(cmd.CommandPath(), fmt.Errorf("say what changes: --image, --replicas or -f"))
			}
			f, err := ask(cmd.Context(), e, func(c *control.Client) (control.Forecast, error) { return c.Plan(cmd.Context(), q) })
			if err != nil {
				return err
			}
			if output == "" {
				for _, p := range f.Problems {
					fmt.Fprintln(e.err, problemLine(p))
				}
			}
			return e.print(output, f, func(w io.Writer) error { return printForecast(w, f) })
		},
	}
	namespaceFlag(cmd, &q.Namespace)
	cmd.Flags().StringArrayVar(&images, "image", nil, "CONTAINER=IMAGE to roll out; repeatable")
	cmd.Flags().Int32Var(&replicas, "replicas", 0, "number of replicas")
	cmd.Flags().StringVarP(&file, "filename", "f", "", "manifest to roll out")
	outputFlag(cmd, &output)
	return cmd
}

func printForecast(w io.Writer, f control.Forecast) error {
	if len(f.Steps) == 0 {
		_, err := fmt.Fprintln(w, "nothing would change")
		return err
	}
	if f.Paused {
		if _, err := fmt.Fprintln(w, "paused: nothing moves until it is resumed, then"); err != nil {
			return err
		}
	}
	for _, s := range f.Steps {
		if _, err := fmt.Fprintln(w, s); err != nil {
			return err
		}
	}
	return nil
}
