package verbs

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// get prints live objects in the columns of kubectl get.
func (e *env) get() *cobra.Command {
	var namespace, output string
	var all bool
	cmd := &cobra.Command{
		Use:     "get deployments|replicasets|pods [NAME]",
		Short:   "List what runs, in kubectl's columns",
		Example: "  belay get pods\n  belay get deploy web -n shop",
		Args:    arguments(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind := resource(args[0])
			if kind == "" {
				return UsageError(cmd.CommandPath(), fmt.Errorf("no such resource: %q; there are deployments, replicasets and pods", args[0]))
			}
			q := control.ObjectQuery{Kind: kind, Namespace: namespace}
			if all {
				q.Namespace = ""
			}
			if len(args) == 2 {
				q.Name = args[1]
			}
			objects, err := ask(e, func(c *control.Client) (control.Objects, error) { return c.Objects(cmd.Context(), q) })
			if err != nil {
				return err
			}
			if q.Name != "" && len(objects.Items) == 0 {
				return fmt.Errorf("%s %q not found in namespace %s", strings.ToLower(kind), q.Name, namespace)
			}
			return e.print(output, objects.Items, func(w io.Writer) error { return e.printObjects(w, kind, objects.Items, namespace, all) })
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace")
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "every namespace")
	outputFlag(cmd, &output)
	return cmd
}

var columns = map[string][]string{
	"Deployment": {"NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"},
	"ReplicaSet": {"NAME", "DESIRED", "CURRENT", "READY", "AGE"},
	"Pod":        {"NAME", "READY", "STATUS", "RESTARTS", "AGE"},
}

func (e *env) printObjects(w io.Writer, kind string, items []json.RawMessage, namespace string, all bool) error {
	if len(items) == 0 {
		_, err := fmt.Fprintf(e.err, "No resources found in %s namespace.\n", namespace)
		return err
	}
	header := columns[kind]
	if all {
		header = append([]string{"NAMESPACE"}, header...)
	}
	t := NewTable(w, header...)
	for _, item := range items {
		ns, cells, err := cellsOf(kind, item, e.now())
		if err != nil {
			return err
		}
		if all {
			cells = append([]string{ns}, cells...)
		}
		t.Row(cells...)
	}
	return t.Flush()
}

// cellsOf is one row of a table of objects, and the object's namespace.
func cellsOf(kind string, item json.RawMessage, now time.Time) (string, []string, error) {
	n := func(i int32) string { return strconv.Itoa(int(i)) }
	switch kind {
	case "Deployment":
		d, err := object[appsv1.Deployment](item)
		return d.Namespace, []string{
			d.Name, fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, *d.Spec.Replicas), n(d.Status.UpdatedReplicas),
			n(d.Status.AvailableReplicas), Age(d.CreationTimestamp.Time, now),
		}, err
	case "ReplicaSet":
		rs, err := object[appsv1.ReplicaSet](item)
		return rs.Namespace, []string{
			rs.Name, n(*rs.Spec.Replicas), n(rs.Status.Replicas), n(rs.Status.ReadyReplicas), Age(rs.CreationTimestamp.Time, now),
		}, err
	}
	p, err := object[corev1.Pod](item)
	ready, restarts := 0, int32(0)
	for _, c := range p.Status.ContainerStatuses {
		restarts += c.RestartCount
		if c.Ready {
			ready++
		}
	}
	return p.Namespace, []string{
		p.Name, fmt.Sprintf("%d/%d", ready, len(p.Spec.Containers)), podStatus(p), n(restarts), Age(p.CreationTimestamp.Time, now),
	}, err
}

// podStatus is kubectl's STATUS: the first container with something to say, else the phase.
func podStatus(p corev1.Pod) string {
	if p.DeletionTimestamp != nil {
		return "Terminating"
	}
	for _, c := range p.Status.ContainerStatuses {
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			return c.State.Waiting.Reason
		case c.State.Terminated != nil && c.State.Terminated.Reason != "":
			return c.State.Terminated.Reason
		}
	}
	if p.Status.Reason != "" {
		return p.Status.Reason
	}
	return string(p.Status.Phase)
}

// object decodes a live object; fields that objects from the service always have are filled in.
func object[T any](item json.RawMessage) (T, error) {
	var o T
	err := json.Unmarshal(item, &o)
	switch o := any(&o).(type) {
	case *appsv1.Deployment:
		if o.Spec.Replicas == nil {
			o.Spec.Replicas = new(int32)
		}
	case *appsv1.ReplicaSet:
		if o.Spec.Replicas == nil {
			o.Spec.Replicas = new(int32)
		}
	}
	return o, err
}
