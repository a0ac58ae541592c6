package trigger

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // zones are known on machines without a database of their own too

	"github.com/robfig/cron/v3"
)

// Schedule is a set of moments: those at which all fields of a cron expression match the clock of its zone. A moment
// that the clock skips does not come that day; one that it repeats comes twice.
type Schedule struct {
	text string
	at   cron.Schedule
}

// errNever is what is wrong with a schedule such as the 30th of February.
var errNever = errors.New("never comes")

// ParseSchedule reads five cron fields (minute, hour, day of month, month, day of week) or one of @hourly, @daily,
// @weekly, @monthly and @yearly, after CRON_TZ=ZONE where the machine's zone is not meant. A schedule that never comes
// is refused.
func ParseSchedule(text string) (Schedule, error) {
	fields := strings.TrimSpace(text)
	if strings.HasPrefix(fields, "@every") {
		return Schedule{}, errors.New("@every is no moment of the clock: use interval")
	}
	var zone string
	if after, ok := strings.CutPrefix(fields, "CRON_TZ="); ok {
		zone, fields, _ = strings.Cut(after, " ")
	} else if strings.Contains(fields, "TZ=") {
		return Schedule{}, errors.New("want the zone first, as in CRON_TZ=Europe/Madrid 0 18 * * FRI")
	}
	loc := time.Local
	if zone != "" {
		var err error
		if loc, err = time.LoadLocation(zone); err != nil || zone == "Local" {
			return Schedule{}, fmt.Errorf("unknown time zone %q", zone)
		}
	} else if strings.HasPrefix(strings.TrimSpace(text), "CRON_TZ=") {
		return Schedule{}, errors.New("CRON_TZ= names no zone")
	}
	at, err := cron.ParseStandard(strings.TrimSpace(fields))
	if err != nil {
		return Schedule{}, err
	}
	if spec, ok := at.(*cron.SpecSchedule); ok {
		spec.Location = loc
	}
	s := Schedule{text: strings.TrimSpace(text), at: at}
	if s.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return Schedule{}, errNever
	}
	return s, nil
}

// Next returns the first moment after t, or the zero time when none comes within five years.
func (s Schedule) Next(t time.Time) time.Time {
	// A zone of nobody's choice is replaced by that of t inside of cron, so t must not be in another one.
	return s.at.Next(t.In(time.Local))
}

// String returns the expression as it was written.
func (s Schedule) String() string { return s.text }
