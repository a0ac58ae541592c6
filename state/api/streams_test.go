package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"
	"k8s.io/utils/ptr"

	"github.com/belay-dev/belay/state"
)

// inPods is what the tests' pods do: they log what they are asked for, echo what they are sent, and run the command
// "echo", which copies its input and ends with the status 3.
type inPods struct{}

func (inPods) Logs(ctx context.Context, pod *corev1.Pod, container string, o *corev1.PodLogOptions) (io.ReadCloser, error) {
	text := fmt.Sprintf("%s/%s tail %d previous %t times %t\n", pod.Name, container, ptr.Deref(o.TailLines, -1), o.Previous, o.Timestamps)
	if !o.Follow {
		return io.NopCloser(strings.NewReader(text)), nil
	}
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { w.CloseWithError(io.EOF) })
	go func() { _, _ = io.WriteString(w, text) }()
	return r, nil
}

func (inPods) Dial(_ context.Context, _ *corev1.Pod, port int32) (net.Conn, error) {
	if port != 8080 {
		return nil, errors.New("connection refused")
	}
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		_, _ = io.Copy(far, far)
	}()
	return near, nil
}

func (inPods) Executes(_ *corev1.Pod, container string) error {
	if container == "side" {
		return apierrors.NewBadRequest("nothing runs in side")
	}
	return nil
}

func (inPods) Exec(_ context.Context, _ *corev1.Pod, container string, command []string, s remotecommand.StreamOptions) (int, error) {
	if command[0] != "echo" {
		return 0, errors.New("no such command")
	}
	if s.Tty {
		size := s.TerminalSizeQueue.Next()
		_, err := fmt.Fprintf(s.Stdout, "%dx%d", size.Width, size.Height)
		return 0, err
	}
	if _, err := io.Copy(s.Stdout, s.Stdin); err != nil {
		return 0, err
	}
	_, err := fmt.Fprintf(s.Stderr, "%s %v", container, command)
	return 3, err
}

func (inPods) Attach(_ context.Context, _ *corev1.Pod, container string, s remotecommand.StreamOptions) error {
	_, err := io.WriteString(s.Stdout, "attached to "+container)
	return err
}

// aPod makes a pod of two containers that run, and the default one; an init container that ended; and one whose image
// cannot be pulled.
func (s *served) aPod(t *testing.T, name string) *kubernetes.Clientset {
	t.Helper()
	container := func(name string) corev1.Container { return corev1.Container{Name: name, Image: "web:1"} }
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{container("init")},
			Containers:     []corev1.Container{container("web"), container("side"), container("bad")},
			NodeName:       "belay",
		},
	}
	if name == "alone" {
		pod.Spec.Containers = pod.Spec.Containers[:1]
	}
	r, err := s.store.Commit(state.Create(pod))
	if err != nil {
		t.Fatal(err)
	}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}
	pod = r.Objects[0].DeepCopyObject().(*corev1.Pod)
	pod.Status.Phase = corev1.PodRunning
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{
		{Name: "web", State: running, LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: "test://0"}}},
		{Name: "side", State: running},
		{Name: "bad", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}},
	}
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{
		{Name: "init", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: "test://1"}}},
	}
	if _, err := s.store.Commit(state.UpdateStatus(pod)); err != nil {
		t.Fatal(err)
	}
	return s.as(t, RoleEdit)
}

