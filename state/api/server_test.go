package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/belay-dev/belay/state"
)

// lines is a log that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// refuser remembers every write, and refuses those that obey does not take.
type refuser struct {
	mu     sync.Mutex
	writes []ManagedWrite
	obey   map[string]func(ManagedWrite) (warnings []string, taken bool) // by the object's name
}

func (r *refuser) obeys(name string, f func(ManagedWrite) ([]string, bool)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.obey[name] = f
}

func (r *refuser) Write(_ context.Context, w ManagedWrite) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes = append(r.writes, w)
	if obey := r.obey[w.Managed.Key.Name]; obey != nil {
		if warnings, taken := obey(w); taken {
			return warnings, nil
		}
	}
	return nil, apierrors.NewForbidden(schema.GroupResource{Group: "apps", Resource: "deployments"}, w.Managed.Key.Name, errors.New("managed by git"))
}

func (r *refuser) seen(name string) []ManagedWrite {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.writes), func(w ManagedWrite) bool { return w.Managed.Key.Name != name })
}

// served is a server at work.
type served struct {
	dir    string
	store  *state.Store
	writer *refuser
	log    *lines
	config *rest.Config
	stop   func(*testing.T) // may be called before the test ends
}

// aNode is where the pods of the tests are.
var aNode = &corev1.Node{
	ObjectMeta: metav1.ObjectMeta{Name: "belay", Labels: map[string]string{"kubernetes.io/os": "linux"}},
	Status:     corev1.NodeStatus{Capacity: corev1.ResourceList{corev1.ResourceCPU: apiresource.MustParse("2")}},
}

// serve runs a server until the test ends.
func serve(t *testing.T) *served {
	t.Helper()
	return serveOver(t, state.Options{Now: time.Now})
}

// serveOver runs a server over a store of its own until the test ends.
func serveOver(t *testing.T, o state.Options) *served {
	t.Helper()
	s := &served{dir: t.TempDir(), writer: &refuser{obey: map[string]func(ManagedWrite) ([]string, bool){}}, log: &lines{}}
	var err error
	if s.store, err = state.OpenMemory(o); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	api, err := New(Options{
		Store: s.store, Writer: s.writer, Pods: inPods{}, Node: aNode, Listener: listener, Dir: s.dir, Now: time.Now, Log: zerolog.New(s.log), Warn: labelled,
		Paths: map[string]http.Handler{"/belay/v1/": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "own") })},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- api.Run(ctx) }()
	var once sync.Once
	s.stop = func(t *testing.T) {
		once.Do(func() {
			cancel()
			if err := errors.Join(<-ended, s.store.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { s.stop(t) })
	select {
	case <-api.Ready():
	case <-time.After(2 * time.Minute):
		t.Fatal("the server does not get ready")
	}
	if s.config, err = clientcmd.BuildConfigFromFlags("", api.Kubeconfig()); err != nil {
		t.Fatal(err)
	}
	return s
}

// as is a client with the token of a role.
func (s *served) as(t *testing.T, role Role) *kubernetes.Clientset {
	t.Helper()
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: filepath.Join(s.dir, "kubeconfig")}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{
		CurrentContext: "belay-" + string(role)}).ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func deployment(name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "nginx:1.25"}}},
			},
		},
	}
}

// TestServer is one server and what clients see of it: starting one costs more than all of the checks.
func TestServer(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for name, check := range map[string]func(*testing.T, *served){
		"objects": checkObjects, "managed": checkManaged, "roles": checkRoles, "doors": checkDoors, "watch": checkWatch,
		"services": checkServices, "endpoints": checkEndpoints, "protection": checkProtection, "autoscaling": checkAutoscaling, "hostile": checkHostile, "guards": checkGuards, "files": checkFiles,
		"logs": checkLogs, "port-forward": checkPortForward, "exec": checkExec,
		"writer": checkWriter, "warnings": checkWarnings, "rollback": checkRollbackRole,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, s)
		})
	}
}

