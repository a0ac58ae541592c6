//go:build linux

package shim_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-dev/belay/reconciler/node/embedded/shim"
)

// speak opens a connection to a shim, to say what no client of today does.
func speak(t *testing.T, dir string) *net.UnixConn {
	t.Helper()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), shim.Socket), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// answered is the shim's answer to a line with descriptors, as JSON.
func answered(t *testing.T, dir, line string, files ...*os.File) map[string]any {
	t.Helper()
	c := speak(t, dir)
	var rights []byte
	if len(files) > 0 {
		var fds []int
		for _, f := range files {
			fds = append(fds, int(f.Fd()))
		}
		rights = unix.UnixRights(fds...)
	}
	if _, _, err := c.WriteMsgUnix([]byte(line+"\n"), rights, nil); err != nil {
		t.Fatal(err)
	}
	text, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	var answer map[string]any
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("%s: %q: %v", line, text, err)
	}
	return answer
}

// TestFirstVersion: what a service of the first version says is understood, word for word, by the shims of today, and the
// answer has what it looks for.
func TestFirstVersion(t *testing.T) {
	t.Parallel()
	p := newPod(t, "web-1")
	c := p.container("web", "sh", "-c", "echo ready > /here; exec sleep 1000")
	here := p.signpost(&c)
	mounts, err := json.Marshal(c.Mounts)
	if err != nil {
		t.Fatal(err)
	}
	start := fmt.Sprintf(`{"version":1,"op":"start","container":{"name":"web","attempt":2,"rootfs":%q,"scratch":%q,"mounts":%s,`+
		`"log":%q,"args":["sh","-c","echo ready > /here; exec sleep 1000"],"env":["PATH=/usr/bin:/bin"],"dir":"/srv",`+
		`"capabilities":["CAP_CHOWN"],"noNewPrivileges":true}}`, c.Rootfs, c.Scratch, mounts, c.Log)
	status := func(answer any) map[string]any {
		t.Helper()
		out, ok := answer.(map[string]any)
		if !ok || out["name"] != "web" || out["attempt"] != 2.0 {
			t.Fatalf("status %v", answer)
		}
		return out
	}
	for range 2 { // asked again, it is not started again
		if got := status(answered(t, p.dir, start)["status"]); got["phase"] != "running" || got["started"] == nil {
			t.Errorf("started as %v", got)
		}
	}
	here()
	states, _ := answered(t, p.dir, `{"version":1,"op":"state"}`)["states"].([]any)
	if len(states) != 1 || status(states[0])["phase"] != "running" {
		t.Errorf("states %v", states)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	exec := `{"version":1,"op":"exec","exec":{"container":"web","args":["sh","-c","exit 5"]}}`
	if got := answered(t, p.dir, exec, null, null, null); got["exitCode"] != 5.0 || got["error"] != nil {
		t.Errorf("exec: %v", got)
	}
	if got := answered(t, p.dir, `{"version":1,"op":"dial","port":81}`); got["error"] == nil || got["errno"] != float64(syscall.ECONNREFUSED) {
		t.Errorf("dial: %v", got)
	}
	watch := speak(t, p.dir)
	if _, err := io.WriteString(watch, `{"version":1,"op":"watch"}`+"\n"); err != nil {
		t.Fatal(err)
	}
	told := bufio.NewScanner(watch)
	if !told.Scan() || !strings.Contains(told.Text(), `"phase":"running"`) {
		t.Errorf("watch: %q, %v", told.Text(), told.Err())
	}
	if got := answered(t, p.dir, `{"version":1,"op":"signal","name":"web","signal":9}`); got["error"] != nil {
		t.Errorf("signal: %v", got)
	}
	if !told.Scan() || !strings.Contains(told.Text(), `"exitCode":137,"signal":9`) {
		t.Errorf("watch: %q, %v", told.Text(), told.Err())
	}
	if got := answered(t, p.dir, `{"version":1,"op":"remove","name":"web"}`); got["error"] != nil {
		t.Errorf("remove: %v", got)
	}
	c2 := speak(t, p.dir)
	if _, err := io.WriteString(c2, `{"version":1,"op":"shutdown"}`+"\n"); err != nil {
		t.Fatal(err)
	}
	if n, err := c2.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("shutdown: %d, %v", n, err)
	}
}

