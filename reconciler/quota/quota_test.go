package quota

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/state"
)

// of is a quota of what is named, 5 of each.
func of(names ...corev1.ResourceName) *corev1.ResourceQuota {
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "few"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{}}}
	for _, name := range names {
		q.Spec.Hard[name] = resource.MustParse("5")
	}
	return q
}

// words tell of a status in one line.
func words(s corev1.ResourceQuotaStatus) string {
	var all []string
	for name, hard := range s.Hard {
		used := s.Used[name]
		all = append(all, fmt.Sprintf("%s=%s/%s", name, used.String(), hard.String()))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestPlan(t *testing.T) {
	t.Parallel()
	there := func(kind state.Kind) []state.Object {
		if kind != state.KindPod {
			return []state.Object{&corev1.ConfigMap{}}
		}
		return []state.Object{&corev1.Pod{}, &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed}}}
	}
	scoped := of("pods")
	scoped.Spec.Scopes = []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}
	for _, c := range []struct {
		quota *corev1.ResourceQuota
		want  string
	}{
		{of("pods", "count/pods", "services"), "count/pods=2/5 pods=1/5 services=1/5"},
		{of("count/deployments.apps", "requests.cpu"), "count/deployments.apps=1/5"},
		{of("limits.memory"), ""},
		{scoped, ""},
	} {
		before := c.quota.DeepCopy()
		if got := words(Plan(c.quota, there)); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
		if words(c.quota.Status) != words(before.Status) {
			t.Error("the quota was changed")
		}
	}
}

func TestFollows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, err := state.OpenMemory(state.Options{Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- controller.Run(ctx, store, New(store, zerolog.Nop(), time.Now)) }()
		commit := func(ws ...state.Write) {
			t.Helper()
			if _, err := store.Commit(ws...); err != nil {
				t.Fatal(err)
			}
		}
		expect := func(when, want string) {
			t.Helper()
			synctest.Wait()
			q, _ := state.Get[*corev1.ResourceQuota](store, "default", "few")
			if got := words(q.Status); got != want {
				t.Errorf("%s: %s, want %s", when, got, want)
			}
		}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}}
		commit(state.Create(of("pods", "services")))
		expect("nothing", "pods=0/5 services=0/5")
		commit(state.Create(pod))
		expect("a pod", "pods=1/5 services=0/5")
		failed := pod.DeepCopy()
		failed.Status.Phase = corev1.PodFailed
		commit(state.UpdateStatus(failed))
		expect("it failed", "pods=0/5 services=0/5")
		commit(state.Update(of("pods")))
		expect("another limit", "pods=0/5")
		cancel()
		if err := errors.Join(<-done, store.Close()); err != nil {
			t.Error(err)
		}
	})
}
