package source

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pushEnv makes the test binary, with killEnv, push a change of that name, or be killed.
const pushEnv = "BELAY_TEST_PUSH"

// once makes the change of a name, unless it is there.
func once(w *Writer, name string) func(context.Context, *Snapshot) (*Proposal, error) {
	return func(ctx context.Context, s *Snapshot) (*Proposal, error) {
		tree, err := s.Tree(s.Head())
		if err != nil {
			return nil, err
		}
		if text, err := tree.ReadFile("f"); err != nil || string(text) == name {
			return nil, err
		}
		return plain(w, "f", name, "change "+name)(ctx, s)
	}
}

// pushing is a process that pushes a change.
func pushing(t *testing.T, cfg Config, name string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestKilledAmidAPush$")
	cmd.Env = append(os.Environ(), killEnv+"="+cfg.Dir, killEnv+"_URL="+cfg.URL, killEnv+"_KEY="+cfg.Auth.KeyFile,
		killEnv+"_HOSTS="+cfg.Auth.KnownHostsFile, pushEnv+"="+name)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// whole checks that the change of a name is pushed once, after whoever pushed it first was killed, with nothing broken.
func whole(t *testing.T, r *repo, cfg Config, name string) {
	t.Helper()
	m := openMirror(t, cfg)
	defer m.Close()
	w := m.Writer(Push{})
	err := fmt.Errorf("not tried")
	for i := 0; i < 100 && err != nil; i++ {
		if _, err = w.Land(t.Context(), once(w, name)); err != nil {
			wantKind(t, err, KindServer) // the server may still move the branch for the one that was killed
		}
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if n := strings.Count(r.git("", "log", "--format=%s", "main")+"\n", "change "+name+"\n"); n != 1 {
		t.Errorf("%s is in the history %d times", name, n)
	}
	sound(t, r)
	fsck(t, cfg.Dir)
}

// A push that is killed while the remote takes it is in the history whole, or not at all; who comes after it makes it once.
func TestKilledAmidAPush(t *testing.T) {
	if dir := os.Getenv(killEnv); dir != "" {
		m := openMirror(t, Config{
			Name: "x", URL: os.Getenv(killEnv + "_URL"), Branch: "main", Dir: dir,
			Auth: Auth{KeyFile: os.Getenv(killEnv + "_KEY"), KnownHostsFile: os.Getenv(killEnv + "_HOSTS")},
		})
		w := m.Writer(Push{Timeout: time.Hour})
		if _, err := w.Land(t.Context(), once(w, os.Getenv(pushEnv))); err != nil {
			t.Error(err)
		}
		return
	}
	t.Parallel()
	for _, tr := range pushTransports[1:] {
		for _, hook := range []string{"pre-receive", "post-receive"} {
			t.Run(tr.name+" "+hook, func(t *testing.T) {
				t.Parallel()
				r := writable(t)
				r.commit("main", "first", map[string]string{"f": "0"})
				here, gate := fifo(t), fifo(t)
				r.hook(hook, "echo here >"+here.Name()+"; read x <"+gate.Name())
				cfg := tr.config(t, r)
				cmd := pushing(t, cfg, hook)
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					_ = cmd.Wait() // by the signal
					_, _ = here.WriteString("the process ended\n")
				}()
				if line, err := bufio.NewReader(here).ReadString('\n'); line != "here\n" || err != nil {
					t.Fatalf("before the hook: %q, %v", line, err)
				}
				_ = cmd.Process.Kill() // it waits for the hook
				<-ended
				remove(t, filepath.Join(r.dir, "hooks", hook)) // that of the next push
				if _, err := gate.WriteString("\n"); err != nil {
					t.Fatal(err)
				}
				whole(t, r, cfg, hook)
			})
		}
	}
}

// fifo makes a pipe with a name, open at both ends so that neither end waits for the other.
func fifo(t *testing.T) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() }) // nothing is lost with it
	return f
}
