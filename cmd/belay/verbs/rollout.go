package verbs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// rollout groups the questions about a rollout, in kubectl's words.
func (e *env) rollout() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollout",
		Short: "Show a rollout's status or history, in kubectl's words",
		Args:  arguments(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(e.rolloutStatus(), e.rolloutHistory())
	return cmd
}

func (e *env) rolloutStatus() *cobra.Command {
	var namespace string
	var watch bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "status deployment/NAME",
		Short: "Follow a rollout until it is done",
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := deploymentName(cmd, args[0])
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			c, err := e.client()
			if err != nil {
				return err
			}
			defer c.Close()
			err = e.followRollout(ctx, c, control.ObjectQuery{Kind: "Deployment", Namespace: namespace, Name: name}, watch)
			if errors.Is(err, context.DeadlineExceeded) {
				return errors.New("timed out waiting for the condition")
			}
			return notRunning(e, err)
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace")
	cmd.Flags().BoolVarP(&watch, "watch", "w", true, "follow until the rollout is done")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "give up after this long (default never)")
	return cmd
}

// followRollout prints a line whenever the status says something new.
func (e *env) followRollout(ctx context.Context, c *control.Client, q control.ObjectQuery, watch bool) error {
	for last := ""; ; {
		objects, err := c.Objects(ctx, q)
		if err != nil {
			return err
		}
		if len(objects.Items) == 0 {
			return fmt.Errorf("deployments.apps %q not found", q.Name)
		}
		d, err := object[appsv1.Deployment](objects.Items[0])
		if err != nil {
			return err
		}
		line, done, err := rolloutLine(d)
		if err != nil {
			return err
		}
		if line != last {
			fmt.Fprintln(e.out, line)
			last = line
		}
		if done || !watch {
			return nil
		}
		q.After = objects.Version
	}
}

// rolloutLine is what kubectl rollout status says of a Deployment, and whether that ends it.
func rolloutLine(d appsv1.Deployment) (line string, done bool, err error) {
	if d.Generation > d.Status.ObservedGeneration {
		return "Waiting for deployment spec update to be observed...", false, nil
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Reason == "ProgressDeadlineExceeded" {
			return "", false, fmt.Errorf("deployment %q exceeded its progress deadline", d.Name)
		}
	}
	waiting := fmt.Sprintf("Waiting for deployment %q rollout to finish: ", d.Name)
	s := d.Status
	switch {
	case s.UpdatedReplicas < *d.Spec.Replicas:
		return fmt.Sprintf("%s%d out of %d new replicas have been updated...", waiting, s.UpdatedReplicas, *d.Spec.Replicas), false, nil
	case s.Replicas > s.UpdatedReplicas:
		return fmt.Sprintf("%s%d old replicas are pending termination...", waiting, s.Replicas-s.UpdatedReplicas), false, nil
	case s.AvailableReplicas < s.UpdatedReplicas:
		return fmt.Sprintf("%s%d of %d updated replicas are available...", waiting, s.AvailableReplicas, s.UpdatedReplicas), false, nil
	}
	return fmt.Sprintf("deployment %q successfully rolled out", d.Name), true, nil
}

func (e *env) rolloutHistory() *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:   "history deployment/NAME",
		Short: "List the revisions whose ReplicaSets are kept",
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := deploymentName(cmd, args[0])
			if err != nil {
				return err
			}
			return e.printRevisions(cmd.Context(), namespace, name)
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace")
	return cmd
}

// printRevisions prints the revisions as kubectl rollout history does: a line with the name, a table, an empty line.
func (e *env) printRevisions(ctx context.Context, namespace, name string) error {
	objects, err := ask(e, func(c *control.Client) (control.Objects, error) {
		return c.Objects(ctx, control.ObjectQuery{Kind: "Deployment", Namespace: namespace, Name: name})
	})
	if err != nil {
		return err
	}
	if len(objects.Items) == 0 {
		return fmt.Errorf("deployments.apps %q not found", name)
	}
	d, err := object[appsv1.Deployment](objects.Items[0])
	if err != nil {
		return err
	}
	sets, err := ask(e, func(c *control.Client) (control.Objects, error) {
		return c.Objects(ctx, control.ObjectQuery{Kind: "ReplicaSet", Namespace: namespace})
	})
	if err != nil {
		return err
	}
	type entry struct {
		revision int64
		cause    string
	}
	var entries []entry
	for _, item := range sets.Items {
		rs, err := object[appsv1.ReplicaSet](item)
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(rs.Annotations["deployment.kubernetes.io/revision"], 10, 64)
		if err == nil && metav1.IsControlledBy(&rs, &d) {
			entries = append(entries, entry{n, orNone(Line(rs.Annotations["kubernetes.io/change-cause"]))})
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.revision, b.revision) })
	fmt.Fprintf(e.out, "deployment.apps/%s \n", name)
	if len(entries) == 0 {
		_, err := fmt.Fprintln(e.out, "No rollout history found.")
		return err
	}
	w := tabwriter.NewWriter(e.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "REVISION\tCHANGE-CAUSE")
	for _, en := range entries {
		fmt.Fprintf(w, "%d\t%s\n", en.revision, en.cause)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(e.out)
	return err
}
