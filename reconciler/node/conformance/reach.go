package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/tools/remotecommand"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/image"
)

// log reads a whole log.
func (b *bench) log(id string, o node.LogOptions) string {
	b.Helper()
	r, err := b.Runtime.Logs(b.Context(), id, o)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		b.Fatal(err)
	}
	return string(data)
}

// said is what a container writes from its start to its end.
func (b *bench) said(c node.Container) string {
	b.Helper()
	id := b.start(c)
	return b.log(id, node.LogOptions{Follow: true})
}

func configuration(b *bench) {
	p := b.pod()
	c := b.container(p, "A", "B", "C")
	c.Command = []string{"/program", "env"}
	c.Env = []string{"A=1", "B=two words"}
	if got, want := b.said(c), "A=1\nB=two words\nC is not set\n"; got != want {
		b.Errorf("environment is %q, want %q", got, want)
	}

	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "greeting"), []byte("hello\n"), 0o644); err != nil {
		b.Fatal(err)
	}
	c = b.container(p, "cat", "/state/greeting")
	c.Name, c.Mounts = "mounted", []node.Mount{{Source: dir, Target: "/state", ReadOnly: true}}
	// A driver in memory finds /state beside the directory that is mounted there.
	if base := filepath.Dir(dir); filepath.Base(dir) != "state" {
		state := filepath.Join(base, "state")
		if err := os.Rename(dir, state); err != nil {
			b.Fatal(err)
		}
		c.Mounts[0].Source = state
	}
	if got := b.said(c); got != "hello\n" {
		b.Errorf("the mounted file is %q", got)
	}
}

func logs(b *bench) {
	p := b.pod()
	c := b.container(p, "both")
	id := b.start(c)
	b.over(p.UID, id)
	if got := b.log(id, node.LogOptions{}); !strings.Contains(got, "to stdout\n") || !strings.Contains(got, "to stderr\n") {
		b.Errorf("log is %q", got)
	}

	c = b.container(p, "lines", "1000")
	c.Name = "lines"
	id = b.start(c)
	follow, err := b.Runtime.Logs(b.Context(), id, node.LogOptions{Follow: true})
	if err != nil {
		b.Fatal(err)
	}
	defer follow.Close()
	var want bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&want, "line %d\n", i+1)
	}
	got := make([]byte, want.Len())
	if _, err := io.ReadFull(follow, got); err != nil || !bytes.Equal(got, want.Bytes()) {
		b.Fatalf("followed %d bytes: %v", len(got), err)
	}
	two := int64(2)
	if got, want := b.log(id, node.LogOptions{Tail: &two}), "line 999\nline 1000\n"; got != want {
		b.Errorf("tail is %q", got)
	}
	one := int64(1)
	stamp, text, found := strings.Cut(b.log(id, node.LogOptions{Tail: &one, Timestamps: true}), " ")
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil || !found || text != "line 1000\n" {
		b.Errorf("line with its time is %q %q: %v", stamp, text, err)
	}
	if got := b.log(id, node.LogOptions{Since: at.Add(time.Hour)}); got != "" {
		b.Errorf("log since later is %q", got)
	}
	if err := b.Stop(b.Context(), id, time.Hour); err != nil {
		b.Fatal(err)
	}
	if rest, err := io.ReadAll(follow); err != nil || len(rest) != 0 {
		b.Errorf("after the end come %q, %v", rest, err)
	}
}

