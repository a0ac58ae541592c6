package verbs

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/belay-dev/belay/cmd/belay/app"
	"github.com/belay-dev/belay/cmd/belay/control"
)

// env is what every verb works with.
type env struct {
	in       io.Reader
	out, err io.Writer
	now      func() time.Time
	dataDir  string // flag
	api      app.NewAPI
	seams    app.Seams
	// uncaught gives signals back to the system: what does not end with a context must end with them.
	uncaught func()
}

// Main executes the process's own command line, whose services serve the Kubernetes API that is given, in the world of the
// seams. The first interrupt or termination signal stops it cleanly; the second one is not caught, so that it ends a stop
// that takes too long.
func Main(ctx context.Context, api app.NewAPI, seams app.Seams) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	// Not stop: it would end the context, which some of kubectl's commands take for their time being over.
	uncaught := func() { signal.Reset(os.Interrupt, syscall.SIGTERM) }
	e := &env{in: os.Stdin, out: os.Stdout, err: os.Stderr, now: time.Now, api: api, seams: seams, uncaught: uncaught}
	if seams.Now != nil {
		e.now = seams.Now
	}
	return e.run(ctx, os.Args[1:])
}

// run executes one command line and returns its exit status. Errors are printed as `belay: …`, with a hint where one is
// known, and those of kubectl's commands as kubectl has them.
func (e *env) run(ctx context.Context, args []string) int {
	root := e.root(args)
	root.SetIn(e.in)
	root.SetOut(e.out)
	root.SetErr(e.err)
	err := root.ExecuteContext(ctx)
	PrintError(e.err, err)
	return ExitCode(err)
}

// root is the whole command line. The commands of kubectl are in it where the arguments do not name one of Belay's own:
// making them takes longer than most of those.
func (e *env) root(args []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "belay",
		Short: "Make a Git repository of Kubernetes Deployments run, and go back when it must",
		Long: "Belay follows a Git repository of Kubernetes Deployment manifests: every commit that changes a Deployment\n" +
			"becomes a revision and rolls out, and `belay rollback` goes back at once and stays there until Git agrees.\n\n" +
			"Try `belay demo` first; then `belay serve --repo PATH`.",
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringVar(&e.dataDir, "data-dir", e.dataDir,
		"data directory of the service (default $BELAY_DATA_DIR, else belay in the user's state directory)")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return UsageError(cmd.CommandPath(), err) })
	root.AddGroup(&cobra.Group{ID: ownGroup, Title: "Commands:"})
	own := []*cobra.Command{
		e.demo(), e.serve(), e.status(), e.history(), e.rollback(), e.pin(), e.release(), e.holds(), e.sync(), e.diff(), e.plan(),
		e.suspend("suspend", true), e.suspend("resume", false), e.configuration(), e.knownHosts(), e.validate(), e.version(), e.kubeconfig(), e.backup(), e.restore(), e.webhook(), e.network(),
	}
	for _, cmd := range own {
		cmd.GroupID = ownGroup
	}
	root.AddCommand(own...)
	root.SetHelpCommandGroupID(ownGroup)
	root.SetCompletionCommandGroupID(ownGroup)
	if cmd, _, err := root.Find(args); err != nil || cmd == root {
		root.AddGroup(&cobra.Group{ID: kubernetesGroup, Title: "Commands of kubectl, against this service:"})
		root.AddCommand(e.kubernetes()...)
	}
	root.SetArgs(args)
	return root
}

// ownGroup is the group of Belay's own commands in the help.
const ownGroup = "own"

// arguments checks the number of arguments, as a mistake of usage.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return UsageError(cmd.CommandPath(), err)
		}
		return nil
	}
}

// client connects to the service of the data directory.
func (e *env) client() (*control.Client, error) {
	dir, err := app.DataDir(e.dataDir)
	if err != nil {
		return nil, err
	}
	s, err := app.ReadService(dir)
	if err != nil {
		return nil, err
	}
	return control.NewClient(s.Socket), nil
}

// ask calls a running service, or one that is just starting. That none answers although one is announced has a hint of its own.
func ask[T any](ctx context.Context, e *env, f func(*control.Client) (T, error)) (T, error) {
	var zero T
	dir, err := app.DataDir(e.dataDir)
	if err != nil {
		return zero, err
	}
	s, err := app.AwaitService(ctx, dir)
	if err != nil {
		return zero, err
	}
	c := control.NewClient(s.Socket)
	defer c.Close()
	v, err := f(c)
	return v, notRunning(e, err)
}

// isTerminal reports whether a file is a terminal.
func isTerminal(file any) bool {
	f, ok := file.(interface{ Fd() uintptr })
	return ok && isatty.IsTerminal(f.Fd())
}
