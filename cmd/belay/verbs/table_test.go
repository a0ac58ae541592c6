package verbs

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAge(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for ago, want := range map[time.Duration]string{
		-time.Hour:                        "<invalid>",
		-time.Second:                      "0s", // clocks differ a little
		0:                                 "0s",
		119 * time.Second:                 "119s",
		2 * time.Minute:                   "2m",
		3*time.Minute + 20*time.Second:    "3m20s",
		47 * time.Minute:                  "47m",
		3*time.Hour + 5*time.Minute:       "3h5m",
		47 * time.Hour:                    "47h",
		3*day + 4*time.Hour + time.Minute: "3d4h",
		100 * day:                         "100d",
		3 * 365 * day:                     "3y",
	} {
		if got := Age(now.Add(-ago), now); got != want {
			t.Errorf("%s ago: got %s, want %s", ago, got, want)
		}
	}
	if got := Age(time.Time{}, now); got != "<unknown>" {
		t.Errorf("zero time: got %s", got)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	table := NewTable(&b, "NAME", "READY", "CHANGE-CAUSE")
	table.Row("mediawiki", "3/3", "Update to 1.44.2")
	table.Row("a", "0/1")
	table.Row("web", "", "evil\x1b[31m\tsubject\nsecond line \u202edrow \xff")
	if b.Len() > 0 {
		t.Errorf("written before Flush: %q", b.String())
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	want := "" +
		"NAME        READY   CHANGE-CAUSE\n" +
		"mediawiki   3/3     Update to 1.44.2\n" +
		"a           0/1     \n" +
		"web                 evil�[31m subject second line �drow �\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

func TestTableErrors(t *testing.T) {
	t.Parallel()
	table := NewTable(&strings.Builder{}, "A", "B")
	table.Row("1", "2", "3")
	if err := table.Flush(); err == nil || err.Error() != "print table: 3 cells in a table of 2 columns" {
		t.Errorf("too many cells: got %v", err)
	}
	broken := errors.New("disk full")
	table = NewTable(brokenWriter{broken}, "A")
	if err := table.Flush(); !errors.Is(err, broken) {
		t.Errorf("broken writer: got %v", err)
	}
}
