package rollout

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The numbers were computed by Kubernetes v1.36.3.
func TestBounds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		replicas           int32
		surge, unavailable string
		want               bounds
		ceiling, floor     int32
	}{
		{1, "25%", "25%", bounds{1, 1, 0}, 2, 1},
		{2, "25%", "25%", bounds{2, 1, 0}, 3, 2},
		{3, "25%", "25%", bounds{3, 1, 0}, 4, 3},
		{4, "25%", "25%", bounds{4, 1, 1}, 5, 3},
		{5, "25%", "25%", bounds{5, 2, 1}, 7, 4},
		{7, "25%", "25%", bounds{7, 2, 1}, 9, 6},
		{8, "25%", "25%", bounds{8, 2, 2}, 10, 6},
		{10, "25%", "25%", bounds{10, 3, 2}, 13, 8},
		{15, "25%", "25%", bounds{15, 4, 3}, 19, 12},
		{100, "25%", "25%", bounds{100, 25, 25}, 125, 75},
		{10, "30%", "30%", bounds{10, 3, 3}, 13, 7},
		{6, "34%", "34%", bounds{6, 3, 2}, 9, 4},
		{7, "15%", "15%", bounds{7, 2, 1}, 9, 6},
		{5, "50%", "50%", bounds{5, 3, 2}, 8, 3},
		{3, "0%", "1%", bounds{3, 0, 1}, 3, 2},
		{3, "0", "25%", bounds{3, 0, 1}, 3, 2},
		{1, "0%", "1%", bounds{1, 0, 1}, 1, 0},
		{2, "1%", "25%", bounds{2, 1, 0}, 3, 2},
		{2, "1", "5", bounds{2, 1, 2}, 3, 0},
		{4, "100%", "0", bounds{4, 4, 0}, 8, 4},
		{3, "0", "100%", bounds{3, 0, 3}, 3, 0},
		{0, "25%", "25%", bounds{0, 0, 0}, 0, 0},
		{0, "1", "1", bounds{0, 1, 0}, 1, 0},
	} {
		t.Run(fmt.Sprintf("%d %s %s", tt.replicas, tt.surge, tt.unavailable), func(t *testing.T) {
			t.Parallel()
			d := deployment(tt.replicas, tt.surge, tt.unavailable)
			got := boundsOf(d)
			if got != tt.want || got.ceiling() != tt.ceiling || got.floor() != tt.floor {
				t.Errorf("got %+v, ceiling %d, floor %d; want %+v, %d, %d", got, got.ceiling(), got.floor(), tt.want, tt.ceiling, tt.floor)
			}
			d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
			if got := boundsOf(d); got != (bounds{replicas: tt.replicas}) {
				t.Errorf("Recreate: got %+v", got)
			}
		})
	}
}

// deployment is web with image B.
func deployment(replicas int32, surge, unavailable string) *appsv1.Deployment {
	s, u := intstr.Parse(surge), intstr.Parse(unavailable)
	history, deadline := int32(10), int32(600)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "web", Generation: 1},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: *template("web", "c", "B"),
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &s, MaxUnavailable: &u},
			},
			RevisionHistoryLimit: &history, ProgressDeadlineSeconds: &deadline,
		},
	}
}

// replicaSet is one of d, named for its image. Later ages are younger.
func replicaSet(d *appsv1.Deployment, image string, size, age int32) *appsv1.ReplicaSet {
	x := *template("web", "c", image)
	x.Labels[hashLabel] = image
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web-" + image, Namespace: d.Namespace, UID: types.UID("web-" + image), Generation: 1,
			Labels: x.Labels, OwnerReferences: []metav1.OwnerReference{controllerRef(d)},
			CreationTimestamp: metav1.NewTime(start.Add(time.Duration(age) * time.Minute)),
			Annotations:       map[string]string{RevisionAnnotation: fmt.Sprint(age)},
		},
		Spec:   appsv1.ReplicaSetSpec{Replicas: &size, Template: x},
		Status: appsv1.ReplicaSetStatus{Replicas: size, ObservedGeneration: 1},
	}
}

