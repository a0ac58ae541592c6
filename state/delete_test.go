package state

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func seconds(n int64) *int64 { return &n }

func TestDeletePod(t *testing.T) {
	t.Parallel()
	type step struct {
		after time.Duration // since the step before
		grace *int64
		gone  bool
		left  time.Duration // until the deletion timestamp
		want  int64         // deletionGracePeriodSeconds
	}
	cases := []struct {
		name  string
		edit  func(*corev1.Pod)
		phase corev1.PodPhase
		steps []step
	}{
		{"its own time", nil, corev1.PodRunning, []step{{left: 30 * time.Second, want: 30}}},
		{"a pending pod on a node", nil, corev1.PodPending, []step{{left: 30 * time.Second, want: 30}}},
		{"asked time", nil, corev1.PodRunning, []step{{grace: seconds(5), left: 5 * time.Second, want: 5}}},
		{"longer than its own", nil, corev1.PodRunning, []step{{grace: seconds(60), left: time.Minute, want: 60}}},
		{"at once", nil, corev1.PodRunning, []step{{grace: seconds(0), gone: true}}},
		{"negative", nil, corev1.PodRunning, []step{{grace: seconds(-5), left: time.Second, want: 1}}},
		{"no time of its own", func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = nil }, corev1.PodRunning, []step{{gone: true}}},
		{"on no node", func(p *corev1.Pod) { p.Spec.NodeName = "" }, corev1.PodPending, []step{{grace: seconds(5), gone: true}}},
		{"succeeded", nil, corev1.PodSucceeded, []step{{gone: true}}},
		{"failed", nil, corev1.PodFailed, []step{{grace: seconds(5), gone: true}}},
		{"again", nil, corev1.PodRunning, []step{
			{left: 30 * time.Second, want: 30},
			{after: 10 * time.Second, left: 20 * time.Second, want: 30},
		}},
		{"again, later", nil, corev1.PodRunning, []step{
			{left: 30 * time.Second, want: 30},
			{after: 10 * time.Second, grace: seconds(60), left: 20 * time.Second, want: 30},
		}},
		{"again, sooner", nil, corev1.PodRunning, []step{
			{left: 30 * time.Second, want: 30},
			{after: 5 * time.Second, grace: seconds(10), left: 5 * time.Second, want: 10},
		}},
		{"again, sooner than now", nil, corev1.PodRunning, []step{
			{left: 30 * time.Second, want: 30},
			{after: 20 * time.Second, grace: seconds(10), left: 0, want: 1},
		}},
		{"and at once", nil, corev1.PodRunning, []step{
			{left: 30 * time.Second, want: 30},
			{after: time.Second, grace: seconds(0), gone: true},
		}},
		{"finalizer", func(p *corev1.Pod) { p.Finalizers = []string{"belay.dev/x"} }, corev1.PodRunning, []step{
			{left: 30 * time.Second, want: 30},
			{after: time.Second, grace: seconds(0), left: 0, want: 0},
			{after: time.Second, grace: seconds(0), left: -time.Second, want: 0},
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			now := epoch
			options := testOptions()
			options.Now = func() time.Time { return now }
			s := openWith(t, options)
			p := pod("web", nil)
			if c.edit != nil {
				c.edit(p)
			}
			p = stored[*corev1.Pod](t, s, Create(p))
			commit(t, s, UpdateStatus(change(p, func(p *corev1.Pod) { p.Status.Phase = c.phase })))
			for i, step := range c.steps {
				now = now.Add(step.after)
				r := commit(t, s, Delete(podKey("web"), DeleteOptions{UID: p.UID, GracePeriodSeconds: step.grace}))
				got, there := Get[*corev1.Pod](s, "default", "web")
				if step.gone {
					if there || r.Objects[0] != nil || r.Removed[0].GetUID() != p.UID {
						t.Errorf("step %d: still there: %+v", i, got)
					}
					return
				}
				if !there || r.Objects[0] != Object(got) || r.Removed[0] != nil {
					t.Fatalf("step %d: receipt %+v", i, r)
				}
				if left := got.DeletionTimestamp.Sub(now); left != step.left || *got.DeletionGracePeriodSeconds != step.want {
					t.Errorf("step %d: %v left of %d, want %v of %d", i, left, *got.DeletionGracePeriodSeconds, step.left, step.want)
				}
				if got.Generation != 2 {
					t.Errorf("step %d: generation %d", i, got.Generation)
				}
			}
		})
	}
}

