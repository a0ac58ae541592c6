package docker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/docker"
)

// within bounds what a test asks of an engine.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Minute, errors.New("the engine does not come to an end"))
	t.Cleanup(cancel)
	return ctx
}

// sandboxOf runs a pod that is removed with the test.
func sandboxOf(ctx context.Context, t *testing.T, r *docker.Runtime, uid types.UID) {
	t.Helper()
	t.Cleanup(func() {
		if err := r.RemovePod(context.WithoutCancel(ctx), uid); err != nil {
			t.Error(err)
		}
	})
	if _, err := r.RunPod(ctx, node.Sandbox{UID: uid, Namespace: "default", Name: string(uid), Hostname: "seen-inside"}); err != nil {
		t.Fatal(err)
	}
}

// inside runs a container to its end and returns what it said.
func inside(ctx context.Context, t *testing.T, r *docker.Runtime, c node.Container) string {
	t.Helper()
	id, err := r.Start(ctx, c)
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	return followed(ctx, t, r, id)
}

// followed is what a container writes until its end.
func followed(ctx context.Context, t *testing.T, r *docker.Runtime, id string) string {
	t.Helper()
	logs, err := r.Logs(ctx, id, node.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	said, err := io.ReadAll(logs)
	if err != nil {
		t.Fatal(err)
	}
	return string(said)
}

// What the kernel calls capabilities, by their bits.
const (
	chown          = 1 << 0
	netBindService = 1 << 10
	sysAdmin       = 1 << 21
)

// TestSecurityInside looks from inside of containers at what they may do.
func TestSecurityInside(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a directory to a group takes root")
	}
	r, ctx := open(t), within(t)
	ref := present(t, r)
	img, _, err := r.Image(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	sandboxOf(ctx, t, r, "security-inside")
	dir := t.TempDir()
	if err := errors.Join(os.Chown(dir, 0, 4321), os.Chmod(dir, 0o2770|os.ModeSetgid)); err != nil {
		t.Fatal(err)
	}
	n := 0
	run := func(s node.Security, args ...string) string {
		t.Helper()
		n++
		return inside(ctx, t, r, node.Container{
			Pod: "security-inside", Name: fmt.Sprint("c", n), Ref: ref, Image: img.ID, Args: args, Security: s,
			Mounts: []node.Mount{{Source: dir, Target: "/group"}},
		})
	}
	status := func(s node.Security) func(field string) string {
		t.Helper()
		said := run(s, "cat", "/proc/self/status")
		return func(field string) string {
			for line := range strings.Lines(said) {
				if name, value, ok := strings.Cut(line, ":"); ok && name == field {
					return strings.Join(strings.Fields(value), " ")
				}
			}
			t.Errorf("there is no %s in %q", field, said)
			return ""
		}
	}
	is := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	caps := func(field string) uint64 {
		t.Helper()
		mask, err := strconv.ParseUint(field, 16, 64)
		if err != nil {
			t.Error(err)
		}
		return mask
	}

	plain := status(node.Security{})
	is("user without a word", plain("Uid"), "0 0 0 0")
	if info, err := engine(t).Info(ctx, client.InfoOptions{}); err != nil {
		t.Error(err)
	} else if slices.ContainsFunc(info.Info.SecurityOptions, func(o string) bool { return strings.Contains(o, "seccomp") }) {
		is("seccomp without a word", plain("Seccomp"), "2")
	}
	is("no new privileges without a word", plain("NoNewPrivs"), "0")
	if mask := caps(plain("CapEff")); mask&chown == 0 || mask&sysAdmin != 0 {
		t.Errorf("capabilities without a word: %x", mask)
	}
	user := status(node.Security{User: "1234:5678", Groups: []int64{4321, 99}, NoNewPrivilege: true})
	is("runAsUser", user("Uid"), "1234 1234 1234 1234")
	is("runAsGroup", user("Gid"), "5678 5678 5678 5678")
	if groups := " " + user("Groups") + " "; !strings.Contains(groups, " 4321 ") || !strings.Contains(groups, " 99 ") {
		t.Errorf("groups are %q", groups)
	}
	is("allowPrivilegeEscalation: false", user("NoNewPrivs"), "1")
	is("capabilities of a user", user("CapEff"), "0000000000000000")
	none := status(node.Security{DropCaps: []string{"ALL"}})
	is("capabilities.drop ALL", none("CapBnd"), "0000000000000000")
	one := status(node.Security{DropCaps: []string{"ALL"}, AddCaps: []string{"NET_BIND_SERVICE"}})
	is("capabilities.add", one("CapEff"), fmt.Sprintf("%016x", netBindService))
	if mask := caps(status(node.Security{DropCaps: []string{"CHOWN"}})("CapEff")); mask&chown != 0 || mask&netBindService == 0 {
		t.Errorf("without CHOWN the capabilities are %x", mask)
	}
	is("seccomp Unconfined", status(node.Security{Unconfined: true})("Seccomp"), "0")
	if said := run(node.Security{ReadOnlyRoot: true}, "write", "/made", "x"); !strings.Contains(said, "read-only file system") {
		t.Errorf("readOnlyRootFilesystem: %q", said)
	}
	is("a root file system that may be written", run(node.Security{}, "write", "/made", "x"), "")
	is("fsGroup", run(node.Security{User: "1234:5678", Groups: []int64{4321}}, "write", "/group/made", "x"), "")
	if said := run(node.Security{User: "1234:5678"}, "write", "/group/other", "x"); !strings.Contains(said, "permission denied") {
		t.Errorf("without the group: %q", said)
	}
	is("host name", run(node.Security{}, "cat", "/proc/sys/kernel/hostname"), "seen-inside\n")
	if _, err := os.Stat(filepath.Join(dir, "made")); err != nil {
		t.Error(err)
	}

	id, err := r.Start(ctx, node.Container{
		Pod: "security-inside", Name: "privileged", Ref: ref, Image: img.ID, Args: []string{"cat", "/proc/self/status"},
		Security: node.Security{Privileged: true},
	})
	if err != nil && strings.Contains(err.Error(), "apply caps") {
		t.Log("privileged was not tried, because the engine has not all capabilities itself: ", err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	said := followed(ctx, t, r, id)
	if !strings.Contains(said, "Seccomp:\t0\n") {
		t.Errorf("privileged: %s", said)
	}
}
