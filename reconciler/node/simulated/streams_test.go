package simulated

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/utils/ptr"
)

// onNode gives a pod to a runner, and the pod its status at that time.
func onNode(t *testing.T, r *Runner, image string, now time.Time) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-x", Namespace: "default", UID: "u1"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{
			{Name: "web", Image: image, Ports: []corev1.ContainerPort{{ContainerPort: 8080}, {ContainerPort: 53, Protocol: corev1.ProtocolUDP}}},
		}},
	}
	return again(t, r, pod, now)
}

func again(t *testing.T, r *Runner, pod *corev1.Pod, now time.Time) *corev1.Pod {
	t.Helper()
	report, err := r.Sync(t.Context(), pod, now)
	if err != nil {
		t.Fatal(err)
	}
	after := pod.DeepCopy()
	after.Status = report.Status
	return after
}

func TestLogs(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	r := New(Options{Images: map[string]Behaviour{"bad": Crash}})
	web := onNode(t, r, "web:1", start)
	other := New(r.options)
	crashed := again(t, other, onNode(t, other, "bad", start), start.Add(1500*time.Millisecond))
	line := func(numbers ...int) string {
		var text strings.Builder
		for _, n := range numbers {
			fmt.Fprintf(&text, "web-x web: line %d\n", n)
		}
		return text.String()
	}
	for name, c := range map[string]struct {
		pod   *corev1.Pod
		after time.Duration // since the start
		o     corev1.PodLogOptions
		want  string
	}{
		"at the start":        {web, 0, corev1.PodLogOptions{}, line(0)},
		"between two lines":   {web, 2500 * time.Millisecond, corev1.PodLogOptions{}, line(0, 1, 2)},
		"at a line":           {web, 3 * time.Second, corev1.PodLogOptions{}, line(0, 1, 2, 3)},
		"tail":                {web, time.Hour, corev1.PodLogOptions{TailLines: ptr.To[int64](2)}, line(3599, 3600)},
		"more tail than dog":  {web, time.Second, corev1.PodLogOptions{TailLines: ptr.To[int64](9)}, line(0, 1)},
		"no tail":             {web, time.Second, corev1.PodLogOptions{TailLines: ptr.To[int64](0)}, ""},
		"since seconds":       {web, 10 * time.Second, corev1.PodLogOptions{SinceSeconds: ptr.To[int64](2)}, line(8, 9, 10)},
		"since time":          {web, 10 * time.Second, corev1.PodLogOptions{SinceTime: ptr.To(metav1.NewTime(start.Add(8500 * time.Millisecond)))}, line(9, 10)},
		"since before":        {web, time.Second, corev1.PodLogOptions{SinceTime: ptr.To(metav1.NewTime(start.Add(-time.Hour)))}, line(0, 1)},
		"since later":         {web, time.Second, corev1.PodLogOptions{SinceTime: ptr.To(metav1.NewTime(start.Add(time.Hour)))}, ""},
		"times":               {web, time.Second, corev1.PodLogOptions{Timestamps: true, TailLines: ptr.To[int64](1)}, "2026-01-01T12:00:01.000000000Z " + line(1)},
		"after a crash":       {crashed, time.Hour, corev1.PodLogOptions{Previous: true}, line(0)},
		"follow after an end": {crashed, time.Hour, corev1.PodLogOptions{Previous: true, Follow: true}, line(0)},
	} {
		s := r.Streams(func() time.Time { return start.Add(c.after) })
		l, err := s.Logs(t.Context(), c.pod, "web", &c.o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := io.ReadAll(l)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
	if _, err := r.Streams(time.Now).Logs(t.Context(), web, "web", &corev1.PodLogOptions{Previous: true}); !apierrors.IsBadRequest(err) {
		t.Errorf("there is a log before the first instance: %v", err)
	}
}

func TestLogsFollow(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, *Runner, context.CancelFunc){
		"the request ends": func(_ *testing.T, _ *Runner, cancel context.CancelFunc) { cancel() },
		"the pod ends":     func(t *testing.T, r *Runner, _ context.CancelFunc) { _ = r.Remove(t.Context(), "u1") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := New(Options{})
				pod := onNode(t, r, "web:1", time.Now())
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				l, err := r.Streams(time.Now).Logs(ctx, pod, "web", &corev1.PodLogOptions{Follow: true})
				if err != nil {
					t.Fatal(err)
				}
				lines := bufio.NewReader(l)
				for n := range 4 {
					line, err := lines.ReadString('\n')
					if want := fmt.Sprintf("web-x web: line %d\n", n); err != nil || line != want {
						t.Fatalf("%q, %v; want %q", line, err, want)
					}
				}
				end(t, r, cancel)
				if line, err := lines.ReadString('\n'); err != io.EOF {
					t.Errorf("after the end %q, %v", line, err)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Images: map[string]Behaviour{"bad": Crash}})
		l, err := r.Streams(time.Now).Logs(t.Context(), onNode(t, r, "bad", time.Now()), "web", &corev1.PodLogOptions{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(l); err != nil || string(text) != "web-x web: line 0\n" {
			t.Errorf("a container that exits wrote %q, %v", text, err)
		}
	})
}

func TestDial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Delay: time.Second})
		pod := onNode(t, r, "web:1", time.Now())
		s := r.Streams(time.Now)
		if _, err := s.Dial(t.Context(), pod, 8080); err == nil {
			t.Error("a container answers that does not run yet")
		}
		time.Sleep(time.Second) // of the bubble
		pod = again(t, r, pod, time.Now())
		for _, port := range []int32{80, 53, 0, -1} {
			if _, err := s.Dial(t.Context(), pod, port); err == nil {
				t.Errorf("port %d answers, which is not declared for TCP", port)
			}
		}
		silent := pod.DeepCopy()
		silent.Spec.Containers[0].Ports = nil
		if conn, err := s.Dial(t.Context(), silent, 4711); err != nil {
			t.Errorf("a pod that declares no ports answers on none: %v", err)
		} else if err := conn.Close(); err != nil {
			t.Error(err)
		}
		conn, err := s.Dial(t.Context(), pod, 8080)
		if err != nil {
			t.Fatal(err)
		}
		reader := bufio.NewReader(conn)
		for range 2 { // one connection, several requests
			if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != 200 || string(body) != "backend\n" || res.Header.Get(podHeader) != "web-x" {
				t.Errorf("%s %q %v %v", res.Status, body, res.Header, err)
			}
		}
		if err := conn.(*connection).CloseWrite(); err != nil {
			t.Error(err)
		}
		if _, err := reader.ReadByte(); err != io.EOF {
			t.Errorf("no more requests come, and the connection stays: %v", err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}

		// What the client does not close ends with the pod, and with the request.
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, end := range []func(){cancel, func() { _ = r.Remove(t.Context(), "u1") }} {
			open, err := s.Dial(ctx, pod, 8080)
			if err != nil {
				t.Fatal(err)
			}
			end()
			if _, err := open.Read(make([]byte, 1)); err == nil {
				t.Error("the connection goes on")
			}
			if err := open.Close(); err != nil {
				t.Error(err)
			}
			ctx = t.Context()
		}
	})
}

func TestNothingExecutes(t *testing.T) {
	t.Parallel()
	r := New(Options{})
	pod := onNode(t, r, "web:1", time.Now())
	s := r.Streams(time.Now)
	_, err := s.Exec(t.Context(), pod, "web", []string{"sh"}, remotecommand.StreamOptions{})
	for _, err := range []error{err, s.Executes(pod, "web"), s.Attach(t.Context(), pod, "web", remotecommand.StreamOptions{})} {
		if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), "pods are simulated") {
			t.Error(err)
		}
	}
}
