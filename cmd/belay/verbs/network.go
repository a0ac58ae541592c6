package verbs

import (
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/belay-dev/belay/cmd/belay/app"
)

// network is the process that `belay serve` starts for the connections of Services. It is not for people.
func (e *env) network() *cobra.Command {
	return &cobra.Command{
		Use: "network DIRECTORY SETUP", Hidden: true, Short: "Carry the connections of Services", Args: arguments(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error { return app.RunNetwork(cmd.Context(), args[0], args[1]) },
	}
}

// networkCommand runs it; none where this binary cannot be found.
func networkCommand() []string {
	if runtime.GOOS == "linux" {
		return []string{"/proc/self/exe", "network"} // also after the file was replaced
	}
	file, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{file, "network"}
}
