package verbs

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/belay-dev/belay/cmd/belay/app"
)

// knownHosts prints the keys that a host shows, for a person to compare. Nothing is trusted by it.
func (e *env) knownHosts() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "known-hosts HOST[:PORT]",
		Short: "Print the keys that an ssh host shows, for you to compare",
		Long: "Print the keys that an ssh host shows, as lines for a known_hosts file, and their fingerprints.\n\n" +
			"Whoever sits between you and the host can show keys of their own: compare the fingerprints with those that the host's\n" +
			"operator publishes before you keep the lines.",
		Example: "  belay known-hosts git.example.com >known_hosts",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := app.HostKeys(cmd.Context(), args[0], timeout)
			if err != nil {
				return err
			}
			for _, k := range keys {
				fmt.Fprintf(e.err, "# %s %s\n", k.Type, k.Fingerprint)
				fmt.Fprintln(e.out, k.Line)
			}
			_, err = fmt.Fprintln(e.err, "compare the fingerprints with what the host's operator publishes before you trust these lines")
			return err
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Second, "how long each connection may take")
	return cmd
}
