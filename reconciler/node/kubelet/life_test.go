package kubelet_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/conformance/program"
	"github.com/belay-dev/belay/state"
)

// served is a pod whose container serves on port 80 and is ready while /state/unready is not there.
func served(name string) *corev1.Pod {
	p := pod(name, "serve", "80")
	p.Spec.Volumes = []corev1.Volume{{Name: "state", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	c := &p.Spec.Containers[0]
	c.VolumeMounts = []corev1.VolumeMount{{Name: "state", MountPath: "/state"}}
	c.ReadinessProbe = get("/ready")
	return p
}

func get(path string) *corev1.Probe {
	return &corev1.Probe{PeriodSeconds: 10, TimeoutSeconds: 1, SuccessThreshold: 1, FailureThreshold: 3,
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(80)}}}
}

// unready has the container of a served pod say that it is not ready.
func (d *desk) unready(uid types.UID, is bool) {
	d.t.Helper()
	name := filepath.Join(d.dir, string(uid), "volumes", "state", "unready")
	var err error
	if is {
		err = os.WriteFile(name, nil, 0o600)
	} else {
		err = os.Remove(name)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

func TestReadiness(t *testing.T) {
	bench(t, func(d *desk) {
		uid := d.create(served("a"))
		d.pass(10 * time.Second)
		d.expect("a", "Running ready\nc running")
		d.unready(uid, true)
		d.pass(20 * time.Second)
		d.expect("a", "Running ready\nc running") // two failures are not three
		d.pass(10 * time.Second)
		d.expect("a", "Running\nc running")
		d.unready(uid, false)
		d.pass(10 * time.Second)
		d.expect("a", "Running ready\nc running")
		if got := d.events("a"); !slices.Contains(got, "! Unhealthy Readiness probe failed: HTTP probe failed with statuscode: 503 (3)") {
			t.Errorf("events: %q", got)
		}
		d.expectStarted("a/c/0")
	})
}

func TestLivenessRestarts(t *testing.T) {
	bench(t, func(d *desk) {
		p := served("a")
		p.Spec.Containers[0].ReadinessProbe = nil
		p.Spec.Containers[0].LivenessProbe = get("/ready")
		uid := d.create(p)
		d.unready(uid, true)
		d.pass(31 * time.Second) // the third failure, and a server that takes a moment to end
		d.expectStarted("a/c/0", "a/c/1")
		d.unready(uid, false)
		d.pass(time.Minute)
		d.expect("a", "Running ready\nc running, before Completed(0), restarts 1")
		d.expectStarted()
		if got := d.events("a"); !slices.Contains(got, "Killing Container c failed liveness probe, will be restarted") {
			t.Errorf("events: %q", got)
		}
	})
}

func TestStartupHoldsTheOthers(t *testing.T) {
	bench(t, func(d *desk) {
		p := served("a")
		c := &p.Spec.Containers[0]
		c.StartupProbe = get("/ready")
		c.StartupProbe.FailureThreshold, c.StartupProbe.InitialDelaySeconds = 10, 1
		c.LivenessProbe = get("/ready")
		c.LivenessProbe.FailureThreshold = 1
		uid := d.create(p)
		d.unready(uid, true)
		d.pass(15 * time.Second)
		d.expect("a", "Running\nc running")
		d.unready(uid, false)
		if s := d.get("a").Status.ContainerStatuses[0]; *s.Started {
			t.Error("started before the startup probe succeeded")
		}
		d.pass(20 * time.Second)
		d.expect("a", "Running ready\nc running")
		d.expectStarted("a/c/0")
	})
}

func TestProbeKinds(t *testing.T) {
	for name, c := range map[string]struct {
		probe corev1.ProbeHandler
		ready bool
		event string
	}{
		"tcp":     {corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(80)}}, true, ""},
		"no tcp":  {corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(81)}}, false, "connection refused"},
		"exec":    {corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/program", "exit", "0"}}}, true, ""},
		"no exec": {corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/program", "exit", "1"}}}, false, "Readiness probe failed: "},
		"named":   {corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString("web")}}, true, ""},
		"unnamed": {corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString("other")}}, false, "invalid port number: other"},
	} {
		t.Run(name, func(t *testing.T) {
			bench(t, func(d *desk) {
				p := pod("a", "serve", "80")
				p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "web", ContainerPort: 80}}
				p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{PeriodSeconds: 5, ProbeHandler: c.probe}
				d.create(p)
				d.pass(11 * time.Second)
				want := "Running\nc running"
				if c.ready {
					want = "Running ready\nc running"
				}
				d.expect("a", want)
			})
		})
	}
}

