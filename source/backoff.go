package source

import "time"

// retryRule says how a kind of error is tried again.
type retryRule struct {
	// grow doubles the wait with every failure, up to most.
	grow bool
	most time.Duration
	// stall means never, until the configuration changes.
	stall bool
}

// rules is the one place that decides what follows from an error.
var rules = map[Kind]retryRule{
	KindInvalid:     {stall: true},
	KindNotFound:    {grow: true, most: 10 * time.Minute},
	KindBranchGone:  {}, // looking costs as little as when all is well
	KindEmpty:       {},
	KindCorrupt:     {grow: true, most: 10 * time.Minute},
	KindMalformed:   {grow: true, most: 10 * time.Minute},
	KindUnsupported: {grow: true, most: time.Hour},
	KindAuth:        {grow: true, most: 15 * time.Minute}, // a token file may be replaced; a locked account must not be
	KindForbidden:   {grow: true, most: 15 * time.Minute},
	KindHostKey:     {grow: true, most: 15 * time.Minute},
	KindRedirect:    {grow: true, most: 15 * time.Minute}, // a captive portal goes away again
	KindNetwork:     {grow: true, most: 5 * time.Minute},
	KindTimeout:     {grow: true, most: 5 * time.Minute},
	KindRateLimited: {grow: true, most: time.Hour},
	KindServer:      {grow: true, most: 5 * time.Minute},
	KindTooLarge:    {grow: true, most: time.Hour}, // each try may cost a whole fetch
	KindDisk:        {grow: true, most: 5 * time.Minute},
	KindConflict:    {stall: true},
	KindNothing:     {stall: true},
	KindRace:        {grow: true, most: time.Minute},
	KindRejected:    {grow: true, most: time.Hour}, // the protection may be lifted
	KindCanceled:    {},
}

// Backoff returns how long to wait before the next look after the attempt-th failure of a kind in a row, counted from
// 1, and true when there is to be none until the configuration changes or somebody asks.
//
// The wait begins at interval and doubles with each attempt up to the kind's limit, or stays at interval where looking
// is cheap; it is never shorter than interval nor than what the remote asked for. random, from 0 to 1, adds up to a
// tenth, so that many sources do not come back at one moment.
func Backoff(kind Kind, attempt int, interval, retryAfter time.Duration, random float64) (time.Duration, bool) {
	rule, ok := rules[kind]
	if !ok {
		rule = rules[KindNetwork]
	}
	if rule.stall {
		return 0, true
	}
	wait := interval
	for i := 1; rule.grow && i < attempt && wait < rule.most; i++ {
		wait *= 2
	}
	if rule.grow && wait > rule.most {
		wait = max(rule.most, interval)
	}
	wait = max(wait, retryAfter)
	return wait + time.Duration(float64(wait)*0.1*min(max(random, 0), 1)), false
}

// Note is what is worth a line in the log about the newest look.
type Note string

const (
	// NoteNone: nothing new.
	NoteNone Note = ""
	// NoteFailed: the first failure, or one of another kind than the last.
	NoteFailed Note = "Failed"
	// NoteStillFailing: the same again, for the 10th, 100th, ... time.
	NoteStillFailing Note = "StillFailing"
	// NoteRecovered: it works again.
	NoteRecovered Note = "Recovered"
)

// Streak counts failures in a row. The zero value is none.
type Streak struct {
	Kind  Kind
	Count int
	Since time.Time
}

// Next returns the streak after one more look, which ended with err or, when nil, well.
func (s Streak) Next(err error, now time.Time) (Streak, Note) {
	kind := KindOf(err)
	switch {
	case kind == KindCanceled:
		return s, NoteNone
	case err == nil && s.Count == 0:
		return Streak{}, NoteNone
	case err == nil:
		return Streak{}, NoteRecovered
	case s.Count == 0:
		return Streak{Kind: kind, Count: 1, Since: now}, NoteFailed
	}
	next := Streak{Kind: kind, Count: s.Count + 1, Since: s.Since}
	if kind != s.Kind {
		return next, NoteFailed
	}
	for n := 10; n <= next.Count; n *= 10 {
		if n == next.Count {
			return next, NoteStillFailing
		}
	}
	return next, NoteNone
}
