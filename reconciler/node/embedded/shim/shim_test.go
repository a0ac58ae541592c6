//go:build linux

package shim_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/belay-dev/belay/reconciler/node/embedded/shim"
)

func TestPod(t *testing.T) {
	t.Parallel()
	p := newPod(t, "web-1")

	st, out := p.run("all", `echo $WHO $$ $(hostname 2>/dev/null || cat /proc/sys/kernel/hostname); echo wrong >&2; pwd; id -u; exit 7`,
		func(c *shim.Container) { c.Dir = "/srv/here" })
	if st.ExitCode != 7 || st.Signal != 0 || st.Phase != shim.Exited || st.Finished.Before(st.Started) {
		t.Errorf("status %+v", st)
	}
	if want := "stderr wrong\nstdout all 1 web-1\nstdout /srv/here\nstdout 0"; out != want {
		t.Errorf("output\n%s\nwant\n%s", out, want)
	}

	// What a container may see and do.
	_, out = p.run("inside", `
		ls /proc | grep -c '^[0-9]' ; ls / | tr '\n' ' '; echo
		grep CapBnd /proc/self/status
		grep SigIgn /proc/self/status
		cat /proc/kcore | wc -c
		echo 1 > /proc/sys/kernel/hostname 2>/dev/null || echo protected
		echo x > /usr/x 2>/dev/null || echo read-only
		echo x > /x && cat /x
		ls -l /dev/stdout >/dev/null && echo to-stdout > /dev/stdout
		cat /mounted/file; echo more >> /mounted/file; ls /memory && echo y > /memory/y && cat /memory/y
		ip link 2>/dev/null | grep -c eth || true`,
		func(c *shim.Container) {
			mounted := filepath.Join(p.dir, "mounted")
			if err := os.Mkdir(mounted, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(mounted, "file"), []byte("given\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			c.Mounts = append(c.Mounts, shim.Mount{Source: mounted, Target: "/mounted"}, shim.Mount{Target: "/memory", Size: 1 << 20})
		})
	lines := strings.Split(out, "\n")
	for _, want := range []string{
		"stdout CapBnd:\t00000000a80425fb", "stdout SigIgn:\t0000000000000000", "stdout 0", "stdout protected", "stdout read-only", "stdout x", "stdout to-stdout", "stdout given", "stdout y",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %q in\n%s", want, out)
		}
	}
	for _, secret := range []string{"root", "home", "tmp"} {
		if slices.Contains(strings.Fields(lines[1]), secret) {
			t.Errorf("sees the machine's /%s: %s", secret, lines[1])
		}
	}
	if text, err := os.ReadFile(filepath.Join(p.dir, "mounted", "file")); err != nil || string(text) != "given\nmore\n" {
		t.Errorf("mounted file %q, %v", text, err)
	}
	if entries, err := os.ReadDir(filepath.Join(p.dir, "rootfs")); err != nil || slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == "x" }) {
		t.Errorf("the image was written to: %v, %v", entries, err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	p := newPod(t, "web-1")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"missing"}, `exec: "missing": executable file not found in $PATH`},
		{[]string{"/bin/missing"}, `exec: "/bin/missing": stat /bin/missing: no such file or directory`},
		{[]string{"/usr"}, `exec: "/usr": stat /usr: is a directory`},
	} {
		st := p.start(p.container("bad", c.args...))
		if st.Phase != shim.Refused || st.Message != c.want {
			t.Errorf("%v: %+v, want %q", c.args, st, c.want)
		}
	}
	// A container that could not start leaves its name free, and those beside it alone.
	if st, out := p.run("bad", "echo fine", nil); st.ExitCode != 0 || out != "stdout fine" {
		t.Errorf("%+v\n%s", st, out)
	}
}

