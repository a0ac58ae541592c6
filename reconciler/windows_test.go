package reconciler_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/source/trigger"
)

func window(t testing.TB, deny bool, schedule string, d time.Duration) reconciler.Window {
	t.Helper()
	s, err := trigger.ParseSchedule(schedule)
	if err != nil {
		t.Fatal(err)
	}
	return reconciler.Window{Deny: deny, Schedule: s, Duration: d, Text: schedule}
}

func instant(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestWindows(t *testing.T) {
	t.Parallel()
	list := func(ws ...reconciler.Window) []reconciler.Window { return ws }
	deny := func(s string, d time.Duration) reconciler.Window { return window(t, true, s, d) }
	allow := func(s string, d time.Duration) reconciler.Window { return window(t, false, s, d) }
	nine := "CRON_TZ=UTC 0 9 * * *"
	weekend := deny("CRON_TZ=Europe/Madrid 0 18 * * FRI", 62*time.Hour)
	ny := "CRON_TZ=America/New_York "
	for _, tt := range []struct {
		name  string
		lists [][]reconciler.Window
		at    string
		want  string // open or closed, and until when
	}{
		{"no windows", nil, "2026-01-05T09:00:00Z", "open"},
		{"just before the start", [][]reconciler.Window{list(deny(nine, time.Hour))}, "2026-01-05T08:59:59.999999999Z", "open until 2026-01-05T09:00:00Z"},
		{"the start is in", [][]reconciler.Window{list(deny(nine, time.Hour))}, "2026-01-05T09:00:00Z", "closed until 2026-01-05T10:00:00Z"},
		{"just before the end", [][]reconciler.Window{list(deny(nine, time.Hour))}, "2026-01-05T09:59:59.999999999Z", "closed until 2026-01-05T10:00:00Z"},
		{"the end is out", [][]reconciler.Window{list(deny(nine, time.Hour))}, "2026-01-05T10:00:00Z", "open until 2026-01-06T09:00:00Z"},
		{"outside an allow window", [][]reconciler.Window{list(allow(nine, time.Hour))}, "2026-01-05T10:00:00Z", "closed until 2026-01-06T09:00:00Z"},
		{"inside an allow window", [][]reconciler.Window{list(allow(nine, time.Hour))}, "2026-01-05T09:30:00Z", "open until 2026-01-05T10:00:00Z"},
		{"either allow window", [][]reconciler.Window{list(allow(nine, time.Hour), allow("CRON_TZ=UTC 30 9 * * *", 2*time.Hour))},
			"2026-01-05T09:59:00Z", "open until 2026-01-05T11:30:00Z"},
		{"deny wins", [][]reconciler.Window{list(allow(nine, 8*time.Hour), deny("CRON_TZ=UTC 0 12 * * *", time.Hour))},
			"2026-01-05T12:00:00Z", "closed until 2026-01-05T13:00:00Z"},
		{"the app allows, the source denies", [][]reconciler.Window{list(deny(nine, time.Hour)), list(allow(nine, 2*time.Hour))},
			"2026-01-05T09:30:00Z", "closed until 2026-01-05T10:00:00Z"},
		{"both must allow", [][]reconciler.Window{list(allow(nine, time.Hour)), list(allow("CRON_TZ=UTC 30 9 * * *", time.Hour))},
			"2026-01-05T09:00:00Z", "closed until 2026-01-05T09:30:00Z"},
		{"one stretch runs into the next", [][]reconciler.Window{list(deny("CRON_TZ=UTC 0 8-11 * * *", time.Hour))},
			"2026-01-05T08:00:00Z", "closed until 2026-01-05T12:00:00Z"},
		{"stretches that overlap", [][]reconciler.Window{list(deny("CRON_TZ=UTC 0 8-11 * * *", 90*time.Minute))},
			"2026-01-05T09:15:00Z", "closed until 2026-01-05T12:30:00Z"},
		{"a weekend", [][]reconciler.Window{list(weekend)}, "2026-01-09T17:00:00Z", "closed until 2026-01-12T07:00:00Z"},
		{"a weekend with a shorter night", [][]reconciler.Window{list(weekend)}, "2026-03-28T12:00:00Z", "closed until 2026-03-30T07:00:00Z"},
		{"a weekend with a longer night", [][]reconciler.Window{list(weekend)}, "2026-10-24T12:00:00Z", "closed until 2026-10-26T06:00:00Z"},
		{"a start that is skipped does not come", [][]reconciler.Window{list(deny(ny+"30 2 * * *", time.Hour))},
			"2026-03-08T07:00:00Z", "open until 2026-03-09T06:30:00Z"},
		{"a start that is repeated comes twice", [][]reconciler.Window{list(deny(ny+"30 1 * * *", 30*time.Minute))},
			"2026-11-01T06:30:00Z", "closed until 2026-11-01T07:00:00Z"},
		{"an hour from a repeated start", [][]reconciler.Window{list(deny(ny+"30 1 * * *", time.Hour))},
			"2026-11-01T05:30:00Z", "closed until 2026-11-01T07:30:00Z"},
		{"denied for ever", [][]reconciler.Window{list(deny("CRON_TZ=UTC 0 * * * *", time.Hour))}, "2026-01-05T09:00:00Z", "closed"},
		{"every minute for three days", [][]reconciler.Window{list(deny("CRON_TZ=UTC * 0 1 1 *", 72*time.Hour))},
			"2026-01-01T00:00:00Z", "closed until 2026-01-04T00:59:00Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := reconciler.At(instant(t, tt.at), tt.lists...)
			got := "open"
			if o.Closed {
				got = "closed"
			}
			if !o.Until.IsZero() {
				got += " until " + o.Until.UTC().Format(time.RFC3339)
			}
			if got != tt.want || o.Closed != (o.By != "") {
				t.Errorf("got %s (by %q), want %s", got, o.By, tt.want)
			}
		})
	}
}

