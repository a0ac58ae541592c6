package simulated

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// arrival is not a whole second: nothing may be lost by the times of objects.
var arrival = time.Date(2026, 3, 1, 12, 0, 0, 700_000_000, time.UTC)

func pod(images ...string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-1", UID: "u1"},
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	}
	for i, image := range images {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: string(rune('a' + i)), Image: image})
	}
	return p
}

// walk lets a pod live until the given time after its arrival and prints what becomes of it at each wake-up.
func walk(t *testing.T, p *corev1.Pod, options Options, until time.Duration) string {
	t.Helper()
	r := New(options)
	var out strings.Builder
	for now := arrival; now.Sub(arrival) <= until; {
		report, err := r.Sync(t.Context(), p, now)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%v %s\n", now.Sub(arrival), look(report.Status, report.Gone))
		for _, e := range report.Events {
			fmt.Fprintf(&out, "  %s %s %s %s\n", e.Field, e.Type, e.Reason, e.Message)
		}
		p.Status = report.Status
		if report.WakeAt.IsZero() || report.Gone {
			break
		}
		if !report.WakeAt.After(now) {
			t.Fatalf("at %v: wake at %v, which is past", now.Sub(arrival), report.WakeAt.Sub(arrival))
		}
		now = report.WakeAt
	}
	return out.String()
}

func look(status corev1.PodStatus, gone bool) string {
	var parts []string
	if gone {
		parts = append(parts, "Gone")
	}
	parts = append(parts, string(status.Phase))
	for _, list := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses} {
		for _, s := range list {
			text := "Running"
			switch {
			case s.State.Waiting != nil:
				text = s.State.Waiting.Reason
			case s.State.Terminated != nil:
				text = s.State.Terminated.Reason
			}
			if s.Ready {
				text += "/ready"
			}
			if s.RestartCount > 0 {
				text += fmt.Sprintf("/%d", s.RestartCount)
			}
			parts = append(parts, s.Name+"="+text)
		}
	}
	if ready := conditionOf(status.Conditions, corev1.PodReady); ready != nil {
		parts = append(parts, fmt.Sprintf("Ready=%s@%s", ready.Status, ready.LastTransitionTime.UTC().Format("05")))
	}
	return strings.Join(parts, " ")
}

