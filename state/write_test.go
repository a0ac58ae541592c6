package state

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestCreateSetsWhatNoWriterSets(t *testing.T) {
	t.Parallel()
	s := open(t)
	given := deployment("web")
	given.TypeMeta = metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}
	given.UID = "mine"
	given.Generation = 7
	given.CreationTimestamp = metav1.NewTime(epoch.Add(-time.Hour))
	given.DeletionTimestamp = &given.CreationTimestamp
	given.SetSelfLink("/mine")
	given.Status.Replicas = 3
	before := given.DeepCopy()
	got := stored[*appsv1.Deployment](t, s, Create(given))

	if diff := cmp.Diff(before, given); diff != "" {
		t.Errorf("the given object was changed:\n%s", diff)
	}
	if got.UID == "" || got.UID == "mine" || len(got.UID) != 36 || got.UID[14] != '4' {
		t.Errorf("uid %q", got.UID)
	}
	want := deployment("web")
	want.UID, want.Generation, want.CreationTimestamp, want.ResourceVersion = got.UID, 1, metav1.NewTime(epoch), "2"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

func TestCreateStatusAndGeneration(t *testing.T) {
	t.Parallel()
	s := open(t)
	p := pod("web", nil)
	p.Status.Phase, p.Status.PodIP = corev1.PodRunning, "1.2.3.4"
	got := stored[*corev1.Pod](t, s, Create(p))
	if diff := cmp.Diff(corev1.PodStatus{Phase: corev1.PodPending}, got.Status); diff != "" || got.Generation != 1 {
		t.Errorf("generation %d, status (-want +got):\n%s", got.Generation, diff)
	}
	if got := stored[*corev1.ConfigMap](t, s, Create(configMap("web", "1"))); got.Generation != 0 {
		t.Errorf("a ConfigMap has generation %d", got.Generation)
	}
	ns := stored[*corev1.Namespace](t, s, Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}))
	if ns.Status.Phase != corev1.NamespaceActive || len(ns.Spec.Finalizers) != 1 || ns.Spec.Finalizers[0] != "kubernetes" {
		t.Errorf("namespace %+v", ns)
	}
}