// minutes is the slow reference: whether a window is on in each minute of a stretch of time, found by asking the clock of
// its zone in every single one.
func minutes(t *testing.T, zone string, minute, hour, day []int, d time.Duration, from time.Time, n int) []bool {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	on := make([]bool, n)
	lead := int(d / time.Minute)
	left := 0
	for i := -lead; i < n; i++ {
		clock := from.Add(time.Duration(i) * time.Minute).In(loc)
		if slices.Contains(minute, clock.Minute()) && slices.Contains(hour, clock.Hour()) && slices.Contains(day, int(clock.Weekday())) {
			left = lead
		}
		if i >= 0 {
			on[i] = left > 0
		}
		left--
	}
	return on
}

// Two years of minutes of random windows in zones whose clocks change in different ways, against the slow reference. The cron
// library misses starts on the two days a year on which a clock changes by half an hour (Lord Howe Island, nowhere else).
func TestWindowsAgainstEveryMinute(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const n = 2 * 365 * 24 * 60
	join := func(values []int) string { return strings.Trim(strings.ReplaceAll(fmt.Sprint(values), " ", ","), "[]") }
	for seed, zone := range []string{"America/New_York", "Europe/Madrid", "America/Santiago", "Asia/Kolkata"} {
		t.Run(zone, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(uint64(seed), 7))
			var ws []reconciler.Window
			var on [][]bool
			for i := range 3 {
				minute, hour := []int{r.IntN(60)}, []int{r.IntN(5), 5 + r.IntN(19)}
				day := []int{0, 1 + r.IntN(6)} // clocks change on Sundays
				d := time.Duration(1+r.IntN(20*60)) * time.Minute
				ws = append(ws, window(t, i == 0, fmt.Sprintf("CRON_TZ=%s %s %s * * %s", zone, join(minute), join(hour), join(day)), d))
				on = append(on, minutes(t, zone, minute, hour, day, d, from, n))
			}
			closed := func(i int) bool { return on[0][i] || !on[1][i] && !on[2][i] }
			next := n // the first minute after i that differs
			for i := n - 2; i >= 0; i-- {
				if closed(i) != closed(i+1) {
					next = i + 1
				}
				if r.IntN(200) != 0 && next != i+1 {
					continue // every edge, and some minutes between
				}
				got := reconciler.At(from.Add(time.Duration(i)*time.Minute), ws)
				if want := from.Add(time.Duration(next) * time.Minute); got.Closed != closed(i) || next < n && !got.Until.Equal(want) {
					t.Fatalf("%v at %v: got %+v, want closed %v until %v", ws, from.Add(time.Duration(i)*time.Minute), got, closed(i), want)
				}
			}
		})
	}
}
