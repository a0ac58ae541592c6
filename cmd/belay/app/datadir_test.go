package app

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// holdVariable makes TestMain take the lock it names, say so, and end when its input ends.
const holdVariable = "BELAY_TEST_HOLD_DATA_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdVariable); dir != "" {
		if _, err := LockDataDir(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("locked")
		bufio.NewScanner(os.Stdin).Scan()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Not parallel, nor are its subtests: the environment is the input.
func TestDataDir(t *testing.T) {
	home := t.TempDir()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		flag, env, xdg, home string
		want                 string
	}{
		"flag first":                 {"/a", "/b", "/c", home, "/a"},
		"relative flag":              {"a", "", "", home, filepath.Join(wd, "a")},
		"then the variable":          {"", "/b", "/c", home, "/b"},
		"then the state directory":   {"", "", "/c", home, "/c/belay"},
		"relative XDG_STATE_HOME":    {"", "", "c", home, home + "/.local/state/belay"},
		"then below the home":        {"", "", "", home, home + "/.local/state/belay"},
		"no home needed with a flag": {"/a", "", "", "", "/a"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv(dataDirVariable, tt.env)
			t.Setenv("XDG_STATE_HOME", tt.xdg)
			t.Setenv("HOME", tt.home)
			if got, err := DataDir(tt.flag); err != nil || got != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
	t.Run("nothing at all", func(t *testing.T) {
		t.Setenv(dataDirVariable, "")
		t.Setenv("XDG_STATE_HOME", "")
		t.Setenv("HOME", "")
		if got, err := DataDir(""); err == nil || hintOf(err) == "" {
			t.Errorf("got %q, %v (hint %q), want an error with a hint", got, err, hintOf(err))
		}
	})
}

func TestLockDataDir(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state", "belay")
	l, err := LockDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	wantMode(t, dir, 0o700)
	wantMode(t, filepath.Join(dir, lockFile), 0o600)

	_, err = LockDataDir(dir)
	wantInUse(t, err, dir, os.Getpid())

	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	l, err = LockDataDir(dir)
	if err != nil {
		t.Fatalf("a released directory is still locked: %v", err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestLockDataDirAgainstAnotherProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// What a holder with a longer pid left behind.
	left := map[string]string{lockFile: "4194304999\n", serviceFile: `{"pid": 4194304}`, serviceFile + ".17.tmp": "{"}
	for name, text := range left {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), holdVariable+"="+dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "locked\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}

	_, err = LockDataDir(dir)
	wantInUse(t, err, dir, cmd.Process.Pid)
	if got, err := os.ReadFile(filepath.Join(dir, lockFile)); string(got) != strconv.Itoa(cmd.Process.Pid)+"\n" {
		t.Errorf("the lock file holds %q, %v", got, err)
	}
	for _, name := range []string{serviceFile, serviceFile + ".17.tmp"} {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of a dead holder is still there (%v)", name, err)
		}
	}

	// A killed holder needs no clearing up.
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the other process ended by itself")
	}
	l, err := LockDataDir(dir)
	if err != nil {
		t.Fatalf("locked after its holder was killed: %v", err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestLockDataDirRefusals(t *testing.T) {
	t.Parallel()
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := LockDataDir(open); err == nil || hintOf(err) == "" {
		t.Errorf("a directory that everyone may write to: got %v (hint %q), want an error with a hint", err, hintOf(err))
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LockDataDir(file); err == nil || !strings.HasPrefix(err.Error(), "data directory: ") {
		t.Errorf("a file: got %v", err)
	}

	// A holder that has not written its pid yet.
	dir := t.TempDir()
	l, err := LockDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, lockFile), 0); err != nil {
		t.Fatal(err)
	}
	_, err = LockDataDir(dir)
	wantInUse(t, err, dir, 0)
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestService(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := ReadService(dir)
	var absent *NotRunningError
	if !errors.As(err, &absent) || absent.Dir != dir || hintOf(err) == "" {
		t.Fatalf("without a service: got %v (hint %q)", err, hintOf(err))
	}

	want := Service{PID: 17, Socket: dir + "/belay.sock"}
	if err := writeService(dir, want, nil); err != nil {
		t.Fatal(err)
	}
	wantMode(t, filepath.Join(dir, serviceFile), 0o600)
	text, err := os.ReadFile(filepath.Join(dir, serviceFile))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("{\n  \"pid\": 17,\n  \"socket\": \""+want.Socket+"\"\n}\n", string(text)); diff != "" {
		t.Errorf("service.json: absent fields are left out (-want +got):\n%s", diff)
	}

	want.Address, want.Kubeconfig = "127.0.0.1:7443", dir+"/kubeconfig"
	if err := writeService(dir, want, nil); err != nil {
		t.Fatalf("the second time: %v", err)
	}
	got, err := ReadService(dir)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("read back: %v (-want +got):\n%s", err, diff)
	}

	for range 2 {
		if err := removeService(dir, nil); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}

	if err := os.WriteFile(filepath.Join(dir, serviceFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadService(dir); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, serviceFile)) {
		t.Errorf("a broken file: got %v, want an error that names it", err)
	}
	if err := writeService(filepath.Join(dir, "none"), want, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: got %v", err)
	}
}

func wantMode(t *testing.T, name string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s: mode %o, want %o", name, got, want)
	}
}

func wantInUse(t *testing.T, err error, dir string, pid int) {
	t.Helper()
	var used *InUseError
	if !errors.As(err, &used) || used.Dir != dir || used.PID != pid {
		t.Fatalf("got %v, want %v", err, &InUseError{Dir: dir, PID: pid})
	}
	if pid != 0 && !strings.Contains(used.Hint(), strconv.Itoa(pid)) {
		t.Errorf("the hint does not name the process: %s", used.Hint())
	}
}

func hintOf(err error) string {
	var h interface{ Hint() string }
	if !errors.As(err, &h) {
		return ""
	}
	return h.Hint()
}
