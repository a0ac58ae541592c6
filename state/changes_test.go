package state

import (
	"fmt"
	"testing"
	"time"
)

// TestSnapshotAfter: what was written since a version is told in full, or not at all.
func TestSnapshotAfter(t *testing.T) {
	t.Parallel()
	s, err := OpenMemory(Options{Now: time.Now, HistorySize: 4})
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	row := func(name string) Write {
		rows++
		return PutRow(Row{ID: fmt.Sprint(rows), Namespace: "default", Name: name})
	}
	check := func(after int64, want string) {
		t.Helper()
		now, since, known := s.SnapshotAfter(after, KindDeployment, KindPod)
		got := ""
		for _, e := range since.Events {
			got += fmt.Sprintf("%s %s, ", e.Type, e.Key().Name)
		}
		for _, name := range since.Rows {
			got += name.Name + ", "
		}
		if !known {
			got += "unknown"
		}
		if got != want || now.Version() != s.Version() {
			t.Errorf("after %d: got %q at %d, want %q at %d", after, got, now.Version(), want, s.Version())
		}
	}
	begin := s.Version()
	check(begin, "")
	commit(t, s, row("a"))
	commit(t, s, Create(deployment("web")), row("b"), Create(configMap("c", "")))
	middle := s.Version()
	check(begin, "ADDED web, a, b, ")
	check(middle, "")
	commit(t, s, Update(deployment("web")), row("a")) // the Deployment is as it was
	check(begin, "ADDED web, a, b, a, ")
	check(middle, "a, ")
	commit(t, s, Create(configMap("d", "")), Create(configMap("e", "")), Create(configMap("f", "")))
	check(middle, "a, ")
	check(begin, "unknown") // the Deployment is no longer kept
	commit(t, s, row("a"), row("b"))
	check(middle, "a, a, b, ")
	for range 3 {
		commit(t, s, row("c"))
	}
	check(middle, "unknown") // one row is no longer kept
	late := s.Version()
	commit(t, s, Create(pod("p", nil)))
	check(late, "ADDED p, ")
}