func checkObjects(t *testing.T, s *served) {
	ctx, apps := t.Context(), s.as(t, RoleEdit).AppsV1().Deployments("default")
	d, err := apps.Create(ctx, deployment("web"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if d.Generation != 1 || *d.Spec.Replicas != 1 || d.UID == "" || d.Spec.Strategy.RollingUpdate.MaxSurge.String() != "25%" {
		t.Errorf("created without defaults or metadata: %v", d)
	}
	stored, ok := state.Get[*appsv1.Deployment](s.store, "default", "web")
	if !ok || stored.UID != d.UID || stored.Kind != "" {
		t.Fatalf("the store has %v", stored)
	}
	if _, err := apps.Create(ctx, deployment("web"), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("created twice: %v", err)
	}
	scale, err := apps.GetScale(ctx, "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	scale.Spec.Replicas = 4
	if _, err := apps.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	patch := []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:1.26"}]}}}}`)
	d, err = apps.Patch(ctx, "web", types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if err != nil || *d.Spec.Replicas != 4 || d.Generation != 3 || d.Spec.Template.Spec.Containers[0].Image != "nginx:1.26" {
		t.Fatalf("patched: %v %v", err, d)
	}
	version := s.store.Version()
	same, err := apps.Patch(ctx, "web", types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if err != nil || same.ResourceVersion != d.ResourceVersion {
		t.Errorf("a patch that changes nothing: %v, %s after %s (store %d)", err, same.ResourceVersion, d.ResourceVersion, version)
	}
	if _, err := apps.Patch(ctx, "web", types.MergePatchType, []byte(`{"status":{"replicas":9}}`), metav1.PatchOptions{}, "status"); err != nil {
		t.Error(err)
	}
	dry, err := apps.Patch(ctx, "web", types.MergePatchType, []byte(`{"spec":{"replicas":7}}`), metav1.PatchOptions{DryRun: []string{"All"}})
	if err != nil || *dry.Spec.Replicas != 7 {
		t.Errorf("dry run: %v", err)
	}
	d, err = apps.Get(ctx, "web", metav1.GetOptions{})
	if err != nil || d.Status.Replicas != 9 || *d.Spec.Replicas != 4 {
		t.Errorf("after the status: %v %v", err, d)
	}
	d.Spec.Selector.MatchLabels = map[string]string{"app": "other"}
	if _, err := apps.Update(ctx, d, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "field is immutable") {
		t.Errorf("the selector was changed: %v", err)
	}
	if err := apps.Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := apps.Get(ctx, "web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("deleted, yet %v", err)
	}
}

func checkManaged(t *testing.T, s *served) {
	ctx, apps := t.Context(), s.as(t, RoleEdit).AppsV1().Deployments("default")
	if _, err := apps.Create(ctx, deployment("managed"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	key := state.Key{Kind: state.KindDeployment, Namespace: "default", Name: "managed"}
	if _, err := s.store.Commit(state.PutManaged(state.Managed{Key: key, Source: "shop"})); err != nil {
		t.Fatal(err)
	}
	patch := func(text string, sub ...string) error {
		_, err := apps.Patch(ctx, "managed", types.MergePatchType, []byte(text), metav1.PatchOptions{}, sub...)
		return err
	}
	for name, write := range map[string]func() error{
		"patch":  func() error { return patch(`{"spec":{"replicas":2}}`) },
		"scale":  func() error { return patch(`{"spec":{"replicas":2}}`, "scale") },
		"delete": func() error { return apps.Delete(ctx, "managed", metav1.DeleteOptions{}) },
	} {
		before := len(s.writer.seen("managed"))
		if err := write(); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `deployments.apps "managed" is forbidden: managed by git`) {
			t.Errorf("%s: %v", name, err)
		}
		if asked := s.writer.seen("managed")[before:]; len(asked) != 1 || asked[0].User.Name != "edit" || asked[0].User.Role != RoleEdit || asked[0].DryRun || asked[0].AuditID == "" || asked[0].Old == nil {
			t.Errorf("%s: asked %v", name, asked)
		}
	}
	before := len(s.writer.seen("managed"))
	for name, err := range map[string]error{
		"no change": patch(`{"spec":{"replicas":1}}`),
		"status":    patch(`{"status":{"replicas":1}}`, "status"),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(s.writer.seen("managed")) != before {
		t.Error("asked about what is free")
	}
}

func checkRoles(t *testing.T, s *served) {
	ctx := t.Context()
	for _, c := range []struct {
		role          Role
		read, secrets bool
		write         bool
	}{{RoleView, true, false, false}, {RoleRollback, true, false, false}, {RoleEdit, true, true, true}} {
		client := s.as(t, c.role)
		_, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		if (err == nil) != c.read {
			t.Errorf("%s reads: %v", c.role, err)
		}
		if _, err = client.CoreV1().Secrets("").List(ctx, metav1.ListOptions{}); (err == nil) != c.secrets || err != nil && !apierrors.IsForbidden(err) {
			t.Errorf("%s reads secrets: %v", c.role, err)
		}
		_, err = client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "of-" + string(c.role)}}, metav1.CreateOptions{})
		if (err == nil) != c.write || err != nil && !apierrors.IsForbidden(err) {
			t.Errorf("%s writes: %v", c.role, err)
		}
		review, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: "default", Verb: "create", Group: "apps", Resource: "deployments"}}}, metav1.CreateOptions{})
		if err != nil || review.Status.Allowed != c.write {
			t.Errorf("%s asks what it may: %v %v", c.role, err, review)
		}
	}
	if log := s.log.String(); !strings.Contains(log, `"user":"edit","verb":"create"`) || !strings.Contains(log, `"name":"of-edit"`) {
		t.Errorf("the write is not in the log: %s", log)
	}
	for _, secret := range []string{s.config.BearerToken, "BEGIN"} {
		if strings.Contains(s.log.String(), secret) {
			t.Error("the log tells a secret")
		}
	}
}