func TestFinalizers(t *testing.T) {
	t.Parallel()
	s := open(t)
	d := deployment("web")
	d.Finalizers = []string{"belay.dev/a", "belay.dev/b"}
	created := stored[*appsv1.Deployment](t, s, Create(d))
	marked := stored[*appsv1.Deployment](t, s, Delete(KeyOf(d), DeleteOptions{GracePeriodSeconds: seconds(30)}))
	if marked.DeletionTimestamp == nil || *marked.DeletionGracePeriodSeconds != 0 || marked.Generation != 2 {
		t.Fatalf("marked %+v", marked)
	}
	version := s.Version()
	if r := commit(t, s, Delete(KeyOf(d), DeleteOptions{})); r.Version != version || r.Objects[0] != Object(marked) {
		t.Errorf("deleted again: %+v", r)
	}
	_, err := s.Commit(Update(change(marked, func(d *appsv1.Deployment) { d.Finalizers = append(d.Finalizers, "belay.dev/new") })))
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"belay.dev/new\"}") {
		t.Errorf("new finalizer: %v", err)
	}
	// An Update cannot take the mark away.
	one := stored[*appsv1.Deployment](t, s, Update(change(created, func(d *appsv1.Deployment) {
		d.ResourceVersion, d.Finalizers = "", []string{"belay.dev/b"}
	})))
	if one.DeletionTimestamp == nil || one.Generation != 2 {
		t.Errorf("after the first: %+v", one)
	}
	r := commit(t, s, UpdateStatus(change(one, func(d *appsv1.Deployment) { d.Finalizers = nil })))
	if _, there := s.Get(KeyOf(d)); there || r.Objects[0] != nil || r.Removed[0].GetResourceVersion() != "5" {
		t.Errorf("after the last: %+v", r)
	}
}

// A pod that has time left stays when its last finalizer goes: the end of the pod removes it.
func TestFinalizersOfARunningPod(t *testing.T) {
	t.Parallel()
	s := open(t)
	p := pod("web", nil)
	p.Finalizers = []string{"belay.dev/a"}
	commit(t, s, Create(p), Delete(podKey("web"), DeleteOptions{}))
	p.Finalizers = nil
	if r := commit(t, s, Update(p)); r.Objects[0] == nil {
		t.Fatal("removed before its time")
	}
	if r := commit(t, s, Delete(podKey("web"), DeleteOptions{GracePeriodSeconds: seconds(0)})); r.Objects[0] != nil {
		t.Errorf("still there: %+v", r.Objects[0])
	}
}

func TestDeleteNamespace(t *testing.T) {
	t.Parallel()
	s := open(t)
	key := Key{Kind: KindNamespace, Name: "shop"}
	commit(t, s, Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}))
	web := configMap("web", "1")
	web.Namespace = "shop"
	commit(t, s, Create(web))

	// While it lives, an Update without finalizers keeps them.
	live := stored[*corev1.Namespace](t, s, Update(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"a": "b"}}}))
	if len(live.Spec.Finalizers) != 1 || live.Labels["a"] != "b" {
		t.Fatalf("live: %+v", live)
	}
	going := stored[*corev1.Namespace](t, s, Delete(key, DeleteOptions{}))
	if going.Status.Phase != corev1.NamespaceTerminating || going.DeletionTimestamp == nil {
		t.Fatalf("deleted: %+v", going)
	}

	other := change(web, func(c *corev1.ConfigMap) { c.Name = "other" })
	_, err := s.Commit(Create(other))
	if !apierrors.IsForbidden(err) || !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) ||
		err.Error() != `configmaps "other" is forbidden: unable to create new content in namespace shop because it is being terminated` {
		t.Errorf("create: %v", err)
	}
	web.Data["value"] = "2"
	commit(t, s, Update(web)) // what is there may change

	finalize := Update(change(going, func(ns *corev1.Namespace) { ns.Spec.Finalizers, ns.ResourceVersion = nil, "" }))
	if _, err := s.Commit(finalize); !apierrors.IsConflict(err) || !strings.HasSuffix(err.Error(), "the namespace is not empty") {
		t.Errorf("finalize: %v", err)
	}
	commit(t, s, Delete(KeyOf(web), DeleteOptions{}))
	if r := commit(t, s, finalize); r.Objects[0] != nil {
		t.Errorf("still there: %+v", r.Objects[0])
	}
	if _, err := s.Commit(Create(other)); !apierrors.IsNotFound(err) || err.Error() != `namespaces "shop" not found` {
		t.Errorf("create after the end: %v", err)
	}
}