func TestGracefulEnd(t *testing.T) {
	for name, c := range map[string]struct {
		args  []string
		hook  *corev1.LifecycleHandler
		grace *int64
		took  time.Duration
	}{
		"at once":  {[]string{"forever"}, nil, nil, 0},
		"deaf":     {[]string{"deaf"}, nil, nil, 30 * time.Second},
		"hook":     {[]string{"forever"}, &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 7}}, nil, 7 * time.Second},
		"slow":     {[]string{"deaf"}, &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 40}}, nil, 32 * time.Second},
		"asked":    {[]string{"deaf"}, nil, ptr(int64(10)), 10 * time.Second},
		"no hook":  {[]string{"forever"}, &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/program", "exit", "1"}}}, nil, 0},
		"crashing": {[]string{"exit", "1"}, nil, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bench(t, func(d *desk) {
				p := pod("a", c.args...)
				if c.hook != nil {
					p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: c.hook}
				}
				uid := d.create(p)
				d.delete("a", state.DeleteOptions{GracePeriodSeconds: c.grace})
				if c.took > 0 {
					d.pass(c.took - time.Millisecond)
					if _, ok := state.Get[*corev1.Pod](d.store, "default", "a"); !ok {
						t.Fatal("the pod ended too early")
					}
					d.pass(time.Second)
				}
				if _, ok := state.Get[*corev1.Pod](d.store, "default", "a"); ok {
					t.Fatal("the pod is there still")
				}
				if _, found, err := d.engine.Runtime().Pod(t.Context(), uid); found || err != nil {
					t.Errorf("the engine has the pod still: %v", err)
				}
				if _, err := os.Stat(filepath.Join(d.dir, string(uid))); !os.IsNotExist(err) {
					t.Errorf("the pod's directory is there still: %v", err)
				}
			})
		})
	}
}

func ptr[T any](v T) *T { return &v }

func TestEndWhileStarting(t *testing.T) {
	bench(t, func(d *desk) {
		const ref = "index.docker.io/library/slow:1"
		d.engine.Serve(ref, program.Run, false)
		d.engine.Delay(ref, make(chan struct{}))
		p := pod("a", "forever")
		p.Spec.Containers[0].Image = "slow:1"
		d.create(p)
		d.expect("a", "Pending\nc ContainerCreating")
		d.delete("a", state.DeleteOptions{})
		if _, ok := state.Get[*corev1.Pod](d.store, "default", "a"); ok {
			t.Error("a pod that was still pulling did not end at once")
		}
		d.expectStarted()
	})
}

func TestForcedDeletion(t *testing.T) {
	bench(t, func(d *desk) {
		uid := d.create(pod("a", "deaf"))
		d.delete("a", state.DeleteOptions{GracePeriodSeconds: ptr(int64(0))})
		if _, found, err := d.engine.Runtime().Pod(t.Context(), uid); found || err != nil {
			t.Errorf("the engine has the pod still: %v", err)
		}
		d.create(pod("a", "forever")) // the name comes again
		d.expect("a", "Running ready\nc running")
	})
}