func TestWalk(t *testing.T) {
	t.Parallel()
	const noImage = `rpc error: code = NotFound desc = failed to pull and unpack image "bad:2": ` +
		`failed to resolve reference "bad:2": bad:2: not found`
	options := Options{Delay: 200 * time.Millisecond, Images: map[string]Behaviour{"bad:2": Missing, "boom": Crash, "deaf": Unready}}
	cases := []struct {
		name  string
		pod   *corev1.Pod
		edit  func(*corev1.Pod)
		until time.Duration
		want  string
	}{
		{name: "runs", pod: pod("web:1"), want: `
0s Pending a=ContainerCreating Ready=False@00
  spec.containers{a} Normal Pulling Pulling image "web:1"
200ms Running a=Running/ready Ready=True@00
  spec.containers{a} Normal Pulled Successfully pulled image "web:1" in 200ms (200ms including waiting). Image size: 0 bytes.
  spec.containers{a} Normal Created Container created
  spec.containers{a} Normal Started Container started
`},
		{name: "image is never pulled", pod: pod("web:1"), edit: func(p *corev1.Pod) {
			p.Spec.Containers[0].ImagePullPolicy = corev1.PullNever
		}, want: `
0s Pending a=ContainerCreating Ready=False@00
200ms Running a=Running/ready Ready=True@00
  spec.containers{a} Normal Pulled Container image "web:1" already present on machine and can be accessed by the pod
  spec.containers{a} Normal Created Container created
  spec.containers{a} Normal Started Container started
`},
		{name: "readiness probe waits", pod: pod("web:1"), edit: func(p *corev1.Pod) {
			p.Spec.Containers[0].ImagePullPolicy = corev1.PullNever
			p.Spec.Containers[0].StartupProbe = &corev1.Probe{InitialDelaySeconds: 2, PeriodSeconds: 10, SuccessThreshold: 1}
			p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{InitialDelaySeconds: 5, PeriodSeconds: 10, SuccessThreshold: 2}
		}, want: `
0s Pending a=ContainerCreating Ready=False@00
200ms Running a=Running Ready=False@00
  spec.containers{a} Normal Pulled Container image "web:1" already present on machine and can be accessed by the pod
  spec.containers{a} Normal Created Container created
  spec.containers{a} Normal Started Container started
2.2s Running a=Running Ready=False@00
15.2s Running a=Running/ready Ready=True@15
`},
		{name: "the startup probe takes longer", pod: pod("web:1"), edit: func(p *corev1.Pod) {
			p.Spec.Containers[0].ImagePullPolicy = corev1.PullNever
			p.Spec.Containers[0].StartupProbe = &corev1.Probe{InitialDelaySeconds: 9}
			p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{InitialDelaySeconds: 5}
		}, want: `
0s Pending a=ContainerCreating Ready=False@00
200ms Running a=Running Ready=False@00
  spec.containers{a} Normal Pulled Container image "web:1" already present on machine and can be accessed by the pod
  spec.containers{a} Normal Created Container created
  spec.containers{a} Normal Started Container started
9.2s Running a=Running/ready Ready=True@09
`},
		{name: "unready", pod: pod("deaf", "web:1"), edit: func(p *corev1.Pod) {
			p.Spec.Containers[0].ImagePullPolicy, p.Spec.Containers[1].ImagePullPolicy = corev1.PullNever, corev1.PullNever
		}, want: `
0s Pending a=ContainerCreating b=ContainerCreating Ready=False@00
200ms Running a=Running b=Running/ready Ready=False@00
  spec.containers{a} Normal Pulled Container image "deaf" already present on machine and can be accessed by the pod
  spec.containers{a} Normal Created Container created
  spec.containers{a} Normal Started Container started
  spec.containers{b} Normal Pulled Container image "web:1" already present on machine and can be accessed by the pod
  spec.containers{b} Normal Created Container created
  spec.containers{b} Normal Started Container started
`},
		{name: "missing image", pod: pod("bad:2"), until: 31 * time.Second, want: `
0s Pending a=ContainerCreating Ready=False@00
  spec.containers{a} Normal Pulling Pulling image "bad:2"
200ms Pending a=ErrImagePull Ready=False@00
  spec.containers{a} Warning Failed Failed to pull image "bad:2": ` + noImage + `
  spec.containers{a} Warning Failed Error: ErrImagePull
1.2s Pending a=ImagePullBackOff Ready=False@00
  spec.containers{a} Normal BackOff Back-off pulling image "bad:2"
  spec.containers{a} Warning Failed Error: ImagePullBackOff
10.2s Pending a=ErrImagePull Ready=False@00
  spec.containers{a} Normal Pulling Pulling image "bad:2"
  spec.containers{a} Warning Failed Failed to pull image "bad:2": ` + noImage + `
  spec.containers{a} Warning Failed Error: ErrImagePull
11.2s Pending a=ImagePullBackOff Ready=False@00
  spec.containers{a} Normal BackOff Back-off pulling image "bad:2"
  spec.containers{a} Warning Failed Error: ImagePullBackOff
30.2s Pending a=ErrImagePull Ready=False@00
  spec.containers{a} Normal Pulling Pulling image "bad:2"
  spec.containers{a} Warning Failed Failed to pull image "bad:2": ` + noImage + `
  spec.containers{a} Warning Failed Error: ErrImagePull
`},
		{name: "missing image, never pulled", pod: pod("bad:2"), until: time.Hour, edit: func(p *corev1.Pod) {
			p.Spec.Containers[0].ImagePullPolicy = corev1.PullNever
		}, want: `
0s Pending a=ContainerCreating Ready=False@00
200ms Pending a=ErrImageNeverPull Ready=False@00
  spec.containers{a} Warning ErrImageNeverPull Container image "bad:2" is not present with pull policy of Never
  spec.containers{a} Warning Failed Error: ErrImageNeverPull
`},
		{name: "crash", pod: pod("boom"), until: 34 * time.Second, want: `
0s Pending a=ContainerCreating Ready=False@00
  spec.containers{a} Normal Pulling Pulling image "boom"
200ms Running a=Running Ready=False@00
  spec.containers{a} Normal Pulled Successfully pulled image "boom" in 200ms (200ms including waiting). Image size: 0 bytes.
  spec.containers{a} Normal Created Container created
  spec.containers{a} Normal Started Container started
1.2s Running a=Running/1 Ready=False@00
  spec.containers{a} Normal Pulled Container image "boom" already present on machine and can be accessed by the pod
  spec.containers{a} Normal Created Container created
  spec.containers{a} Normal Started Container started
2.2s Running a=CrashLoopBackOff/1 Ready=False@00
  spec.containers{a} Warning BackOff Back-off restarting failed container a in pod web-1_default(u1)
12.2s Running a=Running/2 Ready=False@00
  spec.containers{a} Normal Pulled Container image "boom" already present on machine and can be accessed by the pod
  spec.containers{a} Normal Created Container created
  spec.containers{a} Normal Started Container started
13.2s Running a=CrashLoopBackOff/2 Ready=False@00
  spec.containers{a} Warning BackOff Back-off restarting failed container a in pod web-1_default(u1)
33.2s Running a=Running/3 Ready=False@00
  spec.containers{a} Normal Pulled Container image "boom" already present on machine and can be accessed by the pod
  spec.containers{a} Normal Created Container created
  spec.containers{a} Normal Started Container started
`},
		{name: "init containers and a sidecar", pod: pod("web:1"), edit: func(p *corev1.Pod) {
			always := corev1.ContainerRestartPolicyAlways
			p.Spec.Containers[0].ImagePullPolicy = corev1.PullNever
			p.Spec.InitContainers = []corev1.Container{
				{Name: "first", Image: "setup", ImagePullPolicy: corev1.PullNever},
				{Name: "side", Image: "proxy", ImagePullPolicy: corev1.PullNever, RestartPolicy: &always},
			}
		}, want: `
0s Pending first=Completed/ready side=Running/ready a=ContainerCreating Ready=False@00
  spec.initContainers{first} Normal Pulled Container image "setup" already present on machine and can be accessed by the pod
  spec.initContainers{first} Normal Created Container created
  spec.initContainers{first} Normal Started Container started
  spec.initContainers{side} Normal Pulled Container image "proxy" already present on machine and can be accessed by the pod
  spec.initContainers{side} Normal Created Container created
  spec.initContainers{side} Normal Started Container started
200ms Running first=Completed/ready side=Running/ready a=Running/ready Ready=True@00
  spec.containers{a} Normal Pulled Container image "web:1" already present on machine and can be accessed by the pod
  spec.containers{a} Normal Created Container created
  spec.containers{a} Normal Started Container started
`},
		{name: "an init container that cannot be pulled", pod: pod("web:1"), until: time.Second, edit: func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "first", Image: "bad:2"}}
		}, want: `
0s Pending first=ContainerCreating a=PodInitializing Ready=False@00
  spec.initContainers{first} Normal Pulling Pulling image "bad:2"
200ms Pending first=ErrImagePull a=PodInitializing Ready=False@00
  spec.initContainers{first} Warning Failed Failed to pull image "bad:2": ` + noImage + `
  spec.initContainers{first} Warning Failed Error: ErrImagePull
`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.edit != nil {
				c.edit(c.pod)
			}
			until := c.until
			if until == 0 {
				until = time.Hour
			}
			got := walk(t, c.pod, options, until)
			if want := strings.TrimPrefix(c.want, "\n"); got != want {
				t.Errorf("got:\n%s\ndiff (-want +got):\n%s", got, cmp.Diff(want, got))
			}
		})
	}
}

