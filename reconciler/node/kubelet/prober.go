package kubelet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	grpcstatus "google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/remotecommand"
)

const (
	userAgent    = "kube-probe/1.36"
	maxRedirects = 10
	maxBody      = 10 << 10 // of an answer that is read
	maxOutput    = 10 << 10 // of a command that is kept
)

// errFailed is the answer of a probe that reached the container and was told no.
type errFailed struct{ output string }

func (e *errFailed) Error() string { return e.output }

// try makes one probe: nil is success, *errFailed failure, any other error means that it could not be made.
func (k *Kubelet) try(ctx context.Context, pod *corev1.Pod, c *corev1.Container, run string, p *corev1.Probe) error {
	timeout := max(1, time.Duration(p.TimeoutSeconds)) * time.Second
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	dial := func(ctx context.Context, port int32) (net.Conn, error) { return k.Runtime.Dial(ctx, pod.UID, port) }
	switch {
	case p.Exec != nil:
		return k.tryExec(ctx, run, p.Exec.Command, timeout)
	case p.HTTPGet != nil:
		return tryHTTP(ctx, dial, pod, c, p.HTTPGet)
	case p.TCPSocket != nil:
		return tryTCP(ctx, dial, c, p.TCPSocket)
	case p.GRPC != nil:
		return tryGRPC(ctx, dial, p.GRPC, timeout)
	}
	return errors.New("missing probe handler")
}

func (k *Kubelet) tryExec(ctx context.Context, run string, command []string, timeout time.Duration) error {
	var out bounded
	code, err := k.Runtime.Exec(ctx, run, command, remotecommand.StreamOptions{Stdout: &out, Stderr: &out})
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &errFailed{fmt.Sprintf("command %q timed out after %v", strings.Join(command, " "), timeout)}
	case err != nil:
		return err
	case code != 0:
		return &errFailed{out.String()}
	}
	return nil
}

// bounded keeps the first bytes that are written to it. Both streams of a command may end in one.
type bounded struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text.Write(p[:min(len(p), maxOutput-b.text.Len())])
	return len(p), nil
}

func (b *bounded) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// dialer reaches a port of the pod, whatever address a name stands for.
type dialer func(ctx context.Context, port int32) (net.Conn, error)

func (d dialer) address(ctx context.Context, _, address string) (net.Conn, error) {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, err
	}
	return d(ctx, int32(port))
}

// client asks over a pod's own port alone. A redirect to another host is not followed, and counts as success.
func (d dialer) client() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: d.address, DisableKeepAlives: true, DisableCompression: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // as the kubelet: the probe is about life, not identity
		},
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			if next.URL.Hostname() != via[0].URL.Hostname() {
				return http.ErrUseLastResponse
			}
			if len(via) >= maxRedirects {
				return fmt.Errorf("stopped after %d redirects", maxRedirects)
			}
			return nil
		},
	}
}

func tryHTTP(ctx context.Context, dial dialer, pod *corev1.Pod, c *corev1.Container, get *corev1.HTTPGetAction) error {
	request, err := request(ctx, pod, c, get)
	if err != nil {
		return err
	}
	client := dial.client()
	defer client.CloseIdleConnections()
	answer, err := client.Do(request)
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return &errFailed{fmt.Sprintf("Get %q: context deadline exceeded (Client.Timeout exceeded while awaiting headers)", request.URL)}
		}
		return &errFailed{err.Error()}
	}
	defer answer.Body.Close()
	if _, err := io.CopyN(io.Discard, answer.Body, maxBody); err != nil && !errors.Is(err, io.EOF) {
		return &errFailed{err.Error()}
	}
	if answer.StatusCode >= http.StatusOK && answer.StatusCode < http.StatusBadRequest {
		return nil
	}
	return &errFailed{fmt.Sprintf("HTTP probe failed with statuscode: %d", answer.StatusCode)}
}

