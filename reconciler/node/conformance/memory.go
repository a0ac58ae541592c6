package conformance

import (
	"strings"

	"github.com/belay-dev/belay/reconciler/node"
)

// memory has volumes in memory: shared by the containers of a pod, kept when they end, bounded.
func memory(b *bench) {
	if h, ok := b.Runtime.(node.MemoryHolder); !ok || !h.HoldsMemory() {
		b.Skip("this driver has no volumes in memory")
	}
	group := int64(4321)
	volumes, mounts := []node.MemoryVolume{{Name: "small", Size: 1 << 20}}, []node.Mount{{Memory: "small", Target: "/small"}}
	mounted := []string{" /small tmpfs ", "size=1024k"}
	if b.NoGroup == "" {
		volumes, mounts = append(volumes, node.MemoryVolume{Name: "group", GID: &group}), append(mounts, node.Mount{Memory: "group", Target: "/group"})
		mounted = append(mounted, " /group tmpfs ", "gid=4321")
	}
	p := b.pod(func(p *node.Sandbox) { p.Memory = volumes })
	try := func(name string, args ...string) (int32, string) {
		c := b.container(p, args...)
		c.Name, c.Mounts = name, mounts
		id := b.start(c)
		exit := b.over(p.UID, id).Exit
		return exit, b.log(id, node.LogOptions{})
	}
	if exit, said := try("write", "write", "/small/greeting", "hello"); exit != 0 {
		b.Fatalf("write: %d, %s", exit, said)
	}
	if exit, said := try("read", "cat", "/small/greeting"); exit != 0 || said != "hello" {
		b.Errorf("what another container wrote, which has ended: %d, %q", exit, said)
	}
	if exit, said := try("fill", "fill", "/small/much", "2000000"); exit == 0 || !strings.Contains(said, "no space left") {
		b.Errorf("more than the volume may hold: %d, %q", exit, said)
	}
	_, said := try("mounts", "cat", "/proc/self/mounts")
	for _, want := range mounted {
		if !strings.Contains(said, want) {
			b.Errorf("%q is not among what is mounted:\n%s", want, said)
		}
	}
	unwritable(b, p)
	if err := b.RemovePod(b.Context(), p.UID); err != nil {
		b.Fatal(err)
	}
	groupless(b, p, group)
	if _, err := b.RunPod(b.Context(), p); err != nil {
		b.Fatal(err)
	}
	if exit, said := try("later", "cat", "/small/greeting"); exit == 0 {
		b.Errorf("a pod that was removed left %q", said)
	}
}

// unwritable mounts a volume so that a container may only read it.
func unwritable(b *bench, p node.Sandbox) {
	c := b.container(p, "write", "/small/greeting", "bye")
	c.Name, c.Mounts = "reader", []node.Mount{{Memory: "small", Target: "/small", ReadOnly: true}}
	id := b.start(c)
	if over := b.over(p.UID, id); over.Exit == 0 || !strings.Contains(b.log(id, node.LogOptions{}), "read-only") {
		b.Errorf("a write where that is forbidden: %d, %s", over.Exit, b.log(id, node.LogOptions{}))
	}
}

// groupless asks for a volume of a group where there can be none.
func groupless(b *bench, p node.Sandbox, group int64) {
	if b.NoGroup == "" {
		return
	}
	p.Memory = []node.MemoryVolume{{Name: "group", GID: &group}}
	if _, err := b.RunPod(b.Context(), p); err == nil || !strings.Contains(err.Error(), "group 4321") {
		b.Errorf("a group that it cannot have: %v", err)
	}
}
