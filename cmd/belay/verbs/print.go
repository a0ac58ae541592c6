package verbs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/belay-dev/belay/cmd/belay/app"
)

// outputFlag adds -o to a verb that can print JSON.
func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "", "json, or nothing for people")
}

// whyFlag adds -m to a verb that holds.
func whyFlag(cmd *cobra.Command, why *string) {
	cmd.Flags().StringVarP(why, "message", "m", "", "why; kept with the hold")
}

// waitFlag adds --wait to a verb that begins a rollout.
func waitFlag(cmd *cobra.Command, wait *bool) {
	cmd.Flags().BoolVar(wait, "wait", false, "wait until the rollout has ended, or stands still")
}

// askingFlags adds --yes and --dry-run to a verb that asks first.
func askingFlags(cmd *cobra.Command, yes, dryRun *bool, only string) {
	cmd.Flags().BoolVar(dryRun, "dry-run", false, only)
	cmd.Flags().BoolVar(yes, "yes", false, "do not ask")
}

// namespaceFlag adds -n to a verb that names a Deployment.
func namespaceFlag(cmd *cobra.Command, namespace *string) {
	cmd.Flags().StringVarP(namespace, "namespace", "n", "", "namespace of the Deployment (default the only one that has it)")
}

// print writes a value as JSON, or as people want it.
func (e *env) print(output string, v any, people func(io.Writer) error) error {
	switch output {
	case "":
		return people(e.out)
	case "json":
		enc := json.NewEncoder(e.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	return &ExitError{Code: exitUsage, Err: fmt.Errorf("output %q is neither json nor empty", output)}
}

// writeTable prints a table at once.
func writeTable(w io.Writer, header []string, rows [][]string) error {
	t := NewTable(w, header...)
	for _, r := range rows {
		t.Row(r...)
	}
	return t.Flush()
}

// cannotTell gives an error the exit status that says so.
func cannotTell(err error) error {
	if ExitCode(err) > exitFailure {
		return err
	}
	return &ExitError{Code: 2, Err: err}
}

// notRunning turns a refused connection into the error that names the data directory.
func notRunning(e *env, err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "dial" {
		dir, dirErr := app.DataDir(e.dataDir)
		if dirErr != nil {
			return errors.Join(err, dirErr)
		}
		return &app.NotRunningError{Dir: dir}
	}
	return err
}

// deploymentName takes the name out of deploy/NAME, as kubectl spells it, or of NAME alone.
func deploymentName(cmd *cobra.Command, arg string) (string, error) {
	kind, name, ok := strings.Cut(arg, "/")
	if !ok {
		return arg, nil
	}
	if resource(kind) != "Deployment" || name == "" {
		return "", UsageError(cmd.CommandPath(), fmt.Errorf("%q names no Deployment", arg))
	}
	return name, nil
}

// resource is the kind that a person's word for it means; empty: none that is shown here.
func resource(word string) string {
	switch strings.ToLower(word) {
	case "deploy", "deployment", "deployments", "deployment.apps", "deployments.apps", "deployment.v1.apps", "deployments.v1.apps":
		return "Deployment"
	case "rs", "replicaset", "replicasets", "replicaset.apps", "replicasets.apps":
		return "ReplicaSet"
	case "po", "pod", "pods":
		return "Pod"
	}
	return ""
}

func short(hash string) string {
	if hash == "" {
		return "-"
	}
	return hash[:min(7, len(hash))]
}

func number(n int64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

func orNone(s string) string {
	if s == "" {
		return "<none>"
	}
	return s
}

// ago says how long ago something was; never is a dash.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return Age(t, now) + " ago"
}
