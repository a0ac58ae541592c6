package verbs

import (
	"github.com/spf13/cobra"

	"github.com/belay-dev/belay/cmd/belay/app"
)

// kubeconfig prints what kubectl needs, for one role.
func (e *env) kubeconfig() *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use:     "kubeconfig",
		Short:   "Print what kubectl needs to reach the service",
		Long:    "Print a kubeconfig with the token of one role: view reads everything but Secrets, edit does everything.",
		Example: "  belay kubeconfig --role view > viewer.yaml\n  kubectl --kubeconfig viewer.yaml get deployments",
		Args:    arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			dir, err := app.DataDir(e.dataDir)
			if err != nil {
				return err
			}
			data, err := app.Kubeconfig(dir, role)
			if err != nil {
				return err
			}
			_, err = e.out.Write(data)
			return err
		},
	}
	cmd.Flags().StringVar(&role, "role", "edit", "view, rollback or edit")
	return cmd
}
