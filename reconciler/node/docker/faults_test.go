package docker_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/state"
)

// withheld serves the program from a registry that keeps its layers back until it is told otherwise.
func withheld(t *testing.T, repository string) (ref string, release func()) {
	t.Helper()
	handler, released, ended := registry.New(), make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodGet && strings.Contains(q.URL.Path, "/blobs/") {
			select {
			case <-released:
			case <-q.Context().Done():
			case <-ended:
			}
		}
		handler.ServeHTTP(w, q)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(ended) })
	ref = strings.TrimPrefix(server.URL, "http://") + "/" + repository
	tag, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	img, err := programWith(repository)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	return ref, sync.OnceFunc(func() { close(released) })
}

func hook(args ...string) *corev1.LifecycleHandler {
	return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: append([]string{"/program"}, args...)}}
}

// TestFaults has pods of a real engine meet what pods meet, each by itself and all at once, and looks at what people are told
// and how it ends.
func TestFaults(t *testing.T) {
	t.Parallel()
	r, ctx := open(t), within(t)
	ref := present(t, r)
	a := agentOf(ctx, t, r, "faults")
	grace := int64(1)
	pod := func(name string, args ...string) *corev1.Pod {
		p := podOf(name, ref, args...)
		p.Spec.TerminationGracePeriodSeconds = &grace
		return p
	}

	hooked := pod("post-start", "forever")
	hooked.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: hook("exit", "3")}
	leaving := pod("pre-stop", "forever")
	leaving.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: hook("exit", "3")}
	saying := pod("pre-stop-says", "forever")
	saying.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: hook("write", "/state/said", "farewell")}
	saying.Spec.Volumes = []corev1.Volume{{Name: "state", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: a.dir}}}}
	saying.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "state", MountPath: "/state"}}
	missing := pod("missing-entrypoint")
	missing.Spec.Containers[0].Command = []string{"/missing"}
	hungry := pod("hungry", "eat")
	hungry.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("32Mi")}

	taken, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	neighbour := pod("port-taken", "serve", strconv.Itoa(port))
	neighbour.Spec.HostNetwork = true
	neighbour.Spec.Containers[0].ReadinessProbe = &corev1.Probe{PeriodSeconds: 1, TimeoutSeconds: 1, SuccessThreshold: 1, FailureThreshold: 1}
	neighbour.Spec.Containers[0].ReadinessProbe.HTTPGet = &corev1.HTTPGetAction{Path: "/ready", Port: portOf(port), Scheme: corev1.URISchemeHTTP}

	slow, release := withheld(t, "belay/slow:1")
	forget(t, slow)
	late, never := podOf("late", slow, "forever"), podOf("never", slow, "forever")
	key := node.Credential{Username: "belay", Password: "right"}
	guarded := serve(t, "belay/guarded:1", key)
	anonymous, known := podOf("anonymous", guarded, "forever"), podOf("known", guarded, "forever")
	known.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "key"}}
	config := fmt.Sprintf(`{"auths": {%q: {"username": %q, "password": %q}}}`, strings.Split(guarded, "/")[0], key.Username, key.Password)
	if _, err := a.store.Commit(state.Create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "key"}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(config)},
	})); err != nil {
		t.Fatal(err)
	}
	a.create(hooked, leaving, saying, missing, hungry, neighbour, late, never, anonymous)

	t.Run("a port that is taken", func(t *testing.T) {
		a := a.in(t)
		a.until("port-taken", "crashing", waits("CrashLoopBackOff"))
		if err := taken.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("a failing postStart hook", func(t *testing.T) {
		a := a.in(t)
		a.told("post-start", "FailedPostStartHook: PostStartHook failed", "Killing: FailedPostStartHook")
		a.until("post-start", "crashing", func(p *corev1.Pod) bool {
			return waits("CrashLoopBackOff")(p) && p.Status.ContainerStatuses[0].RestartCount > 0
		})
	})
	t.Run("a failing preStop hook", func(t *testing.T) {
		a := a.in(t)
		a.until("pre-stop", "running", runs(0))
		a.end("pre-stop")
		a.told("pre-stop", "FailedPreStopHook: PreStopHook failed", "Killing: Stopping container c")
	})
	t.Run("a preStop hook", func(t *testing.T) {
		a := a.in(t)
		a.until("pre-stop-says", "running", runs(0))
		a.end("pre-stop-says")
		if said, err := os.ReadFile(filepath.Join(a.dir, "said")); string(said) != "farewell" || err != nil {
			t.Errorf("it said %q, %v", said, err)
		}
	})
	t.Run("a missing entrypoint", func(t *testing.T) {
		a := a.in(t)
		p := a.until("missing-entrypoint", "not started", waits("RunContainerError"))
		if message := p.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(message, "/missing") {
			t.Errorf("it says %q", message)
		}
	})
	t.Run("out of memory", func(t *testing.T) {
		a := a.in(t)
		if why := untold(t); why != "" {
			t.Skip(why)
		}
		p := a.until("hungry", "killed", func(p *corev1.Pod) bool {
			return waits("CrashLoopBackOff")(p) && p.Status.ContainerStatuses[0].LastTerminationState.Terminated != nil
		})
		if last := p.Status.ContainerStatuses[0].LastTerminationState.Terminated; last.Reason != "OOMKilled" || last.ExitCode != 137 {
			t.Errorf("it ended with %+v", last)
		}
	})
	t.Run("no credentials", func(t *testing.T) {
		a := a.in(t)
		p := a.until("anonymous", "without an image", func(p *corev1.Pod) bool { return waits("ErrImagePull")(p) || waits("ImagePullBackOff")(p) })
		if message := p.Status.ContainerStatuses[0].State.Waiting.Message; strings.Contains(message, "right") {
			t.Errorf("it tells the password: %q", message)
		}
		a.told("anonymous", "Failed: Error: ErrImagePull")
		a.create(known)
		a.until("known", "running", runs(0))
	})
	t.Run("a slow registry", func(t *testing.T) {
		a := a.in(t)
		pulling := fmt.Sprintf("Pulling: Pulling image %q", slow)
		a.told("late", pulling)
		a.told("never", pulling)
		a.end("never")
		release()
		a.until("late", "running", runs(0))
	})
	t.Run("a port that is free again", func(t *testing.T) {
		a := a.in(t)
		p := a.until("port-taken", "running", func(p *corev1.Pod) bool {
			return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].Ready
		})
		if p.Status.ContainerStatuses[0].RestartCount == 0 {
			t.Error("it was not started again")
		}
	})
	a.end("post-start", "missing-entrypoint", "hungry", "port-taken", "late", "anonymous", "known")
}