func TestBackOffMessages(t *testing.T) {
	t.Parallel()
	options := Options{Images: map[string]Behaviour{"boom": Crash, "bad:2": Missing}}
	cases := []struct {
		image string
		after time.Duration
		want  string
	}{
		{"boom", 3 * time.Second, "back-off 10s restarting failed container=a pod=web-1_default(u1)"},
		{"boom", 14 * time.Second, "back-off 20s restarting failed container=a pod=web-1_default(u1)"},
		// 2 + 10+1 + 20+1 + 40+1 + 80+1 + 160+1: then it stays.
		{"boom", 318 * time.Second, "back-off 5m0s restarting failed container=a pod=web-1_default(u1)"},
		{"boom", 318*time.Second + 301*time.Second, "back-off 5m0s restarting failed container=a pod=web-1_default(u1)"},
		{"bad:2", 2 * time.Second, `Back-off pulling image "bad:2": ErrImagePull: rpc error: code = NotFound desc = failed to pull ` +
			`and unpack image "bad:2": failed to resolve reference "bad:2": bad:2: not found`},
	}
	for _, c := range cases {
		status, _, _ := Status(pod(c.image), options, Memory{Arrived: arrival}, arrival.Add(c.after))
		if w := status.ContainerStatuses[0].State.Waiting; w == nil || w.Message != c.want {
			t.Errorf("%s after %v: got %+v, want message %q", c.image, c.after, w, c.want)
		}
	}
}

