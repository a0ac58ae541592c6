package kubelet_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/belay-dev/belay/reconciler/node"
)

// powerless is a driver that holds nothing to a limit of memory.
type powerless struct{ node.Runtime }

func (powerless) Unenforced(limits node.Resources) string {
	if limits.Memory > 0 {
		return "no limit of memory holds: why"
	}
	return ""
}

// TestLimitsNotEnforced: a limit that does not hold on this machine is told with the pod, once.
func TestLimitsNotEnforced(t *testing.T) {
	bench(t, func(d *desk) {
		d.stop()
		d.between = func(r node.Runtime) node.Runtime { return powerless{r} }
		d.start()
		bounded, free := pod("bounded", "forever"), pod("free", "forever")
		other := container("other", "forever")
		bounded.Spec.Containers = append(bounded.Spec.Containers, other)
		for i := range bounded.Spec.Containers {
			bounded.Spec.Containers[i].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
		}
		d.create(bounded)
		d.create(free)
		d.pass(time.Minute)
		told := map[string]int{}
		for _, name := range []string{"bounded", "free"} {
			for _, e := range d.events(name) {
				if e == "! LimitsNotEnforced On this machine no limit of memory holds: why" {
					told[name]++
				}
			}
		}
		if told["bounded"] != 1 || told["free"] != 0 {
			t.Errorf("told %v; events: %q", told, d.events("bounded"))
		}
	})
}
