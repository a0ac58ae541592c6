package verbs

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/belay-dev/belay/cmd/belay/app"
)

// configuration prints the annotated defaults, or checks a file.
func (e *env) configuration() *cobra.Command {
	return &cobra.Command{
		Use:   "config [FILE]",
		Short: "Print every configuration key with its default, or check a file",
		Args:  arguments(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				_, err := fmt.Fprint(e.out, app.AnnotatedConfig())
				return err
			}
			c, err := app.LoadConfig(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(e.out, "%s: %d sources, no problems\n", args[0], len(c.Sources))
			return err
		},
	}
}
