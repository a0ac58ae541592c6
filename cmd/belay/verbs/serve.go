package verbs

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/belay-dev/belay/cmd/belay/app"
)

// serve runs the service until it is told to stop.
func (e *env) serve() *cobra.Command {
	var f app.Flags
	var file string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Follow the configured repositories and run their Deployments",
		Example: "  belay serve --repo /srv/git/shop.git --path apps/shop\n" +
			"  belay serve --config belay.yaml",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := app.ReadConfig(file, f)
			if err != nil {
				return err
			}
			dir, err := app.DataDir(e.dataDir)
			if err != nil {
				return err
			}
			a := app.New(c, dir, logger(e.err))
			a.API, a.Network, a.Seams = e.api, networkCommand(), e.seams
			again := make(chan os.Signal, 1)
			signal.Notify(again, syscall.SIGHUP)
			defer signal.Stop(again)
			a.Reload = app.Reload{Asked: again}
			if file != "" {
				if a.Reload.File, err = filepath.Abs(file); err != nil {
					return err
				}
				a.Reload.Load = func() (app.Config, error) { return app.ReadConfig(file, f) }
			}
			if isTerminal(e.err) {
				a.Progress = func(source, text string) { fmt.Fprintf(e.err, clearLine+"%s: %s", source, Line(text)) }
			}
			return a.Run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&file, "config", "c", "", "configuration file; `belay config` prints one")
	flags.StringVar(&f.Repo, "repo", "", "address of one repository to follow, instead of a file")
	flags.StringVar(&f.Branch, "branch", "", "branch of --repo (default main)")
	flags.StringVar(&f.Path, "path", "", "directory of the manifests in --repo (default its root)")
	flags.StringVarP(&f.Namespace, "namespace", "n", "", "namespace for objects of --repo that name none (default default)")
	flags.DurationVar(&f.Interval, "interval", 0, "how often to look at --repo (default 15s)")
	flags.BoolVar(&f.Push, "push", false, "push rollbacks to --repo, with what it is read with; without it they are holds alone")
	flags.StringVar(&f.Auth.User, "user", "", "name that --repo is shown (https: default x-access-token; ssh: that of the address)")
	flags.StringVar(&f.Auth.TokenFile, "token-file", "", "file with the token, or the password of --user, for an https --repo")
	flags.StringVar(&f.Auth.CAFile, "ca-file", "", "file with certificates to trust for an https --repo")
	flags.StringVar(&f.Auth.KeyFile, "key-file", "", "file with the private key for an ssh --repo")
	flags.StringVar(&f.Auth.PassphraseFile, "passphrase-file", "", "file with the passphrase of --key-file")
	flags.StringVar(&f.Auth.KnownHostsFile, "known-hosts-file", "", "file with the host's key for an ssh --repo; see belay known-hosts")
	flags.StringVar(&f.Runtime, "runtime", "", "what runs the pods: auto, docker, embedded or simulated (default auto)")
	flags.StringVar(&f.Listen, "listen", "", "host:port for the Kubernetes API, metrics and health checks, over TLS (default "+app.DefaultListen+")")
	flags.StringArrayVar(&f.Simulate, "simulate", nil, "how simulated pods behave: IMAGE=missing|crash|unready or delay=DURATION; repeatable")
	return cmd
}

// clearing begins every line at its left edge, where progress may have been shown.
type clearing struct{ io.Writer }

func (c clearing) Write(p []byte) (int, error) {
	if _, err := io.WriteString(c.Writer, clearLine); err != nil {
		return 0, err
	}
	return c.Writer.Write(p)
}

// clearLine is what a terminal takes to begin the line anew.
const clearLine = "\r\x1b[K"

// logger writes lines for people on a terminal, and JSON elsewhere.
func logger(w io.Writer) zerolog.Logger {
	if isTerminal(w) {
		w = zerolog.ConsoleWriter{Out: clearing{w}, TimeFormat: "15:04:05"}
	}
	return zerolog.New(w).Level(zerolog.InfoLevel).With().Timestamp().Logger()
}