func TestGeneratedNames(t *testing.T) {
	t.Parallel()
	options := testOptions()
	options.Random = zeros{} // every object has the same luck
	s := openWith(t, options)
	create := func(prefix string) (*corev1.Pod, error) {
		p := pod("", nil)
		p.GenerateName = prefix
		r, err := s.Commit(Create(p))
		if err != nil {
			return nil, err
		}
		return r.Objects[0].(*corev1.Pod), nil
	}
	long := strings.Repeat("x", 70)
	seen := map[string]bool{}
	for _, prefix := range []string{"web-", long} {
		for n := range nameAttempts {
			p, err := create(prefix)
			if err != nil {
				t.Fatalf("pod %d of %s: %v", n, prefix, err)
			}
			base := prefix[:min(len(prefix), 58)]
			suffix, ok := strings.CutPrefix(p.Name, base)
			if !ok || len(suffix) != 5 || strings.Trim(suffix, "bcdfghjklmnpqrstvwxz2456789") != "" || seen[p.Name] {
				t.Errorf("name %q", p.Name)
			}
			if p.GenerateName != prefix {
				t.Errorf("generateName %q", p.GenerateName)
			}
			seen[p.Name] = true
		}
		if _, err := create(prefix); !apierrors.IsAlreadyExists(err) ||
			!strings.Contains(err.Error(), "the server was not able to generate a unique name for the object") {
			t.Errorf("after %d names: %v", nameAttempts, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestRandomIsTheOnlyChance(t *testing.T) {
	t.Parallel()
	make := func() Object {
		options := testOptions()
		options.Random = bytes.NewReader(bytes.Repeat([]byte("belay"), 100))
		p := pod("", nil)
		p.GenerateName = "web-"
		return commit(t, openWith(t, options), Create(p)).Objects[0]
	}
	if diff := cmp.Diff(make(), make()); diff != "" {
		t.Error(diff)
	}
	options := testOptions()
	options.Random = bytes.NewReader(nil)
	if _, err := OpenMemory(options); err == nil || err.Error() != "draw an instance: EOF" {
		t.Errorf("without randomness: %v", err)
	}
}

func TestRefusedWrites(t *testing.T) {
	t.Parallel()
	s := open(t)
	web := stored[*appsv1.Deployment](t, s, Create(deployment("web")))
	named := func(name string) *corev1.ConfigMap { return configMap(name, "") }
	cases := []struct {
		name   string
		write  Write
		is     func(error) bool
		reason string
	}{
		{"nil", Create(nil), apierrors.IsBadRequest, `type <nil> is not kept`},
		{"a kind that is not kept", Create(&corev1.Node{}), apierrors.IsBadRequest, `type *v1.Node is not kept`},
		{"deleting a kind that is not kept", Delete(Key{Kind: "Node", Name: "x"}, DeleteOptions{}), apierrors.IsBadRequest, `kind "Node" is not kept`},
		{"no namespace", Create(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x"}}), apierrors.IsBadRequest, "the namespace of the object is missing"},
		{"a namespace in a namespace", Create(&corev1.Namespace{ObjectMeta: meta("x")}), apierrors.IsBadRequest, "a namespace may not be set on a Namespace"},
		{"no name", Create(named("")), apierrors.IsInvalid, `ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required`},
		{"a name with a slash", Create(named("a/b")), apierrors.IsInvalid, `ConfigMap "a/b" is invalid: metadata.name: Invalid value: "a/b": may not contain '/'`},
		{"update without a name", Update(named("")), apierrors.IsInvalid, `ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required`},
		{"create in a version", Create(change(web, func(d *appsv1.Deployment) { d.Name = "new" })), apierrors.IsBadRequest, "resourceVersion should not be set on objects to be created"},
		{"create again", Create(deployment("web")), apierrors.IsAlreadyExists, `deployments.apps "web" already exists`},
		{"update of nothing", Update(named("x")), apierrors.IsNotFound, `configmaps "x" not found`},
		{"status of nothing", UpdateStatus(pod("x", nil)), apierrors.IsNotFound, `pods "x" not found`},
		{"status of a kind without", UpdateStatus(named("x")), apierrors.IsMethodNotSupported, `update status is not supported on resources of kind "configmaps"`},
		{"delete of nothing", Delete(podKey("x"), DeleteOptions{}), apierrors.IsNotFound, `pods "x" not found`},
		{"update of an older version", Update(change(web, func(d *appsv1.Deployment) { d.ResourceVersion = "1" })), apierrors.IsConflict,
			`Operation cannot be fulfilled on deployments.apps "web": the object has been modified; please apply your changes to the latest version and try again`},
		{"status of an older version", UpdateStatus(change(web, func(d *appsv1.Deployment) { d.ResourceVersion = "1" })), apierrors.IsConflict,
			`Operation cannot be fulfilled on deployments.apps "web": the object has been modified; please apply your changes to the latest version and try again`},
		{"update of another uid", Update(change(web, func(d *appsv1.Deployment) { d.UID = "other" })), apierrors.IsConflict,
			`the UID in the precondition (other) does not match the UID in record (` + string(web.UID) + `). The object might have been deleted and then recreated`},
		{"delete of another uid", Delete(KeyOf(web), DeleteOptions{UID: "other"}), apierrors.IsConflict,
			`the UID in the precondition (other) does not match the UID in record (` + string(web.UID) + `). The object might have been deleted and then recreated`},
		{"delete of an older version", Delete(KeyOf(web), DeleteOptions{ResourceVersion: "1"}), apierrors.IsConflict,
			`the ResourceVersion in the precondition (1) does not match the ResourceVersion in record (2). The object might have been modified`},
		{"the default namespace", Delete(defaultNamespace, DeleteOptions{}), apierrors.IsForbidden, `namespaces "default" is forbidden: this namespace may not be deleted`},
	}
	version := s.Version()
	for _, c := range cases {
		receipt, err := s.Commit(PutHold(Hold{Namespace: "default", Name: "web"}), Create(configMap("before", "1")), c.write)
		if err == nil || !c.is(err) || !strings.HasSuffix(err.Error(), c.reason) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.reason)
		}
		if receipt.Version != 0 || receipt.Objects != nil {
			t.Errorf("%s: receipt %+v", c.name, receipt)
		}
	}
	if _, held := s.Hold("default", "web"); held || s.Version() != version || len(s.List(KindConfigMap, "")) != 0 {
		t.Error("a refused transaction left something behind")
	}
}

func TestUpdateKeepsStatusAndUpdateStatusKeepsSpec(t *testing.T) {
	t.Parallel()
	s := open(t)
	first := stored[*appsv1.Deployment](t, s, Create(deployment("web")))
	second := stored[*appsv1.Deployment](t, s, UpdateStatus(change(first, func(d *appsv1.Deployment) {
		d.Status.Replicas = 3
		d.Annotations = map[string]string{"deployment.kubernetes.io/revision": "1"}
		d.Finalizers = []string{"belay.dev/test"}
		d.OwnerReferences = []metav1.OwnerReference{{UID: "u"}}
		d.Spec.Replicas = nil
		d.Labels = map[string]string{"no": "no"}
		d.Generation = 9
	})))
	want := first.DeepCopy()
	want.Status.Replicas = 3
	want.Annotations = map[string]string{"deployment.kubernetes.io/revision": "1"}
	want.Finalizers = []string{"belay.dev/test"}
	want.OwnerReferences = []metav1.OwnerReference{{UID: "u"}}
	want.ResourceVersion = "3"
	if diff := cmp.Diff(want, second); diff != "" {
		t.Errorf("after UpdateStatus (-want +got):\n%s", diff)
	}

	third := stored[*appsv1.Deployment](t, s, Update(change(second, func(d *appsv1.Deployment) {
		d.ResourceVersion = ""
		d.Status = appsv1.DeploymentStatus{Replicas: 8}
		d.Labels = map[string]string{"yes": "yes"}
		d.CreationTimestamp = metav1.NewTime(epoch.Add(time.Hour))
		d.GenerateName = "other-"
	})))
	want = second.DeepCopy()
	want.Labels = map[string]string{"yes": "yes"}
	want.ResourceVersion = "4"
	if diff := cmp.Diff(want, third); diff != "" {
		t.Errorf("after Update (-want +got):\n%s", diff)
	}
	if second.Status.Replicas != 3 || second.Labels != nil {
		t.Error("a stored object was changed")
	}
}

func TestGeneration(t *testing.T) {
	t.Parallel()
	replicas := int32(5)
	cases := []struct {
		name   string
		object Object
		edit   func(Object)
		status bool
		want   int64
	}{
		{"deployment spec", deployment("a"), func(o Object) { o.(*appsv1.Deployment).Spec.Replicas = &replicas }, false, 2},
		{"deployment annotation", deployment("a"), func(o Object) { o.SetAnnotations(map[string]string{"a": "b"}) }, false, 2},
		{"deployment label", deployment("a"), func(o Object) { o.SetLabels(map[string]string{"a": "b"}) }, false, 1},
		{"deployment status", deployment("a"), func(o Object) { o.(*appsv1.Deployment).Status.Replicas = 1 }, true, 1},
		{"deployment annotation with the status", deployment("a"), func(o Object) { o.SetAnnotations(map[string]string{"a": "b"}) }, true, 1},
		{"replica set spec", replicaSet("a", nil), func(o Object) { o.(*appsv1.ReplicaSet).Spec.Replicas = &replicas }, false, 2},
		{"replica set annotation", replicaSet("a", nil), func(o Object) { o.SetAnnotations(map[string]string{"a": "b"}) }, false, 1},
		{"pod node", pod("a", nil), func(o Object) { o.(*corev1.Pod).Spec.NodeName = "other" }, false, 2},
		{"pod label", pod("a", nil), func(o Object) { o.SetLabels(map[string]string{"a": "b"}) }, false, 1},
		{"config map", configMap("a", "1"), func(o Object) { o.(*corev1.ConfigMap).Data["value"] = "2" }, false, 0},
	}
	for _, c := range cases {
		s := open(t)
		o := change(commit(t, s, Create(c.object)).Objects[0], c.edit)
		write := Update(o)
		if c.status {
			write = UpdateStatus(o)
		}
		r := commit(t, s, write)
		if got := r.Objects[0].GetGeneration(); got != c.want || r.Version != 3 {
			t.Errorf("%s: generation %d at version %d, want %d at 3", c.name, got, r.Version, c.want)
		}
	}
}

func TestNothingChanged(t *testing.T) {
	t.Parallel()
	s := open(t)
	d := deployment("web")
	d.Labels = map[string]string{}
	web := stored[*appsv1.Deployment](t, s, Create(d))
	w, err := s.Watch(s.Version())
	if err != nil {
		t.Fatal(err)
	}
	version := s.Version()
	same := change(web, func(d *appsv1.Deployment) {
		d.Labels, d.Annotations = nil, map[string]string{} // nil or empty is the same
		d.TypeMeta.Kind = "Deployment"
	})
	for name, write := range map[string]Write{
		"update":         Update(same),
		"update again":   Update(web),
		"status":         UpdateStatus(same),
		"remove managed": RemoveManaged(KeyOf(web)),
		"remove hold":    RemoveHold("default", "web"),
	} {
		r := commit(t, s, write)
		if r.Version != version || s.Version() != version {
			t.Errorf("%s: version %d, was %d", name, r.Version, version)
		}
		if len(r.Objects) > 0 && r.Objects[0] != Object(web) {
			t.Errorf("%s: not the stored object", name)
		}
	}
	if r := commit(t, s); r.Version != version {
		t.Errorf("empty transaction: version %d", r.Version)
	}
	commit(t, s, Create(configMap("a", "1")))
	events, err := w.Next(t.Context())
	if err != nil || len(events) != 1 || events[0].Key().Name != "a" {
		t.Errorf("events %v %v", events, err)
	}
}

func TestTransactionSeesItsOwnWrites(t *testing.T) {
	t.Parallel()
	s := open(t)
	a := configMap("a", "1")
	r := commit(t, s,
		Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}),
		Create(change(a, func(c *corev1.ConfigMap) { c.Namespace = "shop" })),
		Create(a),
		PutRow(row(1, "web")),
		Update(configMap("a", "2")),
		Delete(KeyOf(a), DeleteOptions{}),
		Create(configMap("a", "3")),
	)
	if r.Version != 7 || len(r.Objects) != 6 || len(r.Removed) != 6 {
		t.Fatalf("receipt %+v", r)
	}
	if r.Objects[4] != nil || r.Removed[4].GetResourceVersion() != "6" || r.Removed[3] != nil {
		t.Errorf("deletion: %v %v", r.Objects[4], r.Removed[4])
	}
	got, _ := Get[*corev1.ConfigMap](s, "default", "a")
	if got.Data["value"] != "3" || got.ResourceVersion != "7" || got != r.Objects[5].(*corev1.ConfigMap) {
		t.Errorf("got %+v", got)
	}
	if first := r.Objects[2].(*corev1.ConfigMap); first.Data["value"] != "1" || first.ResourceVersion != "4" || first.UID == got.UID {
		t.Errorf("first %+v", first)
	}
}

func TestWriteMayBeCommittedAgain(t *testing.T) {
	t.Parallel()
	s, other := open(t), open(t)
	given := configMap("a", "1")
	write := Create(given)
	given.Data["value"] = "changed after"
	first := stored[*corev1.ConfigMap](t, s, write)
	second := stored[*corev1.ConfigMap](t, other, write)
	if first.UID == second.UID || first.Data["value"] != "1" || second.Data["value"] != "1" {
		t.Errorf("first %+v, second %+v", first, second)
	}
}

func TestTimesHaveTheirWrittenPrecision(t *testing.T) {
	t.Parallel()
	options := testOptions()
	options.Now = func() time.Time { return epoch.Add(999 * time.Millisecond) }
	s := openWith(t, options)
	exact := metav1.NewTime(epoch.Add(123456789))
	micro := metav1.NewMicroTime(epoch.Add(123456789))
	e := stored[*corev1.Event](t, s, Create(&corev1.Event{ObjectMeta: meta("e"), FirstTimestamp: exact, EventTime: micro}))
	if !e.CreationTimestamp.Time.Equal(epoch) || !e.FirstTimestamp.Time.Equal(epoch) || !e.EventTime.Time.Equal(epoch.Add(123456*time.Microsecond)) {
		t.Errorf("event %+v", e)
	}
}