func exec(b *bench) {
	p := b.pod()
	id := b.start(b.container(p, "forever"))
	try := func(stdin io.Reader, command ...string) (int, string, string, error) {
		var out, errs bytes.Buffer
		code, err := b.Runtime.Exec(b.Context(), id, command, remotecommand.StreamOptions{Stdin: stdin, Stdout: &out, Stderr: &errs})
		return code, out.String(), errs.String(), err
	}
	if code, out, errs, err := try(nil, "/program", "both"); code != 0 || out != "to stdout\n" || errs != "to stderr\n" || err != nil {
		b.Errorf("exec: %d %q %q %v", code, out, errs, err)
	}
	if code, _, _, err := try(nil, "/program", "exit", "5"); code != 5 || err != nil {
		b.Errorf("exec of exit 5: %d %v", code, err)
	}
	if code, out, _, err := try(strings.NewReader("over and back"), "/program", "echo"); code != 0 || out != "over and back" || err != nil {
		b.Errorf("exec of echo: %d %q %v", code, out, err)
	}
	if code, _, _, err := try(nil, "/missing"); err == nil && code < 126 {
		b.Errorf("exec of what is not there: %d", code)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() {
		_, err := b.Runtime.Exec(ctx, id, []string{"/program", "forever"}, remotecommand.StreamOptions{Stdout: io.Discard})
		done <- err
	}()
	cancel()
	_ = b.ended("a command whose context has ended", done) // how it ends depends on how far it had come
}

func attach(b *bench) {
	p := b.pod()
	id := b.start(b.container(p, "forever"))
	b.listens(id, "forever") // what a first process is sent before it listens is lost
	ended := make(chan error, 1)
	go func() {
		ended <- b.Runtime.Attach(b.Context(), id, remotecommand.StreamOptions{Stdout: io.Discard, Stderr: io.Discard})
	}()
	if err := b.Stop(b.Context(), id, time.Hour); err != nil {
		b.Fatal(err)
	}
	_ = b.ended("attaching to what has ended", ended) // it may find that there is nothing to attach to
}

// dial reaches pods that all serve on the same port, each by itself.
func dial(b *bench) {
	first, second := b.pod(), b.pod()
	for _, p := range []node.Sandbox{first, second} {
		b.start(b.container(p, "serve", "80"))
	}
	get := func(p node.Sandbox, path string) (string, error) {
		client := &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return b.Runtime.Dial(ctx, p.UID, 80) },
		}}
		request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://pod"+path, nil)
		if err != nil {
			return "", err
		}
		answer, err := client.Do(request)
		if err != nil {
			return "", err
		}
		defer answer.Body.Close()
		data, err := io.ReadAll(answer.Body)
		return string(data), err
	}
	for i, p := range []node.Sandbox{first, second} {
		want := fmt.Sprintf("GET /%d\n", i)
		for {
			got, err := get(p, fmt.Sprintf("/%d", i))
			if got == want {
				break
			}
			if err == nil || b.Context().Err() != nil {
				b.Fatalf("pod %d says %q, %v", i, got, err)
			}
			<-tick() // it does not listen yet
		}
	}
	if c, err := b.Runtime.Dial(b.Context(), first.UID, 81); err == nil {
		b.Errorf("a port that nobody listens on was reached: %v", c.Close())
	}
	if err := b.RemovePod(b.Context(), second.UID); err != nil {
		b.Fatal(err)
	}
	if c, err := b.Runtime.Dial(b.Context(), second.UID, 80); err == nil {
		b.Errorf("a pod that is gone was reached: %v", c.Close())
	}
}

func images(b *bench) {
	if _, ok, err := b.Image(b.Context(), b.Served); ok || err != nil {
		b.Errorf("an image that was not pulled is present: %v, %v", ok, err)
	}
	pulled, err := b.Pull(b.Context(), b.Served, nil)
	if err != nil {
		b.Fatal(err)
	}
	if !strings.Contains(pulled.Digest, "@sha256:") || pulled.ID == "" || pulled.Size <= 0 {
		b.Errorf("pulled %+v", pulled)
	}
	if found, ok, err := b.Image(b.Context(), b.Served); !ok || err != nil || found != pulled {
		b.Errorf("found %+v, %v, %v; pulled %+v", found, ok, err, pulled)
	}
	if _, err := b.Pull(b.Context(), b.Guarded, []node.Credential{{Username: "nobody", Password: "wrong"}, b.Credential}); err != nil {
		b.Errorf("pull with the right credential in the second place: %v", err)
	}
	for name, c := range map[string]struct {
		ref         string
		credentials []node.Credential
		class       image.Class
	}{
		"missing":          {b.Missing, nil, image.NotFound},
		"anonymous":        {b.Guarded, nil, image.Denied},
		"wrong credential": {b.Guarded, []node.Credential{{Username: "nobody", Password: "wrong"}}, image.Denied},
		"registry down":    {b.Down, nil, image.Network},
	} {
		_, err := b.Pull(b.Context(), c.ref, c.credentials)
		if pull, ok := errors.AsType[*image.PullError](err); !ok || pull.Class != c.class {
			b.Errorf("%s: pull: %v (%T), want class %s", name, err, err, c.class)
		} else if strings.Contains(pull.Error(), "wrong") {
			b.Errorf("%s: the error tells the password: %v", name, err)
		}
	}
}