// TestLongWaits checks the longest pauses: 10 s doubling, and then 5 min for good.
func TestLongWaits(t *testing.T) {
	t.Parallel()
	options := Options{Images: map[string]Behaviour{"boom": Crash, "bad:2": Missing}}
	cases := []struct {
		image       string
		after, next time.Duration
	}{
		{"bad:2", 312 * time.Second, 610 * time.Second},
		{"bad:2", 612 * time.Second, 910 * time.Second},
		{"bad:2", 912 * time.Second, 1210 * time.Second},
		{"boom", 320 * time.Second, 617 * time.Second},
		{"boom", 619 * time.Second, 918 * time.Second},
	}
	for _, c := range cases {
		_, wakeAt, _ := Status(pod(c.image), options, Memory{Arrived: arrival}, arrival.Add(c.after))
		if got := wakeAt.Sub(arrival); got != c.next {
			t.Errorf("%s after %v: next at %v, want %v", c.image, c.after, got, c.next)
		}
	}
}

// TestNotReadyBeforeStarted looks while the startup probe has not succeeded, but the readiness probe could have.
func TestNotReadyBeforeStarted(t *testing.T) {
	t.Parallel()
	p := pod("web:1")
	p.Spec.Containers[0].StartupProbe = &corev1.Probe{InitialDelaySeconds: 9}
	p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{InitialDelaySeconds: 5}
	status, wakeAt, _ := Status(p, Options{}, Memory{Arrived: arrival}, arrival.Add(6*time.Second))
	if s := status.ContainerStatuses[0]; s.Ready || *s.Started || !wakeAt.Equal(arrival.Add(9*time.Second)) {
		t.Errorf("ready %v, started %v, wakes after %v", s.Ready, *s.Started, wakeAt.Sub(arrival))
	}
}

// TestCrashingSidecar never lets the containers begin, not even while it runs.
func TestCrashingSidecar(t *testing.T) {
	t.Parallel()
	always := corev1.ContainerRestartPolicyAlways
	p := pod("web")
	p.Spec.InitContainers = []corev1.Container{{Name: "side", Image: "boom", RestartPolicy: &always}}
	options := Options{Images: map[string]Behaviour{"boom": Crash}}
	for after := time.Duration(0); after < time.Minute; after += 500 * time.Millisecond {
		status, _, _ := Status(p, options, Memory{Arrived: arrival}, arrival.Add(after))
		if status.Phase != corev1.PodPending || reasonOf(status.ContainerStatuses[0]) != podInitializing {
			t.Fatalf("after %v: %s", after, look(status, false))
		}
		if ready := conditionOf(status.Conditions, corev1.PodReady); ready.Message != "containers with unready status: [side a]" {
			t.Fatalf("after %v: %s", after, ready.Message)
		}
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	options := Options{Delay: time.Second, Images: map[string]Behaviour{"bad": Missing}}
	p := pod("web", "db")
	p.Spec.InitContainers = []corev1.Container{{Name: "first", Image: "bad"}}
	p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "load-balancer"}}
	check := func(now time.Time, want string) {
		t.Helper()
		status, _, _ := Status(p, options, Memory{Arrived: arrival}, now)
		p.Status = status
		var got strings.Builder
		for _, c := range status.Conditions {
			fmt.Fprintln(&got, c.Type, c.Status, c.Reason, c.Message, c.LastTransitionTime.UTC().Format("05"))
		}
		if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), got.String()); diff != "" {
			t.Errorf("conditions (-want +got):\n%s", diff)
		}
	}
	check(arrival, `
PodReadyToStartContainers True   00
Initialized False ContainersNotInitialized containers with incomplete status: [first] 00
Ready False ContainersNotReady containers with unready status: [a b] 00
ContainersReady False ContainersNotReady containers with unready status: [a b] 00
PodScheduled True   00
`)
	delete(options.Images, "bad")
	check(arrival.Add(4*time.Second), `
PodReadyToStartContainers True   00
Initialized True   04
Ready False ReadinessGatesNotReady corresponding condition of pod readiness gate "load-balancer" does not exist. 00
ContainersReady True   04
PodScheduled True   00
`)
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: "load-balancer", Status: corev1.ConditionFalse})
	check(arrival.Add(5*time.Second), `
PodReadyToStartContainers True   00
Initialized True   04
Ready False ReadinessGatesNotReady the status of pod readiness gate "load-balancer" is not "True", but False 00
ContainersReady True   04
PodScheduled True   00
load-balancer False   00
`)
	p.Status.Conditions[5].Status = corev1.ConditionTrue
	check(arrival.Add(6*time.Second), `
PodReadyToStartContainers True   00
Initialized True   04
Ready True   06
ContainersReady True   04
PodScheduled True   00
load-balancer True   00
`)
}

func conditionOf(list []corev1.PodCondition, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range list {
		if list[i].Type == kind {
			return &list[i]
		}
	}
	return nil
}
