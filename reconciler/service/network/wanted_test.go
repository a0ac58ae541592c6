package network

import (
	"testing"

	"github.com/belay-dev/belay/reconciler/names"
	"github.com/belay-dev/belay/reconciler/service"
)

// TestWanted: a network is for the Services that somebody made. The API's own, which is always there, needs none.
func TestWanted(t *testing.T) {
	t.Parallel()
	front := service.Front{Name: &names.Service{}}
	for _, c := range []struct {
		owners []string
		want   bool
	}{
		{nil, false},
		{[]string{"default/kubernetes"}, false},
		{[]string{"default/kubernetes", "shop/kubernetes"}, true},
		{[]string{"default/web"}, true},
	} {
		n := New(nil, nil)
		for _, owner := range c.owners {
			n.fronts[owner] = front
		}
		if got := n.wanted(); got != c.want {
			t.Errorf("%v: %v", c.owners, got)
		}
	}
}