func checkWatch(t *testing.T, s *served) {
	ctx, maps := t.Context(), s.as(t, RoleEdit).CoreV1().ConfigMaps("default")
	w, err := maps.Watch(ctx, metav1.ListOptions{LabelSelector: "watched=yes"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	next := func(want watch.EventType) {
		t.Helper()
		select {
		case e := <-w.ResultChan():
			if e.Type != want {
				t.Fatalf("%s, want %s: %v", e.Type, want, e.Object)
			}
		case <-time.After(2 * time.Minute):
			t.Fatalf("no %s", want)
		}
	}
	c, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "watched"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		label string
		want  watch.EventType
	}{{"yes", watch.Added}, {"no", watch.Deleted}, {"yes", watch.Added}} {
		c.Labels = map[string]string{"watched": step.label}
		if c, err = maps.Update(ctx, c, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		next(step.want)
	}
	if err := maps.Delete(ctx, "watched", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	next(watch.Deleted)
}

func checkServices(t *testing.T, s *served) {
	ctx, services := t.Context(), s.as(t, RoleEdit).CoreV1().Services("default")
	svc, err := services.Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
	if err != nil || svc.Spec.ClusterIP == "" || svc.Spec.Type != corev1.ServiceTypeClusterIP {
		t.Fatalf("%v %v", err, svc)
	}
	address := svc.Spec.ClusterIP
	svc.Spec.ClusterIP, svc.Spec.ClusterIPs, svc.Spec.Ports[0].Port = "", nil, 81
	if svc, err = services.Update(ctx, svc, metav1.UpdateOptions{}); err != nil || svc.Spec.ClusterIP != address {
		t.Errorf("%v: %v", err, svc)
	}
}
