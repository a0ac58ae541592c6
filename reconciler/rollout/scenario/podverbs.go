package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

// choose returns the first N pods ("all": as many as there are) of an image that ok accepts.
func (w *World) choose(words []string, ok func(*corev1.Pod) bool) ([]*corev1.Pod, error) {
	if len(words) == 0 {
		return nil, errors.New("how many pods?")
	}
	image := ""
	if len(words) > 1 {
		image = words[1]
	}
	pods := slices.DeleteFunc(w.pods(image), func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil || !ok(p) })
	if words[0] == "all" {
		return pods, nil
	}
	n, err := strconv.Atoi(words[0])
	if err != nil {
		return nil, err
	}
	return pods[:min(n, len(pods))], nil
}

// writePods changes the status of pods in one transaction: the controllers see all of it at once.
func (w *World) writePods(pods []*corev1.Pod, change func(*corev1.PodStatus)) error {
	var writes []state.Write
	for _, pod := range pods {
		pod = pod.DeepCopy()
		change(&pod.Status)
		writes = append(writes, state.UpdateStatus(pod))
	}
	if len(writes) == 0 {
		return nil
	}
	return w.commit(writes...)
}

func (w *World) ready(_ context.Context, words []string) error {
	pods, err := w.choose(words, func(p *corev1.Pod) bool {
		return !ready(p) && !w.bad[p.Spec.Containers[0].Image] && p.Status.Phase != corev1.PodFailed
	})
	if err != nil {
		return err
	}
	return w.writePods(pods, func(s *corev1.PodStatus) {
		s.Phase = corev1.PodRunning
		s.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue,
			LastTransitionTime: metav1.NewTime(w.clock.Now())}}
	})
}

func (w *World) unready(_ context.Context, words []string) error {
	pods, err := w.choose(words, ready)
	if err != nil {
		return err
	}
	return w.writePods(pods, func(s *corev1.PodStatus) {
		s.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse,
			LastTransitionTime: metav1.NewTime(w.clock.Now())}}
	})
}

func (w *World) fail(_ context.Context, words []string) error {
	pods, err := w.choose(words, func(p *corev1.Pod) bool { return p.Status.Phase != corev1.PodFailed })
	if err != nil {
		return err
	}
	return w.writePods(pods, func(s *corev1.PodStatus) { *s = corev1.PodStatus{Phase: corev1.PodFailed} })
}

func (w *World) setBad(_ context.Context, words []string) error {
	for _, image := range words {
		w.bad[image] = true
	}
	return nil
}

func (w *World) setGood(_ context.Context, words []string) error {
	for _, image := range words {
		delete(w.bad, image)
	}
	return nil
}

func (w *World) linger(context.Context, []string) error {
	w.lingers = true
	return nil
}

// vanish removes pods that are being deleted: the first N, or all and from now on at once. `vanish N failed` only
// lets them end.
func (w *World) vanish(_ context.Context, words []string) error {
	if len(words) == 0 {
		w.lingers = false
		return nil
	}
	n, err := strconv.Atoi(words[0])
	if err != nil {
		return err
	}
	gone := slices.DeleteFunc(w.pods(""), func(p *corev1.Pod) bool {
		return p.DeletionTimestamp == nil || p.Status.Phase == corev1.PodFailed
	})
	gone = gone[:min(n, len(gone))]
	if len(words) > 1 && words[1] == "failed" {
		return w.writePods(gone, func(s *corev1.PodStatus) { s.Phase = corev1.PodFailed })
	}
	now := int64(0)
	for _, pod := range gone {
		if err := w.commit(state.Delete(state.KeyOf(pod), state.DeleteOptions{GracePeriodSeconds: &now})); err != nil {
			return err
		}
	}
	return nil
}

// replicaSet finds a ReplicaSet by its alias or name.
func (w *World) replicaSet(name string) (*appsv1.ReplicaSet, error) {
	aliases := w.aliases()
	for _, rs := range w.replicaSets() {
		if rs.Name == name || aliases[rs.Name] == name {
			return rs.DeepCopy(), nil
		}
	}
	return nil, fmt.Errorf("no ReplicaSet %s", name)
}

