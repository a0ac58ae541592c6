package podnet

import "testing"

// A pod that asks for more than its share takes nothing from the count of all, however often it asks.
func TestRefusedFlowsAreNotCounted(t *testing.T) {
	n := &Net{o: Options{Flows: podShare}}
	p := &Port{net: n}
	for i := range 10 {
		if got := p.take(); got != (i == 0) {
			t.Errorf("flow %d: %v", i, got)
		}
	}
	if own, all := p.active.Load(), n.total.Load(); own != 1 || all != 1 {
		t.Errorf("%d of the pod and %d of all are counted, want 1 and 1", own, all)
	}
	p.give()
	if !p.take() {
		t.Error("no flow after one has ended")
	}
}
