package kubelet

import (
	"strings"
	"testing"
	"time"

	"github.com/belay-dev/belay/reconciler/node"
)

func TestCollectable(t *testing.T) {
	now := time.Date(2026, 11, 21, 2, 14, 0, 0, time.UTC)
	img := func(ref, id string, unused time.Duration) pulled {
		return pulled{node.PulledImage{Ref: ref, ID: id, Digest: ref + "@" + id}, now.Add(-unused), now.Add(-unused)}
	}
	all := []pulled{
		img("web:1", "old", 3*time.Hour), img("web:1", "new", time.Hour), img("web:2", "two", 2*time.Hour),
		img("db:1", "db", time.Minute), img("api:1", "api", 4*time.Hour),
	}
	for name, c := range map[string]struct {
		used, keep string
		want       string
	}{
		"nothing is kept":         {"", "", "api old two new"},
		"what is used":            {"api two", "", "old new"},
		"a name keeps its newest": {"", "web:1", "api old two"},
		"a digest keeps its own":  {"", "web:1@old", "api two new"},
		"an ID too":               {"", "api two", "old new"},
		"all":                     {"", "web:1 web:1@old web:2 api:1", ""},
	} {
		used, keep := map[string]bool{}, map[string]bool{}
		for _, id := range strings.Fields(c.used) {
			used[id] = true
		}
		for _, name := range strings.Fields(c.keep) {
			keep[name] = true
		}
		var got []string
		for _, p := range collectable(all, used, func(name string) bool { return keep[name] }, now) {
			got = append(got, p.ID)
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: got %q, want %q", name, text, c.want)
		}
	}
}
