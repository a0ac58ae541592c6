//go:build linux

package kubectl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/belay-dev/belay/reconciler/node/image"
)

const (
	// userVariable has a run of this binary, in a mount namespace of its own, go on as that user, for whom the device of
	// tunVariable is the machine's.
	userVariable = "BELAY_TEST_USER"
	tunVariable  = "BELAY_TEST_TUN"

	tunDevice = "/dev/net/tun"
)

// TestEmbeddedUser runs the scripts under load as a user who may nothing, but for opening the machine's tun device, as
// common machines have it.
func TestEmbeddedUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root to become somebody else")
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "user-") //nolint:usetesting // which others may not enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := image.RemoveTree(dir); err != nil {
			t.Error(err)
		}
	})
	own, test, tun := filepath.Join(dir, "tmp"), filepath.Join(dir, "kubectl.test"), filepath.Join(dir, "tun")
	copies := map[string]string{
		"/proc/self/exe":                                         test,
		built(t, "belay-shim", "cmd/belay-shim"):                 filepath.Join(dir, "belay-shim"),
		built(t, "program", "reconciler/node/conformance/image"): filepath.Join(dir, "program"),
	}
	err = errors.Join(os.Chmod(dir, 0o755), os.Mkdir(own, 0o755), os.Chown(own, nobody, nobody))
	if raced {
		twin, lookErr := exec.LookPath("kubectl")
		err = errors.Join(err, lookErr, os.Mkdir(filepath.Join(dir, "twin"), 0o755))
		copies[twin] = filepath.Join(dir, "twin", "belay")
	}
	for from, to := range copies {
		err = errors.Join(err, duplicate(from, to))
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, test, "-test.v", "-test.count=1", "-test.run=^TestEmbedded$", "-rounds="+strconv.Itoa(*rounds))
	cmd.WaitDelay = time.Minute
	cmd.Env = []string{
		"TMPDIR=" + own, "PATH=" + os.Getenv("PATH"), binariesVariable + "=" + dir, userVariable + "=" + strconv.Itoa(nobody),
		"REQUIRE_NAMESPACES=" + os.Getenv("REQUIRE_NAMESPACES"),
	}
	if unix.Mknod(tun, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200))) == nil && os.Chmod(tun, 0o666) == nil { //nolint:gosec // a device
		cmd.Env = append(cmd.Env, tunVariable+"="+tun)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// duplicate copies a program.
func duplicate(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	// A program that another test starts meanwhile would hold this one open for writing, and it could not be run.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(to, data, 0o755)
}

// become goes on as another user, where it is asked for.
func become() error {
	text := os.Getenv(userVariable)
	if text == "" {
		return nil
	}
	user, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if tun := os.Getenv(tunVariable); err == nil && tun != "" {
		err = unix.Mount(tun, tunDevice, "", unix.MS_BIND, "")
	}
	err = errors.Join(err, os.Unsetenv(userVariable), syscall.Setgroups(nil), syscall.Setgid(user), syscall.Setuid(user))
	if err == nil {
		err = syscall.Exec(os.Args[0], os.Args, os.Environ()) // the process is root's, to the kernel, until then
	}
	return fmt.Errorf("become user %d: %w", user, err)
}