var start = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Each row is one resizing amid a rollout: sizes by image, oldest first; the youngest is not always the new one.
// The results were computed by Kubernetes v1.36.3.
func TestResizeInProportion(t *testing.T) {
	t.Parallel()
	type sizes map[string]int32
	for _, tt := range []struct {
		name           string
		surge          string
		maxBefore      string
		statusReplicas int32
		before         []string // images, oldest first
		sizes          sizes
		to             int32
		want           sizes
	}{
		{"P1", "3", "13", 13, []string{"A", "B"}, sizes{"A": 8, "B": 5}, 15, sizes{"A": 11, "B": 7}},
		{"P2", "3", "13", 13, []string{"A", "B"}, sizes{"A": 8, "B": 5}, 5, sizes{"A": 5, "B": 3}},
		{"P3", "3", "8", 8, []string{"A", "B"}, sizes{"A": 3, "B": 5}, 20, sizes{"A": 9, "B": 14}},
		{"P4", "3", "13", 13, []string{"A", "B", "C"}, sizes{"A": 8, "B": 0, "C": 5}, 20, sizes{"A": 14, "B": 0, "C": 9}},
		{"P5", "3", "23", 23, []string{"A", "C"}, sizes{"A": 14, "C": 9}, 7, sizes{"A": 6, "C": 4}},
		{"P6", "25%", "5", 5, []string{"A", "B"}, sizes{"A": 3, "B": 2}, 8, sizes{"A": 6, "B": 4}},
		{"P7", "25%", "10", 10, []string{"A", "B"}, sizes{"A": 6, "B": 4}, 9, sizes{"A": 7, "B": 5}},
		{"P8", "25%", "12", 12, []string{"A", "B"}, sizes{"A": 7, "B": 5}, 3, sizes{"A": 2, "B": 2}},
		{"P9", "5", "15", 15, []string{"a", "b", "c"}, sizes{"a": 5, "b": 5, "c": 5}, 11, sizes{"a": 5, "b": 5, "c": 6}},
		{"P10", "5", "15", 15, []string{"a", "b", "c"}, sizes{"a": 5, "b": 5, "c": 5}, 9, sizes{"a": 4, "b": 5, "c": 5}},
		{"P11", "5", "15", 15, []string{"a", "b", "c"}, sizes{"a": 5, "b": 5, "c": 5}, 12, sizes{"a": 5, "b": 6, "c": 6}},
		{"P12", "1", "11", 11, []string{"a", "b", "c"}, sizes{"a": 7, "b": 3, "c": 1}, 6, sizes{"a": 4, "b": 2, "c": 1}},
		{"P13", "3", "13", 13, []string{"A", "B"}, sizes{"A": 8, "B": 5}, 1, sizes{"A": 2, "B": 2}},
		{"P14", "3", "5", 23, []string{"A", "B"}, sizes{"A": 14, "B": 9}, 0, sizes{"A": 0, "B": 0}},
		{"P15", "3", "garbage", 0, []string{"a", "b"}, sizes{"a": 8, "b": 5}, 15, sizes{"a": 13, "b": 5}},
		{"unknown before, pods counted", "3", "garbage", 13, []string{"A", "B"}, sizes{"A": 8, "B": 5}, 15, sizes{"A": 11, "B": 7}},
		{"0 before is unknown", "3", "0", 13, []string{"A", "B"}, sizes{"A": 8, "B": 5}, 15, sizes{"A": 11, "B": 7}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := deployment(tt.to, tt.surge, "2")
			d.Spec.Paused = true // so that a sync resizes and does no more
			d.Status.Replicas = tt.statusReplicas
			in := Input{Deployment: d, Now: start.Add(time.Hour)}
			for i, image := range tt.before {
				rs := replicaSet(d, image, tt.sizes[image], int32(i+1))
				rs.Annotations[DesiredAnnotation], rs.Annotations[MaxAnnotation] = "1", tt.maxBefore
				in.ReplicaSets = append(in.ReplicaSets, rs)
			}
			got := sizes{}
			for image, size := range tt.sizes {
				got[image] = size
			}
			for _, a := range Plan(in).Actions {
				if a.Kind == Scale {
					if a.Reason != ReasonProportional {
						t.Errorf("%s", a)
					}
					got[a.ReplicaSet.Name[len("web-"):]] = a.To
					if n := a.ReplicaSet.Annotations[DesiredAnnotation]; n != fmt.Sprint(tt.to) {
						t.Errorf("%s notes %s replicas", a, n)
					}
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
