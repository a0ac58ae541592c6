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
	p := b.pod(func(p *node.Sandbox) {
		p.Memory = []node.MemoryVolume{{Name: "small", Size: 1 << 20}, {Name: "group", GID: &group}}
	})
	mounts := []node.Mount{{Memory: "small", Target: "/small"}, {Memory: "group", Target: "/group"}}
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
	for _, want := range []string{" /small tmpfs ", "size=1024k", " /group tmpfs ", "gid=4321"} {
		if !strings.Contains(said, want) {
			b.Errorf("%q is not among what is mounted:\n%s", want, said)
		}
	}
	if err := b.RemovePod(b.Context(), p.UID); err != nil {
		b.Fatal(err)
	}
	if _, err := b.RunPod(b.Context(), p); err != nil {
		b.Fatal(err)
	}
	if exit, said := try("later", "cat", "/small/greeting"); exit == 0 {
		b.Errorf("a pod that was removed left %q", said)
	}
}