// TestStranger: what a shim does not understand it says so, and its pod goes on.
func TestStranger(t *testing.T) {
	t.Parallel()
	p := newPod(t, "web-1")
	p.begin("web", "echo ready > /here; exec sleep 1000", nil)
	got := answered(t, p.dir, `{"version":99,"op":"teleport","to":{"the":["moon"]}}`)
	if got["unknown"] != true || got["error"] != `unknown request "teleport"` || got["version"] != float64(shim.Version) {
		t.Errorf("a request of the future: %v", got)
	}
	if got := answered(t, p.dir, `{"version":99,"op":"state","more":1}`); got["error"] != nil || got["states"] == nil {
		t.Errorf("more is asked than it knows: %v", got)
	}
	for _, line := range []string{
		`{"op":"start"}`, `{"op":"start","container":{"name":"x"}}`, `{"op":"exec"}`, `{"op":"exec","exec":{"container":"web","args":["sh"]}}`,
		`{"op":"attach","name":"web"}`, `{"op":"attach"}`, `{"op":"resize","name":"web","rows":1}`, `{"op":"dial","port":-1}`, `{"op":"signal"}`,
		`{}`, `null`,
	} {
		if got := answered(t, p.dir, line); got["error"] == nil {
			t.Errorf("%s: %v", line, got)
		}
	}
	for _, line := range []string{"\x00\x01\x02\n", "[1,2]\n", "GET / HTTP/1.1\r\n\r\n", `{"op":`, strings.Repeat("x", 5<<20) + "\n"} {
		c := speak(t, p.dir)
		_, _ = io.WriteString(c, line) // it may hang up before the end
		if err := c.CloseWrite(); err != nil && !errors.Is(err, unix.ENOTCONN) {
			t.Fatal(err)
		}
		if text, _ := io.ReadAll(c); len(text) != 0 {
			t.Errorf("%.20q is answered %q", line, text)
		}
	}
	states, err := p.client.States(t.Context())
	if err != nil || len(states) != 1 || states[0].Phase != shim.Running {
		t.Errorf("the pod is %+v, %v", states, err)
	}
	if v, err := p.client.Version(t.Context()); v != shim.Version || err != nil {
		t.Errorf("version %d, %v", v, err)
	}
}

// TestWhileStarting: a service that was killed while a container was started is followed by one that asks about it.
func TestWhileStarting(t *testing.T) {
	t.Parallel()
	p := newPod(t, "web-1")
	c := p.container("web", "sh", "-c", "exec sleep 1000")
	if err := unix.Mkfifo(c.Log, 0o600); err != nil { // it cannot be opened, nor the container started, before somebody reads
		t.Fatal(err)
	}
	started := make(chan error, 1)
	go func() {
		_, err := p.client.Start(t.Context(), c)
		started <- err
	}()
	for states := []shim.Status(nil); len(states) == 0; {
		var err error
		if states, err = p.client.States(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	asked := []*net.UnixConn{}
	for _, line := range []string{`{"version":1,"op":"attach","name":"web"}`, `{"version":1,"op":"signal","name":"web","signal":9}`} {
		conn := speak(t, p.dir)
		if _, err := io.WriteString(conn, line+"\n"); err != nil {
			t.Fatal(err)
		}
		asked = append(asked, conn)
	}
	if _, err := p.client.States(t.Context()); err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(c.Log, os.O_RDWR, 0) // also when nobody writes any more
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	for _, conn := range asked {
		if text, err := io.ReadAll(conn); err != nil || len(text) == 0 || strings.Contains(string(text), "defect") {
			t.Fatalf("answered %q, %v", text, err)
		}
	}
	if st := p.ended("web"); st.Signal != 9 {
		t.Errorf("%+v", st)
	}
}

// TestOlderShim: a shim of the first version does not say so, and does not know all: that is told, and is not taken for its
// death.
func TestOlderShim(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	l, err := net.Listen("unix", filepath.Join(fmt.Sprintf("/proc/self/fd/%d", d.Fd()), shim.Socket))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(c).ReadString('\n')
			answer := `{"states":[{"name":"web","attempt":0,"phase":"running"}]}`
			if !strings.Contains(line, `"op":"state"`) {
				answer = `{"error":"unknown request \"something\""}`
			}
			_, _ = io.WriteString(c, answer+"\n")
			_ = c.Close()
		}
	}()
	c := shim.Client{Dir: dir}
	if v, err := c.Version(t.Context()); v != 1 || err != nil {
		t.Errorf("version %d, %v", v, err)
	}
	if states, err := c.States(t.Context()); err != nil || len(states) != 1 || states[0].Name != "web" {
		t.Errorf("%+v, %v", states, err)
	}
	for name, err := range map[string]error{
		"resize": c.Resize(t.Context(), "web", 1, 1),
		"watch":  c.Watch(t.Context(), func(s []shim.Status) { t.Errorf("told %v", s) }),
	} {
		old, ok := errors.AsType[*shim.VersionError](err)
		if !ok || errors.Is(err, shim.ErrDead) || old.Shim != 1 || old.Asked != name || old.Hint() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
