package scenario

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/state"
)

// refusedPod is how a refusal names a pod that never was.
var refusedPod = regexp.MustCompile(`pods \\"[-a-z0-9]+\\"`)

// Dump prints everything the controllers may write, to the second: metadata, status and sizes of the Deployment and
// its ReplicaSets, and how many pods there are of each kind. Generations are left out but for whether they were
// observed, because they count writes.
func (w *World) Dump() (string, error) {
	var b strings.Builder
	write := func(what string, values ...any) error {
		b.WriteString(what)
		for _, v := range values {
			text, err := json.Marshal(v)
			if err != nil {
				return err
			}
			b.WriteString("\n  " + refusedPod.ReplaceAllString(string(text), `pods *`))
		}
		b.WriteString("\n")
		return nil
	}
	if d, err := w.deployment(); err == nil {
		observed := d.Status.ObservedGeneration == d.Generation
		d.Status.ObservedGeneration = 0
		conditions := d.Status.Conditions
		d.Status.Conditions = nil
		if err := write("Deployment", observed, d.Annotations, d.Spec.Template, conditions, d.Status); err != nil {
			return "", err
		}
	}
	for _, rs := range w.replicaSets() {
		rs = rs.DeepCopy()
		observed := rs.Status.ObservedGeneration == rs.Generation
		rs.Status.ObservedGeneration = 0
		for i := range rs.OwnerReferences {
			rs.OwnerReferences[i].UID = ""
		}
		pods := map[string]int{}
		for _, pod := range state.OwnedBy[*corev1.Pod](w.Store, rs.UID) {
			pods[podKind(pod)]++
		}
		if err := write("ReplicaSet "+rs.Name, observed, rs.Labels, rs.Annotations, rs.OwnerReferences,
			rs.DeletionTimestamp != nil, rs.Spec, rs.Status, pods); err != nil {
			return "", err
		}
	}
	orphans := map[string]int{}
	for _, pod := range w.pods("") {
		if metav1.GetControllerOfNoCopy(pod) == nil {
			orphans[podKind(pod)]++
		}
	}
	return b.String(), write("orphans", orphans)
}

func podKind(pod *corev1.Pod) string {
	return fmt.Sprintf("%s ready=%t deleted=%t", pod.Status.Phase, ready(pod), pod.DeletionTimestamp != nil)
}