func checkLogs(t *testing.T, s *served) {
	s.aPod(t, "alone")
	client := s.aPod(t, "logging")
	for name, c := range map[string]struct {
		pod  string
		o    corev1.PodLogOptions
		want string // begins with ! for an error
	}{
		"the only container":   {"alone", corev1.PodLogOptions{}, "alone/web tail -1 previous false times false\n"},
		"options":              {"logging", corev1.PodLogOptions{Container: "web", TailLines: ptr.To[int64](7), Timestamps: true}, "logging/web tail 7 previous false times true\n"},
		"previous":             {"logging", corev1.PodLogOptions{Container: "web", Previous: true}, "logging/web tail -1 previous true times false\n"},
		"init container":       {"logging", corev1.PodLogOptions{Container: "init"}, "logging/init tail -1 previous false times false\n"},
		"bytes":                {"logging", corev1.PodLogOptions{Container: "web", LimitBytes: ptr.To[int64](9)}, "logging/w"},
		"several containers":   {"logging", corev1.PodLogOptions{}, "!a container name must be specified for pod logging, choose one of: [init web side bad]"},
		"no such container":    {"logging", corev1.PodLogOptions{Container: "x"}, "!container x is not valid for pod logging"},
		"no such pod":          {"nope", corev1.PodLogOptions{}, `!pods "nope" not found`},
		"no previous":          {"logging", corev1.PodLogOptions{Container: "side", Previous: true}, `!previous terminated container "side" in pod "logging" not found`},
		"not started":          {"logging", corev1.PodLogOptions{Container: "bad"}, `!container "bad" in pod "logging" is waiting to start: trying and failing to pull image`},
		"two starting points":  {"logging", corev1.PodLogOptions{Container: "web", SinceSeconds: ptr.To[int64](1), SinceTime: ptr.To(metav1.Now())}, `!at most one of`},
		"less than no seconds": {"logging", corev1.PodLogOptions{Container: "web", SinceSeconds: ptr.To[int64](-1)}, `!must be greater than 0`},
	} {
		text, err := client.CoreV1().Pods("default").GetLogs(c.pod, &c.o).DoRaw(t.Context())
		want, fails := strings.CutPrefix(c.want, "!")
		if fails != (err != nil) || fails && !strings.Contains(strings.ReplaceAll(string(text), `\"`, `"`), want) || !fails && string(text) != want {
			t.Errorf("%s: %q, %v; want %q", name, text, err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := client.CoreV1().Pods("default").GetLogs("alone", &corev1.PodLogOptions{Follow: true}).Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if line := make([]byte, 9); func() bool { _, err := io.ReadFull(stream, line); return err != nil || string(line) != "alone/web" }() {
		t.Errorf("follow: %q", line)
	}
	if _, err := s.as(t, RoleView).CoreV1().Pods("default").GetLogs("alone", &corev1.PodLogOptions{}).DoRaw(t.Context()); err != nil {
		t.Errorf("the role view reads no logs: %v", err)
	}
}

// subresource is the address of one of a pod.
func subresource(client *kubernetes.Clientset, pod, name string) *rest.Request {
	return client.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name(pod).SubResource(name)
}

func checkPortForward(t *testing.T, s *served) {
	client := s.aPod(t, "forwarding")
	url := subresource(client, "forwarding", "portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(s.config)
	if err != nil {
		t.Fatal(err)
	}
	websocket, err := portforward.NewSPDYOverWebsocketDialer(url, s.config)
	if err != nil {
		t.Fatal(err)
	}
	dialers := map[string]func(ports []string, stop, ready chan struct{}) (*portforward.PortForwarder, error){
		"SPDY": func(ports []string, stop, ready chan struct{}) (*portforward.PortForwarder, error) {
			dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
			return portforward.New(dialer, ports, stop, ready, io.Discard, io.Discard)
		},
		"websocket": func(ports []string, stop, ready chan struct{}) (*portforward.PortForwarder, error) {
			return portforward.New(websocket, ports, stop, ready, io.Discard, io.Discard)
		},
	}
	for name, forwarder := range dialers {
		t.Run(name, func(t *testing.T) {
			stop, ready := make(chan struct{}), make(chan struct{})
			f, err := forwarder([]string{"0:8080", "0:80"}, stop, ready)
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- f.ForwardPorts() }()
			select {
			case <-ready:
			case err := <-ended:
				t.Fatal(err)
			}
			ports, err := f.GetPorts()
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				echo(t, ports[0].Local)
			}
			// One that refuses is told, and takes the connection of the others with it, as the kubelet has it.
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[1].Local))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
			if err := <-ended; !errors.Is(err, portforward.ErrLostConnectionToPod) {
				t.Errorf("after a refusal: %v", err)
			}
			close(stop)
		})
	}
	for _, role := range []Role{RoleView, RoleRollback} {
		if _, err := subresource(s.as(t, role), "forwarding", "portforward").DoRaw(t.Context()); !apierrors.IsForbidden(err) {
			t.Errorf("%s forwards ports: %v", role, err)
		}
	}
}

// echo sends something to a port of this machine, and expects it back.
func echo(t *testing.T, port uint16) {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sent := bytes.Repeat([]byte("0123456789"), 20_000)
	go func() { _, _ = conn.Write(sent) }()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("something else came back: %v", err)
	}
}

// shells are the ways in which clients ask for an exec or an attach.
func (s *served) shells(t *testing.T, url *url.URL) map[string]remotecommand.Executor {
	t.Helper()
	over, err := remotecommand.NewSPDYExecutor(s.config, http.MethodPost, url)
	if err != nil {
		t.Fatal(err)
	}
	websocket, err := remotecommand.NewWebSocketExecutor(s.config, http.MethodGet, url.String())
	if err != nil {
		t.Fatal(err)
	}
	return map[string]remotecommand.Executor{"SPDY": over, "websocket": websocket}
}

