package state

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What Kubernetes' admission decides from stored objects, decided here inside the transaction: nothing can change
// between the check and the write.

// admit refuses a new object whose namespace is missing or going, or which a quota of the namespace does not allow.
func (t *transaction) admit(info *kindInfo, key Key) error {
	if info.global {
		return nil
	}
	ns, ok := t.store.index.get(Key{Kind: KindNamespace, Name: key.Namespace}).(*corev1.Namespace)
	if !ok {
		return apierrors.NewNotFound(kindByName[KindNamespace].groupResource(), key.Namespace)
	}
	if ns.DeletionTimestamp != nil || ns.Status.Phase == corev1.NamespaceTerminating {
		err := apierrors.NewForbidden(info.groupResource(), key.Name, fmt.Errorf(
			"unable to create new content in namespace %s because it is being terminated", key.Namespace))
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
			Type:    corev1.NamespaceTerminatingCause,
			Message: fmt.Sprintf("namespace %s is being terminated", key.Namespace),
			Field:   "metadata.namespace",
		})
		return err
	}
	if key == KubernetesService {
		return nil
	}
	for q := range t.store.index.list(KindResourceQuota, key.Namespace) {
		if err := t.admitQuota(info, key, q.(*corev1.ResourceQuota)); err != nil {
			return err
		}
	}
	return nil
}

// admitQuota checks the numbers of objects that a quota allows. Quotas of computing resources, and those with
// scopes, limit nothing.
func (t *transaction) admitQuota(info *kindInfo, key Key, quota *corev1.ResourceQuota) error {
	if len(quota.Spec.Scopes) > 0 || quota.Spec.ScopeSelector != nil {
		return nil
	}
	var requested, used, limited []string
	for _, name := range quotaNames(info) {
		hard, ok := quota.Spec.Hard[corev1.ResourceName(name)]
		if !ok {
			continue
		}
		n := t.count(info, key.Namespace, name)
		if resource.NewQuantity(n+1, resource.DecimalSI).Cmp(hard) <= 0 {
			continue
		}
		requested = append(requested, name+"=1")
		used = append(used, fmt.Sprintf("%s=%d", name, n))
		limited = append(limited, name+"="+hard.String())
	}
	if requested == nil {
		return nil
	}
	return apierrors.NewForbidden(info.groupResource(), key.Name, fmt.Errorf(
		"exceeded quota: %s, requested: %s, used: %s, limited: %s", quota.Name,
		strings.Join(requested, ","), strings.Join(used, ","), strings.Join(limited, ",")))
}

// quotaNames are the names under which a quota limits the number of objects of a kind, sorted.
func quotaNames(info *kindInfo) []string {
	if info.group != "" {
		return []string{"count/" + info.resource + "." + info.group}
	}
	return []string{"count/" + info.resource, info.resource}
}

// count is how many objects of the namespace a quota counts under the name. Under their old name pods count only
// while they may still run.
func (t *transaction) count(info *kindInfo, namespace, name string) int64 {
	n := int64(0)
	for o := range t.store.index.list(info.kind, namespace) {
		pod, ok := o.(*corev1.Pod)
		if !ok || name != info.resource || t.mayRun(pod) {
			n++
		}
	}
	return n
}

func (t *transaction) mayRun(pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return false
	}
	if pod.DeletionTimestamp == nil || pod.DeletionGracePeriodSeconds == nil {
		return true
	}
	end := pod.DeletionTimestamp.Add(time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second)
	return !t.now.After(end)
}