func TestAdoption(t *testing.T) {
	bench(t, func(d *desk) {
		uid := d.create(served("a"))
		d.create(pod("crash", "exit", "1"))
		d.pass(10 * time.Second)
		d.expect("a", "Running ready\nc running")
		d.engine.Started()
		d.stop()
		d.create(pod("new", "forever"))
		d.delete("crash", state.DeleteOptions{})
		version := d.get("a").ResourceVersion
		d.start()
		d.expectStarted("new/c/0")
		if after := d.get("a").ResourceVersion; after != version {
			t.Errorf("the pod that went on was written: %s, %s", version, after)
		}
		if _, ok := state.Get[*corev1.Pod](d.store, "default", "crash"); ok {
			t.Error("the pod that was deleted meanwhile is there")
		}

		// What happened while nobody looked.
		d.stop()
		d.engine.Kill(uid, "c")
		d.start()
		d.expectStarted("a/c/1")
		d.pass(10 * time.Second)
		d.expect("a", "Running ready\nc running, before Error(137), restarts 1")

		// An object that went: its pod ends. Somebody else's stays.
		d.stop()
		d.delete("new", state.DeleteOptions{GracePeriodSeconds: ptr(int64(0))})
		other := node.Sandbox{UID: "other", Name: "other", Origin: node.Origin{Instance: "elsewhere"}}
		if _, err := d.engine.Runtime().RunPod(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		d.start()
		all, err := d.engine.Runtime().List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range all {
			names = append(names, s.Pod.Name)
		}
		slices.Sort(names)
		if !slices.Equal(names, []string{"a", "other"}) {
			t.Errorf("the engine has %q", names)
		}
	})
}

func TestEngineForgets(t *testing.T) {
	bench(t, func(d *desk) {
		uid := d.create(pod("a", "forever"))
		d.expectStarted("a/c/0")
		d.stop()
		if err := d.engine.Runtime().RemovePod(t.Context(), uid); err != nil {
			t.Fatal(err)
		}
		d.start()
		d.expectStarted("a/c/1")
		d.expect("a", "Running ready\nc running, before ContainerStatusUnknown(137) The container could not be located, restarts 1")
	})
}

func TestEngineGone(t *testing.T) {
	for name, stopped := range map[string]bool{"and back": false, "and restarted": true} {
		t.Run(name, func(t *testing.T) {
			bench(t, func(d *desk) {
				d.create(pod("a", "forever"))
				d.create(pod("done", "forever"))
				d.expectStarted("a/c/0", "done/c/0")
				d.engine.Gone()
				synctest.Wait()
				d.expect("a", "Running ready\nc running")
				d.pass(11 * time.Second)
				d.expect("a", "Unknown\nc running")
				d.delete("done", state.DeleteOptions{})
				d.pass(time.Hour)
				d.expectStarted()
				d.engine.Back(stopped)
				d.pass(2 * time.Second)
				if !stopped {
					d.expect("a", "Running ready\nc running")
					d.expectStarted()
				} else {
					d.expect("a", "Running ready\nc running, before Error(137), restarts 1")
					d.expectStarted("a/c/1")
				}
				d.pass(time.Minute)
				d.expectStarted()
				if _, ok := state.Get[*corev1.Pod](d.store, "default", "done"); ok {
					t.Error("the pod that was deleted meanwhile is there")
				}
			})
		})
	}
}

func TestConfigErrorsHeal(t *testing.T) {
	bench(t, func(d *desk) {
		p := pod("a", "env", "GREETING", "NAME", "MISSING")
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.Containers[0].Env = []corev1.EnvVar{
			{Name: "NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
			{Name: "GREETING", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: "words"}, Key: "greeting"}}},
		}
		d.create(p)
		d.expect("a", `Pending
c CreateContainerConfigError: configmap "words" not found`)
		d.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "words"}, Data: map[string]string{"other": "x"}})
		d.pass(5 * time.Second)
		d.expect("a", `Pending
c CreateContainerConfigError: couldn't find key greeting in ConfigMap default/words`)
	})
}

func TestStartErrors(t *testing.T) {
	bench(t, func(d *desk) {
		p := pod("a", "forever")
		p.Spec.Containers[0].Command = []string{"/missing"}
		d.create(p)
		d.expect("a", `Pending
c RunContainerError: exec: "/missing": stat /missing: no such file or directory`)
		d.pass(time.Hour)
		d.expectStarted()
	})
}

func TestTerminationMessages(t *testing.T) {
	bench(t, func(d *desk) {
		p := pod("a", "print", "the last words")
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		d.create(p)
		d.expect("a", "Succeeded\nc Completed(0)") // no message: it ended well
		p = pod("b", "cat", "/missing")
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.Containers[0].TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
		d.create(p)
		d.expect("b", "Failed\nc Error(1) open /nonexistent/missing: no such file or directory")
	})
}