// request is what an httpGet asks for. The host that it may name goes into the Host header and never elsewhere.
func request(ctx context.Context, pod *corev1.Pod, c *corev1.Container, get *corev1.HTTPGetAction) (*http.Request, error) {
	port, err := portOf(c, get.Port)
	if err != nil {
		return nil, err
	}
	host := orElse(orElse(get.Host, pod.Status.PodIP), "localhost")
	target, err := url.Parse(get.Path)
	if err != nil { // what is no URL is a path
		target = &url.URL{Path: get.Path}
	}
	target.Scheme, target.Host = strings.ToLower(orElse(string(get.Scheme), "http")), net.JoinHostPort(host, strconv.Itoa(int(port)))
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", userAgent)
	r.Header.Set("Accept", "*/*")
	for _, h := range get.HTTPHeaders {
		r.Header.Add(h.Name, h.Value)
		if strings.EqualFold(h.Name, "Host") {
			r.Host = h.Value
		}
	}
	return r, nil
}

func tryTCP(ctx context.Context, dial dialer, c *corev1.Container, s *corev1.TCPSocketAction) error {
	port, err := portOf(c, s.Port)
	if err != nil {
		return err
	}
	conn, err := dial(ctx, port)
	if err != nil {
		return &errFailed{err.Error()}
	}
	if err := conn.Close(); err != nil {
		return &errFailed{err.Error()}
	}
	return nil
}

func tryGRPC(ctx context.Context, dial dialer, s *corev1.GRPCAction, timeout time.Duration) error {
	address := net.JoinHostPort("localhost", strconv.Itoa(int(s.Port)))
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithUserAgent(userAgent),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, a string) (net.Conn, error) { return dial.address(ctx, "tcp", a) }))
	if err != nil {
		return err
	}
	defer conn.Close()
	service := ""
	if s.Service != nil {
		service = *s.Service
	}
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	if err != nil {
		switch grpcstatus.Code(err) {
		case codes.Unimplemented:
			return &errFailed{fmt.Sprintf("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): %s",
				grpcstatus.Convert(err).Message())}
		case codes.DeadlineExceeded:
			return &errFailed{fmt.Sprintf("timeout: health rpc did not complete within %v", timeout)}
		default:
			return &errFailed{fmt.Sprintf("error: health rpc probe failed: %v", err)}
		}
	}
	if answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return &errFailed{fmt.Sprintf("service unhealthy (responded with %q)", answer.GetStatus())}
	}
	return nil
}

// portOf is the number of a port, or of the container's port of that name.
func portOf(c *corev1.Container, port intstr.IntOrString) (int32, error) {
	n := port.IntVal
	if port.Type == intstr.String {
		n = 0
		for _, p := range c.Ports {
			if p.Name == port.StrVal {
				n = p.ContainerPort
			}
		}
		if n == 0 {
			if parsed, err := strconv.ParseInt(port.StrVal, 10, 32); err == nil {
				n = int32(parsed)
			}
		}
	}
	if n < 1 || n > 65535 {
		return 0, fmt.Errorf("invalid port number: %v", port.String())
	}
	return n, nil
}

// hook runs a lifecycle hook until it ends or ctx does.
func (k *Kubelet) hook(ctx context.Context, pod *corev1.Pod, c *corev1.Container, run string, h *corev1.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		var out bounded
		code, err := k.Runtime.Exec(ctx, run, h.Exec.Command, remotecommand.StreamOptions{Stdout: &out, Stderr: &out})
		if err == nil && code != 0 {
			err = fmt.Errorf("command exited with %d", code)
		}
		return err
	case h.HTTPGet != nil:
		r, err := request(ctx, pod, c, h.HTTPGet)
		if err != nil {
			return err
		}
		client := dialer(func(ctx context.Context, port int32) (net.Conn, error) { return k.Runtime.Dial(ctx, pod.UID, port) }).client()
		defer client.CloseIdleConnections()
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		return answer.Body.Close()
	case h.Sleep != nil:
		timer := time.NewTimer(time.Duration(h.Sleep.Seconds) * time.Second)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
