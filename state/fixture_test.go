package state

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func testOptions() Options {
	return Options{Now: func() time.Time { return epoch }}
}

// open gives a store in memory.
func open(t testing.TB) *Store {
	t.Helper()
	return openWith(t, testOptions())
}

func openWith(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := OpenMemory(o)
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, s)
	return s
}

// openDir gives a store on disk.
func openDir(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, s)
	return s
}

func closeAtEnd(t testing.TB, s *Store) {
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func commit(t testing.TB, s *Store, writes ...Write) Receipt {
	t.Helper()
	r, err := s.Commit(writes...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// stored commits one write of an object and gives the object as stored.
func stored[T Object](t testing.TB, s *Store, w Write) T {
	t.Helper()
	return commit(t, s, w).Objects[0].(T)
}

// change is a copy of an object with an edit.
func change[T Object](o T, edit func(T)) T {
	c := o.DeepCopyObject().(T)
	edit(c)
	return c
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "default", Name: name}
}

func podKey(name string) Key { return Key{Kind: KindPod, Namespace: "default", Name: name} }

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: meta(name), Data: map[string]string{"value": value}}
}

func deployment(name string) *appsv1.Deployment {
	replicas := int32(3)
	return &appsv1.Deployment{
		ObjectMeta: meta(name),
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: template(name),
		},
	}
}

func template(name string) corev1.PodTemplateSpec {
	grace := int64(30)
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst,
			SchedulerName: "default-scheduler", SecurityContext: &corev1.PodSecurityContext{},
			TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name: name, Image: "registry.example.com/shop/" + name + ":1.2.3", ImagePullPolicy: corev1.PullIfNotPresent,
				TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: corev1.TerminationMessageReadFile,
				Ports: []corev1.ContainerPort{{ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
					corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi"),
				}},
				ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz"}}},
			}},
		},
	}
}

func replicaSet(name string, owner Object) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{ObjectMeta: meta(name), Spec: appsv1.ReplicaSetSpec{Template: template(name)}}
	rs.OwnerReferences = owners(owner, KindDeployment)
	return rs
}

func pod(name string, owner Object) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: meta(name), Spec: template(name).Spec}
	p.Spec.NodeName = "belay"
	p.OwnerReferences = owners(owner, KindReplicaSet)
	return p
}

func owners(owner Object, kind Kind) []metav1.OwnerReference {
	if owner == nil {
		return nil
	}
	yes := true
	return []metav1.OwnerReference{{
		APIVersion: "apps/v1", Kind: string(kind), Name: owner.GetName(), UID: owner.GetUID(), Controller: &yes, BlockOwnerDeletion: &yes,
	}}
}

func running(p *corev1.Pod) *corev1.Pod {
	return change(p, func(p *corev1.Pod) {
		yes := true
		now := metav1.NewTime(epoch)
		p.Status = corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "127.0.0.1", HostIP: "127.0.0.1", StartTime: &now,
			ContainerStatuses: []corev1.ContainerStatus{{
				Name: p.Spec.Containers[0].Name, Ready: true, Image: p.Spec.Containers[0].Image, Started: &yes,
				State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
			}},
		}
		for _, kind := range []corev1.PodConditionType{corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled} {
			p.Status.Conditions = append(p.Status.Conditions,
				corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now})
		}
	})
}

func row(n int, deployment string) Row {
	return Row{
		ID: fmt.Sprintf("01J8%010d", n), Namespace: "default", Name: deployment, UID: types.UID("123e4567-e89b-12d3-a456-426614174000"),
		Source: "shop", App: "shop", Root: "apps/shop/" + deployment,
		Commit: fmt.Sprintf("%040x", n/10), Author: "Alice Example", CommittedAt: epoch,
		Subject: fmt.Sprintf("Use %s 1.2.%d", deployment, n), ChangeCause: fmt.Sprintf("Use %s 1.2.%d", deployment, n),
		Template: fmt.Sprintf("%064x", n), Images: []string{fmt.Sprintf("registry.example.com/shop/%s:1.2.%d", deployment, n)},
		Revision: int64(n), ReplicaSet: deployment + "-5c79fcf79b", Outcome: "Complete", RecordedAt: epoch, StartedAt: epoch, EndedAt: epoch,
	}
}
