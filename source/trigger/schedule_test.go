package trigger

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseSchedule(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"*/5 * * * *":                        "",
		"CRON_TZ=Europe/Madrid 0 18 * * FRI": "",
		"@daily":                             "",
		" 0 9 * * 1-5 ":                      "",
		"0 0 29 2 *":                         "",
		"":                                   "empty spec",
		"* * * *":                            "expected exactly 5 fields",
		"60 * * * *":                         "above maximum",
		"0 0 30 2 *":                         "never comes",
		"CRON_TZ=Europe/Berln 0 9 * * *":     `unknown time zone "Europe/Berln"`,
		"CRON_TZ= 0 9 * * *":                 "names no zone",
		"CRON_TZ=Local 0 9 * * *":            `unknown time zone "Local"`,
		"CRON_TZ=../../etc/passwd 0 9 * * *": "unknown time zone",
		"CRON_TZ=UTC":                        "empty spec",
		"TZ=UTC 0 9 * * *":                   "want the zone first",
		"@every 5m":                          "use interval",
	} {
		_, err := ParseSchedule(text)
		if err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestScheduleNext(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text, from string
		want             []string
	}{
		{"a zone of its own", "CRON_TZ=Asia/Kolkata 0 9 * * *", "2026-01-01T00:00:00Z", []string{"2026-01-01T03:30:00Z", "2026-01-02T03:30:00Z"}},
		{"strictly after", "CRON_TZ=UTC 0 9 * * *", "2026-01-01T09:00:00Z", []string{"2026-01-02T09:00:00Z"}},
		{"an hour that is skipped", "CRON_TZ=America/New_York 30 2 * * *", "2026-03-07T12:00:00Z", []string{"2026-03-09T06:30:00Z"}},
		{"an hour that is repeated", "CRON_TZ=America/New_York 30 1 * * *", "2026-11-01T00:00:00Z",
			[]string{"2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z", "2026-11-02T06:30:00Z"}},
	} {
		s, err := ParseSchedule(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, tt.from)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for range tt.want {
			at = s.Next(at).UTC() // in whatever zone it is asked
			got = append(got, at.Format(time.RFC3339))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestScheduleInsteadOfInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // begins at midnight UTC
		s, err := ParseSchedule("CRON_TZ=UTC */5 * * * *")
		if err != nil {
			t.Fatal(err)
		}
		tr := start(t, Config{Schedules: []Schedule{s}})
		synctest.Wait()
		if !due(tr) {
			t.Fatal("no first signal")
		}
		time.Sleep(7 * time.Minute)
		tr.Done()
		var at []int
		for range 12 * 60 {
			synctest.Wait()
			if due(tr) {
				at = append(at, time.Now().UTC().Minute())
				tr.Done()
			}
			time.Sleep(time.Second)
		}
		if want := []int{10, 15}; !slices.Equal(at, want) {
			t.Fatalf("looked at minutes %v, want %v", at, want)
		}
	})
}
