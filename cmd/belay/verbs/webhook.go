package verbs

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// webhook groups what has to do with the pushes that Git hosts tell of.
func (e *env) webhook() *cobra.Command {
	cmd := &cobra.Command{Use: "webhook", Short: "Test the address that Git hosts send to", Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(&cobra.Command{
		Use:   "test SOURCE",
		Short: "Let the service send itself a push, signed as a Git host would",
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := ask(cmd.Context(), e, func(c *control.Client) (control.WebhookTest, error) { return c.TestWebhook(cmd.Context(), args[0]) })
			if err != nil {
				return err
			}
			fmt.Fprintf(e.out, "POST %s: %d %s\n", t.URL, t.Status, t.Answer)
			if t.Status != http.StatusAccepted {
				return &ExitError{Code: exitFailure}
			}
			return nil
		},
	})
	return cmd
}