func checkExec(t *testing.T, s *served) {
	client := s.aPod(t, "executing")
	exec := func(o *corev1.PodExecOptions) *url.URL {
		return subresource(client, "executing", "exec").VersionedParams(o, scheme.ParameterCodec).URL()
	}
	all := &corev1.PodExecOptions{Container: "web", Command: []string{"echo", "a b"}, Stdin: true, Stdout: true, Stderr: true}
	for name, shell := range s.shells(t, exec(all)) {
		t.Run(name, func(t *testing.T) {
			in := strings.Repeat("x", 100_000)
			var out, errs lines
			err := shell.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader(in), Stdout: &out, Stderr: &errs})
			var exit utilexec.CodeExitError
			if !errors.As(err, &exit) || exit.Code != 3 {
				t.Errorf("ended with %v", err)
			}
			if out.String() != in || errs.String() != "web [echo a b]" {
				t.Errorf("%d bytes out, %q", len(out.String()), errs.String())
			}
		})
	}
	terminal := &corev1.PodExecOptions{Container: "web", Command: []string{"echo"}, Stdin: true, Stdout: true, TTY: true}
	for name, shell := range s.shells(t, exec(terminal)) {
		var out lines
		err := shell.StreamWithContext(t.Context(), remotecommand.StreamOptions{
			Stdin: strings.NewReader(""), Stdout: &out, Tty: true, TerminalSizeQueue: &oneSize{80, 25}})
		if err != nil || out.String() != "80x25" {
			t.Errorf("%s: a terminal of %q, %v", name, out.String(), err)
		}
	}
	for name, c := range map[string]struct {
		o    *corev1.PodExecOptions
		want string
	}{
		"no such command": {&corev1.PodExecOptions{Container: "web", Command: []string{"nope"}, Stdout: true}, "no such command"},
		"refused":         {&corev1.PodExecOptions{Container: "side", Command: []string{"echo"}, Stdout: true}, "nothing runs in side"},
		"no container":    {&corev1.PodExecOptions{Command: []string{"echo"}, Stdout: true}, "a container name must be specified for pod executing"},
		"no stream":       {&corev1.PodExecOptions{Container: "web", Command: []string{"echo"}}, "you must specify at least 1 of stdin, stdout, stderr"},
		"no command":      {&corev1.PodExecOptions{Container: "web", Stdout: true}, "you must specify at least 1 command for the container"},
	} {
		shell := s.shells(t, exec(c.o))["SPDY"]
		if err := shell.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: io.Discard}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	attach := subresource(client, "executing", "attach").VersionedParams(&corev1.PodAttachOptions{Container: "web", Stdout: true}, scheme.ParameterCodec).URL()
	for name, shell := range s.shells(t, attach) {
		var out lines
		if err := shell.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &out}); err != nil || out.String() != "attached to web" {
			t.Errorf("%s: %q, %v", name, out.String(), err)
		}
	}
	for _, role := range []Role{RoleView, RoleRollback} {
		for _, verb := range []string{http.MethodGet, http.MethodPost} {
			for _, sub := range []string{"exec", "attach"} {
				err := s.as(t, role).CoreV1().RESTClient().Verb(verb).Resource("pods").Namespace("default").Name("executing").
					SubResource(sub).Param("command", "echo").Param("stdout", "true").Param("container", "web").Do(t.Context()).Error()
				if !apierrors.IsForbidden(err) {
					t.Errorf("%s may %s %s: %v", role, verb, sub, err)
				}
			}
		}
	}
}

// oneSize is a terminal whose size never changes.
type oneSize struct{ width, height uint16 }

func (s *oneSize) Next() *remotecommand.TerminalSize {
	if s.width == 0 {
		return nil
	}
	size := &remotecommand.TerminalSize{Width: s.width, Height: s.height}
	s.width = 0
	return size
}

// TestStop ends a server while clients read a log that never ends, watch, and send half a request.
func TestStop(t *testing.T) {
	t.Parallel()
	s := serve(t)
	client := s.aPod(t, "alone")
	stream, err := client.CoreV1().Pods("default").GetLogs("alone", &corev1.PodLogOptions{Follow: true}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	half, err := net.Dial("tcp", strings.TrimPrefix(s.config.Host, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	if _, err := half.Write([]byte{22, 3}); err != nil {
		t.Fatal(err)
	}
	s.stop(t)
	if _, err := io.Copy(io.Discard, stream); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Logf("the log ends with %v", err)
	}
	if _, err := half.Read(make([]byte, 1)); err == nil {
		t.Error("half a request keeps its connection")
	}
}