func (w *World) remove(_ context.Context, words []string) error {
	if len(words) == 0 {
		return errors.New("delete what?")
	}
	switch {
	case words[0] == "deployment":
		d, err := w.deployment()
		if err != nil {
			return err
		}
		if slices.Contains(words, "orphan") {
			for _, rs := range state.OwnedBy[*appsv1.ReplicaSet](w.Store, d.UID) {
				rs = rs.DeepCopy()
				rs.OwnerReferences = nil
				if err := w.commit(state.Update(rs)); err != nil {
					return err
				}
			}
		}
		return w.commit(state.Delete(state.KeyOf(d), state.DeleteOptions{}))
	case words[0] == "rs" && len(words) > 1:
		rs, err := w.replicaSet(words[1])
		if err != nil {
			return err
		}
		return w.commit(state.Delete(state.KeyOf(rs), state.DeleteOptions{}))
	case words[0] == "pod":
		pods, err := w.choose(words[1:], func(*corev1.Pod) bool { return true })
		for _, pod := range pods {
			err = errors.Join(err, w.commit(state.Delete(state.KeyOf(pod), state.DeleteOptions{})))
		}
		return err
	}
	return fmt.Errorf("delete %v", words)
}

func (w *World) scaleRS(_ context.Context, words []string) error {
	if len(words) != 2 {
		return errors.New("scale-rs NAME N")
	}
	rs, err := w.replicaSet(words[0])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(words[1])
	if err != nil {
		return err
	}
	size := int32(n)
	rs.Spec.Replicas = &size
	return w.commit(state.Update(rs))
}

func (w *World) addRS(_ context.Context, words []string) error {
	if len(words) < 3 {
		return errors.New("add-rs NAME IMAGE N [ANNOTATION=VALUE…]")
	}
	n, err := strconv.Atoi(words[2])
	if err != nil {
		return err
	}
	size := int32(n)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: words[0], Namespace: namespace, Labels: map[string]string{"app": deploymentName}},
		Spec: appsv1.ReplicaSetSpec{Replicas: &size, Template: newTemplate(words[1]),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": deploymentName, "set": words[0]}}},
	}
	rs.Spec.Template.Labels["set"] = words[0]
	if words[1] == "A" { // to be found by template it needs exactly the Deployment's labels
		rs.Spec.Template = newTemplate("A")
		delete(rs.Spec.Selector.MatchLabels, "set")
	}
	for _, word := range words[3:] {
		key, value, _ := strings.Cut(word, "=")
		setAnnotation(&rs.ObjectMeta, "deployment.kubernetes.io/"+key, value)
	}
	return w.commit(state.Create(rs))
}

func (w *World) labelRS(_ context.Context, words []string) error {
	if len(words) != 2 {
		return errors.New("label-rs NAME KEY=VALUE")
	}
	rs, err := w.replicaSet(words[0])
	if err != nil {
		return err
	}
	key, value, _ := strings.Cut(words[1], "=")
	rs.Labels[key] = value
	return w.commit(state.Update(rs))
}

// squat creates a ReplicaSet of nobody with the name that the image's would get.
func (w *World) squat(_ context.Context, words []string) error {
	d, err := w.deployment()
	if err != nil {
		return err
	}
	if err := setFields(d, []string{"image=" + strings.Join(words, " ")}); err != nil {
		return err
	}
	none := int32(0)
	labels := map[string]string{"app": "other"}
	template := newTemplate("other")
	template.Labels = labels
	return w.commit(state.Create(&appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: d.Name + "-" + rollout.Hash(&d.Spec.Template, d.Status.CollisionCount),
			Namespace: namespace, Labels: labels},
		Spec: appsv1.ReplicaSetSpec{Replicas: &none, Template: template, Selector: &metav1.LabelSelector{MatchLabels: labels}},
	}))
}
