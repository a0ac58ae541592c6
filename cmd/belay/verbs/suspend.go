package verbs

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// suspend stops acting on a source, or goes on with it.
func (e *env) suspend(name string, suspended bool) *cobra.Command {
	short, done := "Go on acting on a suspended source", "resumed"
	if suspended {
		short, done = "Stop acting on a source; what runs goes on running", "suspended"
	}
	return &cobra.Command{
		Use:   name + " SOURCE",
		Short: short,
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := ask(cmd.Context(), e, func(c *control.Client) (struct{}, error) {
				return struct{}{}, c.Suspend(cmd.Context(), args[0], suspended)
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(e.out, "source %s %s\n", args[0], done)
			return err
		},
	}
}