func TestSignals(t *testing.T) {
	t.Parallel()
	p := newPod(t, "web-1")
	p.begin("polite", `trap 'exit 3' TERM; echo ready > /here; while :; do sleep 0.05; done`, nil)
	p.begin("deaf", `trap '' TERM; (sleep 1000 &) ; echo ready > /here; while :; do sleep 0.05; done`, nil)
	for _, name := range []string{"polite", "deaf"} {
		if err := p.client.Signal(t.Context(), name, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	if st := p.ended("polite"); st.ExitCode != 3 {
		t.Errorf("polite: %+v", st)
	}
	if err := p.client.Signal(t.Context(), "deaf", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if st := p.ended("deaf"); st.ExitCode != 137 || st.Signal != 9 {
		t.Errorf("deaf: %+v", st)
	}
	if err := p.client.Signal(t.Context(), "deaf", syscall.SIGKILL); err != nil {
		t.Errorf("one that ended: %v", err)
	}
	if err := p.client.Signal(t.Context(), "nobody", syscall.SIGKILL); err == nil {
		t.Error("no error for a container that is not there")
	}
	if err := p.client.Remove(t.Context(), "deaf"); err != nil {
		t.Error(err)
	}
	states, err := p.client.States(t.Context())
	if err != nil || len(states) != 1 || states[0].Name != "polite" {
		t.Errorf("%+v, %v", states, err)
	}
}

// TestDial: two pods listen on the same port of their own, and each is reached as itself.
func TestDial(t *testing.T) {
	t.Parallel()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		p := newPod(t, name)
		if _, err := p.client.DialPort(t.Context(), 80); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("nobody listens: %v", err)
		}
		c := p.container("web", "/test")
		c.Mounts = append(c.Mounts, shim.Mount{Source: binary, Target: "/test", ReadOnly: true})
		c.Env = append(c.Env, "SHIM_TEST_SERVE="+name)
		here := p.signpost(&c)
		p.start(c)
		here()
		conn, err := p.client.DialPort(t.Context(), 80)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(conn)
		_ = conn.Close()
		if err != nil || string(text) != name {
			t.Errorf("pod %s answered %q, %v", name, text, err)
		}
	}
}

func TestExec(t *testing.T) {
	t.Parallel()
	p := newPod(t, "web-1")
	p.begin("web", "echo ready > /here; exec sleep 1000", nil)
	in, inOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outIn, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inOut.WriteString("hello\n"); err != nil {
		t.Fatal(err)
	}
	_ = inOut.Close()
	script := `read line; echo $WHO $line; grep CapBnd /proc/self/status; cat /proc/1/cmdline | tr '\0' ' '; exit 5`
	code, err := p.client.Exec(t.Context(), shim.Exec{Container: "web", Args: []string{"sh", "-c", script}}, in, out, out)
	_ = out.Close()
	if err != nil || code != 5 {
		t.Errorf("exit code %d, %v", code, err)
	}
	text, err := io.ReadAll(outIn)
	if want := "web hello\nCapBnd:\t00000000a80425fb\nsleep 1000 "; err != nil || string(text) != want {
		t.Errorf("output %q, %v", text, err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	if _, err := p.client.Exec(t.Context(), shim.Exec{Container: "web", Args: []string{"missing"}}, null, null, null); err == nil || !strings.Contains(err.Error(), "not found in $PATH") {
		t.Errorf("a missing program: %v", err)
	}

	// One that is given up is killed, and the container is not.
	ctx, cancel := context.WithCancel(t.Context())
	begun, begin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	given := make(chan error, 1)
	go func() {
		_, err := p.client.Exec(ctx, shim.Exec{Container: "web", Args: []string{"sh", "-c", "echo begun; exec sleep 1000"}}, null, begin, null)
		given <- err
	}()
	if line, err := bufio.NewReader(begun).ReadString('\n'); err != nil || line != "begun\n" {
		t.Fatalf("%q, %v", line, err)
	}
	cancel()
	if err := <-given; !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	_ = begin.Close()
	if _, err := begun.Read(make([]byte, 1)); !errors.Is(err, io.EOF) { // its last process has ended
		t.Errorf("still there: %v", err)
	}
	if states, err := p.client.States(t.Context()); err != nil || states[0].Phase != shim.Running {
		t.Errorf("%+v, %v", states, err)
	}
}

func TestAttach(t *testing.T) {
	t.Parallel()
	p := newPod(t, "web-1")
	c := p.container("cat", "sh", "-c", "while read line; do echo got $line; done; echo end")
	c.Stdin, c.StdinOnce = true, true
	p.start(c)
	in, inOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outIn, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.client.Attach(t.Context(), "cat", in, out, out) }()
	if _, err := inOut.WriteString("one\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(outIn).ReadString('\n'); err != nil || line != "got one\n" {
		t.Errorf("%q, %v", line, err)
	}
	_ = inOut.Close()
	if err := <-done; err != nil {
		t.Errorf("attach: %v", err)
	}
	if st := p.ended("cat"); st.ExitCode != 0 {
		t.Errorf("%+v", st)
	}
	if out := p.logged(c); out != "stdout got one\nstdout end" {
		t.Errorf("log\n%s", out)
	}
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	p := newPod(t, "web-1")
	c := p.begin("tty", `test -t 0 && test -t 1 && echo terminal > /here; read line; stty size`,
		func(c *shim.Container) { c.Stdin, c.TTY = true, true })
	if err := p.client.Resize(t.Context(), "tty", 40, 120); err != nil {
		t.Fatal(err)
	}
	in, inOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inOut.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	if err := p.client.Attach(t.Context(), "tty", in, null, null); err != nil {
		t.Fatal(err)
	}
	if st := p.ended("tty"); st.ExitCode != 0 {
		t.Errorf("%+v", st)
	}
	if out := p.logged(c); !strings.Contains(out, "stdout 40 120\r") {
		t.Errorf("log\n%s", out)
	}
}

// TestOutlives: the shim goes on when the process that started it is killed, and a kill of the shim ends the pod.
func TestOutlives(t *testing.T) {
	t.Parallel()
	p := newPod(t, "web-1")
	c := p.container("web", "sh", "-c", "exec sleep 1000")
	p.start(c)
	if err := p.process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.process.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.client.States(t.Context()); !errors.Is(err, shim.ErrDead) {
		t.Errorf("got %v", err)
	}
	var kept []shim.Status
	text, err := os.ReadFile(filepath.Join(p.dir, shim.StateFile))
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil || len(kept) != 1 || kept[0].Name != "web" || kept[0].Phase != shim.Running {
		t.Errorf("kept %s, %v", text, err)
	}
}

// TestUnprivileged runs the tests above as a user who may nothing.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become somebody else")
	}
	t.Parallel()
	dir, err := os.MkdirTemp("", "shim-") //nolint:usetesting // others may enter it, as they may not the test's own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	text, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "shim.test")
	// A program that another test starts meanwhile would hold this one open for writing, and it could not be run.
	syscall.ForkLock.RLock()
	err = os.WriteFile(binary, text, 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(dir, "tmp")
	if err := os.Mkdir(own, 0o755); err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	if err := os.Chown(own, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "-test.v", "-test.count=1")
	cmd.Dir = own
	cmd.Env = []string{"TMPDIR=" + own, "PATH=" + os.Getenv("PATH"), "REQUIRE_NAMESPACES=" + os.Getenv("REQUIRE_NAMESPACES")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
