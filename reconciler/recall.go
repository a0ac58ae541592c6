package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/state"
)

const (
	// recallPatience is how long the rollouts of a first sync are waited for before older commits are looked at:
	// where they are stuck, those commits are what a person needs.
	recallPatience = time.Minute
	// recallPause is how long to wait between two looks at those rollouts.
	recallPause = time.Second
)

// remember has the past of the source recorded, if some is left.
func (f *follower) remember() {
	if f.cursor.Past == nil || f.Import <= 0 {
		return
	}
	select {
	case f.recalling <- struct{}{}:
	default:
	}
}

// recall records the past of a source, after looks that went well, until ctx ends.
func (l *Loop) recall(ctx context.Context, f *follower) {
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.recalling:
		}
		err := l.recallOnce(ctx, f)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			said = ""
		case err.Error() != said:
			said = err.Error()
			l.o.Log.Warn().Str("source", f.Name).Err(err).Msg("older commits not imported; tried again after the next look")
		}
	}
}

// recallOnce walks back from where the walk before stopped, along first parents, and records what it finds: the commits
// to import, by rendering them, and those that introduced the rest of what runs, by hashes. It goes on there after a
// crash: what was recorded already is not recorded again.
func (l *Loop) recallOnce(ctx context.Context, f *follower) error {
	if err := l.firstRolledOut(ctx, f.Name); err != nil {
		return err
	}
	var past *state.Past
	if err := l.do(ctx, func(context.Context) { past = f.cursor.Past }); err != nil || past == nil {
		return err
	}
	w := recaller{l: l, f: f, past: past, first: withTemplate(ledger.Newest(l.o.Store.RowsOf(f.Name, 1)))}
	if past.Rendered == "" {
		if err := w.imports(ctx); err != nil {
			return err
		}
	}
	if w.past == nil {
		return nil
	}
	return w.trace(ctx)
}

// imports renders the commits to import. What is left to be done then is w.past.
func (w *recaller) imports(ctx context.Context) error {
	past, left := w.past, w.f.Import-int(w.past.Count)
	steps, err := w.steps(ctx, past.Commit, left+1) // the one before the last tells what the last introduces
	if err != nil {
		return err
	}
	rows := 0
	for i, st := range steps {
		nth := past.Count + int64(i)
		last := i+1 == len(steps)
		n, err := w.commit(ctx, st, nth, last && i <= left)
		if err != nil {
			return err
		}
		rows += n
	}
	w.past = nil
	if last := len(steps) - 1; last > left {
		w.past = &state.Past{Commit: steps[last].Hash, Count: past.Count + int64(last), Rendered: steps[last].Hash}
	}
	if err := w.record(ctx, nil, w.past); err != nil {
		return err
	}
	if rows > 0 {
		w.l.o.Log.Info().Str("source", w.f.Name).Int("rows", rows).Msg("imported older commits")
	}
	return nil
}

// firstRolledOut waits until the rollouts of the first sync have ended or stand still, or have had their time.
func (l *Loop) firstRolledOut(ctx context.Context, source string) error {
	c, ok := l.o.Store.CommitAt(source, 1)
	if !ok {
		return nil
	}
	enough := c.RecordedAt.Add(recallPatience)
	for waited := time.Duration(0); waited < recallPatience && enough.After(l.o.Now()) && slices.ContainsFunc(l.o.Store.RowsOf(source, 1), moving); waited += recallPause { // the clock may be set back
		timer := time.NewTimer(recallPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
	return nil
}

// recaller is one walk back.
type recaller struct {
	l     *Loop
	f     *follower
	past  *state.Past
	first []state.Row
	seen  map[engine.Key]Introduced
	holes bool // a commit did not render: the next walk begins no later than before it
}

// steps lists a commit and at most n before it.
func (w *recaller) steps(ctx context.Context, commit string, n int) ([]Step, error) {
	if err := w.f.alone(ctx); err != nil {
		return nil, err
	}
	defer w.f.release()
	steps, err := w.f.Repository.Before(ctx, commit, max(n, 0))
	if err != nil {
		return nil, fmt.Errorf("list the commits before %s: %w", short(commit), err)
	}
	return steps, nil
}

// commit takes in one commit, and records what it tells. It gives the number of rows.
func (w *recaller) commit(ctx context.Context, st Step, nth int64, last bool) (int, error) {
	c, err := w.render(ctx, st, nth)
	if err != nil {
		return 0, err
	}
	in := PastInput{Source: w.f.Name, First: w.first, Seen: w.seen, Commit: c, Last: last, Now: w.l.o.Now()}
	found := Recall(in)
	w.seen = found.Seen
	w.holes = w.holes || slices.ContainsFunc(w.first, func(r state.Row) bool { return c.Unknown(rowKey(r)) })
	next := w.past
	if !w.holes {
		next = &state.Past{Commit: st.Hash, Count: nth}
	}
	return len(found.Rows), w.record(ctx, found.writes(w.l.o.Store.Row), next)
}

// render looks at one commit. Nobody polls meanwhile: a snapshot and the cache stay as they are.
func (w *recaller) render(ctx context.Context, st Step, nth int64) (PastCommit, error) {
	if err := w.f.alone(ctx); err != nil {
		return PastCommit{}, err
	}
	defer w.f.release()
	if !w.f.based {
		return PastCommit{}, errors.New("the last look failed")
	}
	tree, err := w.f.Repository.Tree(st.Hash)
	if err != nil {
		return PastCommit{}, fmt.Errorf("read %s: %w", short(st.Hash), err)
	}
	up, err := w.f.Cache.Preview(ctx, tree, st.Hash)
	if err != nil {
		return PastCommit{}, fmt.Errorf("render %s: %w", short(st.Hash), err)
	}
	return w.f.pastCommit(st, nth, up), nil
}

// record makes writes and how far the walk came one transaction; nil ends it for good.
func (w *recaller) record(ctx context.Context, ws []state.Write, past *state.Past) error {
	var err error
	doErr := w.l.do(ctx, func(context.Context) {
		c := w.f.cursor
		c.Past = past
		if _, err = w.l.o.Store.Commit(append(ws, state.PutCursor(c))...); err == nil {
			w.f.cursor = c
		}
	})
	if doErr != nil {
		return doErr
	}
	if err != nil {
		return fmt.Errorf("record older commits: %w", err)
	}
	return nil
}
