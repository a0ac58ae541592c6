package verbs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/belay-dev/belay/cmd/belay/app"
)

// backup copies the state into a file: from a running service, or, where none runs, from the data directory.
func (e *env) backup() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy the state into a file, while the service runs or not",
		Long: "Copy the state into a file: every revision and outcome, what runs, and where each source stands. The file\n" +
			"is complete and verified, or not there. Repositories and secrets of the configuration are not in it.",
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			dir, err := app.DataDir(e.dataDir)
			if err != nil {
				return err
			}
			if err := e.writeBackup(cmd.Context(), dir, file, force); err != nil {
				return err
			}
			_, err = fmt.Fprintf(e.out, "state of %s copied to %s\n", dir, file)
			return err
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE")
	return cmd
}

func (e *env) writeBackup(ctx context.Context, dir, file string, force bool) error {
	c, err := e.client()
	if _, none := errors.AsType[*app.NotRunningError](err); none {
		return app.Backup(dir, file, force, nil)
	}
	if err != nil {
		return err
	}
	defer c.Close()
	err = app.Backup(dir, file, force, func(w io.Writer) error { return c.Backup(ctx, w) })
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "dial" { // it was killed, and is still announced
		return app.Backup(dir, file, force, nil)
	}
	return err
}

// restore makes a backup the state of a data directory.
func (e *env) restore() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a backup the state of the data directory",
		Long: "Make a backup the state of the data directory, while no service runs on it. The next `belay serve` goes on\n" +
			"from there: commits that came since are recorded again, as new ones.",
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := app.DataDir(e.dataDir)
			if err != nil {
				return err
			}
			kept, err := app.Restore(dir, args[0], force)
			if err != nil {
				return err
			}
			if kept != "" {
				fmt.Fprintf(e.out, "what was there is kept as %s\n", kept)
			}
			_, err = fmt.Fprintf(e.out, "state of %s restored\n", dir)
			return err
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "restore over a state, which is kept under another name")
	return cmd
}
