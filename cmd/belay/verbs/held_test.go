package verbs

import (
	"strings"
	"testing"
	"time"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// TestHeld: what is to know at three in the morning, in one line.
func TestHeld(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	hold := control.Hold{
		ID: "01j8", Revision: 4, Commit: "3f2a91c000", Images: []string{"web:1"}, Stable: true, By: "alice", Reason: "5xx",
		Since: now.Add(-46 * time.Minute),
	}
	pin := hold
	pin.Manual, pin.Stable, pin.Commit, pin.Reason, pin.Until = true, false, "", "", now.Add(30*time.Hour)
	wants := &control.Wants{Commit: "9bd01aa000", Images: []string{"web:2"}, Tainted: "image"}
	web := control.Deployment{Namespace: "shop", Name: "web", Hold: &hold, Wants: wants, Next: "belay release deploy/web"}
	branch := &control.GitChange{State: "branch", Branch: "belay/rollback/01j8"}
	merge := control.Deployment{Name: "web", Hold: &hold, GitChange: branch, Next: "merge https://git.example.com/compare"}
	waits := &control.GitChange{State: "queued", Why: "connection refused"}
	other := control.Deployment{Namespace: "blog", Name: "web", Hold: &pin}
	for _, c := range []struct {
		ds   []control.Deployment
		want string
	}{
		{[]control.Deployment{{Name: "api"}}, ""},
		{[]control.Deployment{web, {Name: "api"}},
			"\nweb  HELD at revision 4 (3f2a91c web:1, stable) by alice 02:14 \"5xx\" | git wants 9bd01aa web:2 (tainted: image) | next: belay release deploy/web\n"},
		{[]control.Deployment{merge},
			"\nweb  HELD at revision 4 (3f2a91c web:1, stable) by alice 02:14 \"5xx\" | git change: belay/rollback/01j8 not merged | next: merge https://git.example.com/compare\n"},
		{[]control.Deployment{{Name: "web", Hold: &hold, GitChange: waits}},
			"\nweb  HELD at revision 4 (3f2a91c web:1, stable) by alice 02:14 \"5xx\" | git change: queued (connection refused)\n"},
		{[]control.Deployment{other, {Name: "web", Namespace: "shop"}},
			"\nblog/web  HELD at revision 4 (web:1) by alice 02:14, pinned until 2026-11-22 09:00\n"},
	} {
		var b strings.Builder
		if err := printHeld(&b, c.ds, now); err != nil || b.String() != c.want {
			t.Errorf("got  %q %v\nwant %q", b.String(), err, c.want)
		}
	}
}

func TestNote(t *testing.T) {
	t.Parallel()
	override := func(field, value string) control.Override {
		return control.Override{Field: field, Value: value, By: "ann"}
	}
	for _, c := range []struct {
		d    control.Deployment
		want string
	}{
		{control.Deployment{Health: control.Healthy, Outcome: "Complete"}, ""},
		{control.Deployment{Health: control.Progress, Outcome: "Progressing", Reason: "ErrImagePull web:3", Next: "push a fix"},
			"Progressing: ErrImagePull web:3 | next: push a fix"},
		{control.Deployment{Health: control.Healthy, Wants: &control.Wants{Commit: "9bd01aa000", Images: []string{"web:2"}}, Outcome: "Waiting", Reason: "Window"},
			"Waiting: Window | git wants 9bd01aa web:2"},
		{control.Deployment{Health: control.Healthy, Hold: &control.Hold{}, Outcome: "Held", Reason: "Tainted", Next: "x", Wants: &control.Wants{}}, "HELD"},
		{control.Deployment{Health: control.Progress, Hold: &control.Hold{}, Outcome: "Progressing"}, "HELD | Progressing"},
		{control.Deployment{Health: control.Healthy, Overrides: []control.Override{
			override("paused", "true"), override("paused", "false"), override("replicas", "5"), override("restartedAt", "2026-11-21T02:14:00Z"),
		}}, "paused by ann | resumed by ann | replicas 5 by ann | restarted by ann"},
		{control.Deployment{Health: control.Healthy, Overrides: []control.Override{
			{Field: "replicas", Value: "5", By: "ann", GitChange: &control.GitChange{State: "queued", Why: "the server is away"}},
			{Field: "paused", Value: "true", By: "ann", GitChange: &control.GitChange{State: "none", Why: "nothing is pushed"}},
		}}, "replicas 5 by ann, git change queued (the server is away) | paused by ann"},
	} {
		if got := note(c.d); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestWhen(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	e := &env{now: func() time.Time { return now }}
	for text, want := range map[string]string{
		"": "0001-01-01T00:00:00Z", "12h": "2026-11-21T15:00:00Z", "2026-11-21T06:00:00+01:00": "2026-11-21T06:00:00+01:00",
		"-1h": "", "0s": "", "2026-11-21T03:00:00Z": "", "tomorrow": "", "2026-11-22": "",
	} {
		got, err := e.when(text)
		if (err == nil) != (want != "") || err == nil && got.Format(time.RFC3339) != want {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
}

// TestRolledBack: the first line says what is held, and whether a crash would lose it.
func TestRolledBack(t *testing.T) {
	t.Parallel()
	r := control.Rollback{
		Namespace: "shop", Name: "web", Hold: &control.Hold{Revision: 4, Images: []string{"web:1"}, By: "alice"},
	}
	for why, want := range map[string]string{"not durable: disk is full": " (not durable: disk is full)", "": ""} {
		r.NotDurable = why
		var b strings.Builder
		if err := printRolledBack(&b, r); err != nil {
			t.Fatal(err)
		}
		if first, _, _ := strings.Cut(b.String(), "\n"); first != "shop/web held at revision 4 (web:1) by alice"+want {
			t.Errorf("%q: %q", why, first)
		}
	}
}
