package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var allKinds = []Kind{
	KindInvalid, KindNotFound, KindBranchGone, KindEmpty, KindCorrupt, KindMalformed, KindUnsupported, KindAuth,
	KindForbidden, KindHostKey, KindRedirect, KindNetwork, KindTimeout, KindRateLimited, KindServer, KindTooLarge,
	KindDisk, KindConflict, KindNothing, KindRace, KindRejected, KindCanceled,
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	if len(rules) != len(allKinds) {
		t.Errorf("%d rules for %d kinds", len(rules), len(allKinds))
	}
	const s, m = time.Second, time.Minute
	rows := []struct {
		kind       Kind
		attempt    int
		retryAfter time.Duration
		want       time.Duration
		stall      bool
	}{
		{KindNetwork, 1, 0, 15 * s, false},
		{KindNetwork, 2, 0, 30 * s, false},
		{KindNetwork, 4, 0, 2 * m, false},
		{KindNetwork, 5, 0, 4 * m, false},
		{KindNetwork, 6, 0, 5 * m, false},
		{KindNetwork, 1 << 30, 0, 5 * m, false},
		{KindBranchGone, 100, 0, 15 * s, false},
		{KindEmpty, 100, 0, 15 * s, false},
		{KindRateLimited, 1, 90 * s, 90 * s, false},
		{KindRateLimited, 100, 2 * time.Hour, 2 * time.Hour, false},
		{KindServer, 1, 5 * s, 15 * s, false},
		{KindAuth, 100, 0, 15 * m, false},
		{KindInvalid, 1, 0, 0, true},
		{"unheard of", 2, 0, 30 * s, false},
	}
	for _, row := range rows {
		got, stall := Backoff(row.kind, row.attempt, 15*s, row.retryAfter, 0)
		if got != row.want || stall != row.stall {
			t.Errorf("%s, attempt %d: %v, %v; want %v, %v", row.kind, row.attempt, got, stall, row.want, row.stall)
		}
	}
}

func TestBackoffNeverHurries(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(allKinds).Draw(t, "kind")
		attempt := rapid.IntRange(1, 1000).Draw(t, "attempt")
		interval := time.Duration(rapid.Int64Range(1, int64(24*time.Hour)).Draw(t, "interval"))
		after := time.Duration(rapid.Int64Range(0, int64(24*time.Hour)).Draw(t, "after"))
		random := rapid.Float64Range(0, 1).Draw(t, "random")
		wait, stall := Backoff(kind, attempt, interval, after, random)
		if stall {
			return
		}
		next, _ := Backoff(kind, attempt+1, interval, after, random)
		longest := max(interval, after, rules[kind].most)
		if wait < interval || wait < after || next < wait || wait > longest+longest/10+1 {
			t.Fatalf("%v, then %v", wait, next)
		}
	})
}

func TestStreak(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	network, auth := &Error{Kind: KindNetwork}, &Error{Kind: KindAuth}
	var s Streak
	var note Note
	want := func(err error, count int, n Note) {
		t.Helper()
		now = now.Add(time.Second)
		if s, note = s.Next(err, now); s.Count != count || note != n {
			t.Errorf("after %v: %d, %q; want %d, %q", err, s.Count, note, count, n)
		}
	}
	want(nil, 0, NoteNone)
	want(network, 1, NoteFailed)
	began := s.Since
	for i := 2; i < 10; i++ {
		want(network, i, NoteNone)
	}
	want(network, 10, NoteStillFailing)
	want(auth, 11, NoteFailed)
	want(context.Canceled, 11, NoteNone)
	if !s.Since.Equal(began) {
		t.Errorf("since %v, want %v", s.Since, began)
	}
	want(nil, 0, NoteRecovered)
	want(nil, 0, NoteNone)
}

func TestKindOf(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		err  error
		want Kind
	}{
		{nil, ""},
		{context.Canceled, KindCanceled},
		{context.DeadlineExceeded, KindTimeout},
		{fmt.Errorf("x: %w", errMissing), KindCorrupt},
		{fmt.Errorf("x: %w", errDamaged), KindCorrupt},
		{errMalformed, KindMalformed},
		{&os.PathError{Op: "open", Path: "x", Err: os.ErrPermission}, KindDisk},
		{fmt.Errorf("x: %w", &Error{Kind: KindAuth}), KindAuth},
		{errors.New("anything"), KindNetwork},
	} {
		if got := KindOf(row.err); got != row.want {
			t.Errorf("KindOf(%v) = %s, want %s", row.err, got, row.want)
		}
	}
}
