package reconciler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler/change"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// FieldImages is what of a Deployment an edit that somebody waits for is about.
const FieldImages = "images"

// gitAsked is the state of such an edit while somebody waits for it: the queue leaves it alone.
const gitAsked = "asked"

// EditRequest is the wish to write other images of a Deployment into its manifest.
type EditRequest struct {
	Namespace, Name string
	// Live is the Deployment that runs, and Asked the same with the images that are asked for.
	Live, Asked *appsv1.Deployment
	By          string
	ID          string // of the request: the same one again, by the same person, makes no second commit
}

// EditReason says why an edit was not made, or whether nobody knows. The list is closed.
type EditReason string

const (
	EditNoPush    EditReason = "NoPush"    // pushing is not configured
	EditSuspended EditReason = "Suspended" // the source is suspended
	EditDiffers   EditReason = "Differs"   // Git's files cannot be changed by just what was asked for
	EditTooMany   EditReason = "TooMany"   // the source had as many edits as it takes in a minute
	EditProtected EditReason = "Protected" // the remote refuses pushes to the branch
	EditFailed    EditReason = "Failed"    // Git could not be asked: nothing was sent
	EditUnknown   EditReason = "Unknown"   // it was sent, and may have landed
)

// EditError says why an edit was not made.
type EditError struct {
	Reason  EditReason
	Message string
	Wait    time.Duration // with EditTooMany: how long until the next one
}

func (e *EditError) Error() string { return e.Message }

// Edit writes other images of a Deployment into Git: one commit, pushed and synced when it returns, or an *EditError. It
// waits as long as ctx lets it.
func (l *Loop) Edit(ctx context.Context, r EditRequest) (commit string, err error) {
	w, err := l.editing(ctx, r)
	if err != nil {
		return "", err
	}
	err = w.push(ctx)
	switch failed := (*EditError)(nil); {
	case err == nil && w.change.State == string(rollback.GitPushed):
		if _, err := w.record(ctx); err != nil {
			return "", err
		}
		// What the look finds is remembered, logged and told by status: the commit is there.
		_ = l.look(ctx, w.of, SyncOptions{})
		return w.change.Commit, nil
	case w.sent && ctx.Err() != nil || errors.As(err, &failed) && failed.Reason == EditUnknown:
		return "", &EditError{Reason: EditUnknown, Message: "the commit was sent, and may have landed: look before you ask again"}
	case err == nil:
		err = &EditError{Reason: EditDiffers, Message: w.change.Reason}
	}
	l.forget(ctx, w)
	return "", err
}

// editing prepares an edit: it is recorded, so that the same request again is known.
func (l *Loop) editing(ctx context.Context, r EditRequest) (*writing, error) {
	id := manifests.ID{Kind: string(state.KindDeployment), Namespace: r.Namespace, Name: r.Name}
	w := &writing{loop: l, left: map[manifests.ID]string{}, task: &change.Task{
		Wish: change.Wish{ID: id, Live: r.Live, Asked: r.Asked}, Mode: rollback.ModeRestore,
	}}
	err := l.durably(ctx, func(context.Context) error {
		m, _ := l.o.Store.Managed(engine.Key{Kind: state.KindDeployment, Namespace: r.Namespace, Name: r.Name})
		switch w.of = l.follows.Load().named[m.Source]; {
		case w.of == nil || w.of.Writer == nil:
			return &EditError{Reason: EditNoPush, Message: "pushing to source " + m.Source + " is not configured"}
		case w.of.cursor.Suspended:
			return &EditError{Reason: EditSuspended, Message: "source " + m.Source + " is suspended"}
		}
		w.change = state.GitChange{
			ID: r.ID, Namespace: r.Namespace, Name: r.Name, Field: FieldImages, Source: m.Source, Mode: string(rollback.ModeRestore), By: r.By,
			Since: l.o.Now(), State: gitAsked,
		}
		if before, ok := l.o.Store.GitChange(r.Namespace, r.Name, FieldImages); ok && before.ID == r.ID && before.By == r.By {
			w.change.Attempts = before.Attempts
		}
		_, err := l.o.Store.Commit(state.PutGitChange(w.change))
		return err
	})
	return w, err
}

// push sends the edit to the branch of the source, in its turn.
func (w *writing) push(ctx context.Context) error {
	if err := w.of.turn(ctx); err != nil {
		return &EditError{Reason: EditFailed, Message: "another change of this source is being pushed"}
	}
	defer w.of.next()
	err := w.of.Writer.Land(ctx, w.plan)
	var failed *WriteError
	var refused *EditError
	switch {
	case err == nil && w.sent:
		w.settle(rollback.GitPushed, "")
		w.change.Commit = w.hash
		return nil
	case err == nil && w.dropped:
		return &EditError{Reason: EditDiffers, Message: "another edit of the same Deployment took its place"}
	case err == nil || errors.As(err, &refused):
		return err
	case errors.As(err, &failed) && failed.Refused:
		return &EditError{Reason: EditProtected, Message: "the branch takes no push: " + err.Error()}
	case w.sent && !errors.Is(err, ErrBranchMoved):
		return &EditError{Reason: EditUnknown, Message: err.Error()}
	}
	return &EditError{Reason: EditFailed, Message: err.Error()}
}

// forget takes away what is kept of an edit that was not made.
func (l *Loop) forget(ctx context.Context, w *writing) {
	_ = l.do(ctx, func(context.Context) {
		if len(l.together(w.change)) > 0 {
			// What is left over when the disk refuses is replaced by the next edit.
			_, _ = l.o.Store.Commit(state.RemoveGitChange(w.change.Namespace, w.change.Name, w.change.Field))
		}
	})
}

// PreviewEdit says whether an edit could be made at the newest head that is known here. Git is not asked, and nothing
// changes.
func (l *Loop) PreviewEdit(ctx context.Context, r EditRequest) error {
	key := engine.Key{Kind: state.KindDeployment, Namespace: r.Namespace, Name: r.Name}
	m, _ := l.o.Store.Managed(key)
	f := l.follows.Load().named[m.Source]
	if f == nil || f.Writer == nil {
		return &EditError{Reason: EditNoPush, Message: "pushing to source " + m.Source + " is not configured"}
	}
	task := change.Task{
		Wish: change.Wish{ID: manifests.ID{Kind: string(key.Kind), Namespace: r.Namespace, Name: r.Name}, Live: r.Live, Asked: r.Asked}, Mode: rollback.ModeRestore,
	}
	return f.Writer.Peek(func(b Branch) error {
		p, err := change.Make(ctx, f.Cache, b, task)
		switch {
		case err != nil:
			return err
		case p.Agrees:
			return &EditError{Reason: EditDiffers, Message: saysSo}
		case p.Mode == rollback.ModeHold:
			return &EditError{Reason: EditDiffers, Message: failures(p)}
		}
		return nil
	})
}

// saysSo is why nothing is written: what is wished is there.
const saysSo = "Git says so already"

// mostEdits is how many edits of one source may be pushed within a minute.
const mostEdits = 6

// allowance counts the edits of a source.
type allowance struct {
	mu sync.Mutex
	at []time.Time // of the last edits, oldest first
}

// take lets an edit through, or says how long to wait.
func (a *allowance) take(now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.at) > 0 && now.Sub(a.at[0]) >= time.Minute {
		a.at = a.at[1:]
	}
	if len(a.at) >= mostEdits {
		return a.at[0].Add(time.Minute).Sub(now)
	}
	a.at = append(a.at, now)
	return 0
}

// admitted lets an edit be sent when the source has not had too many. A rollback always is.
func (w *writing) admitted() error {
	if w.change.Field == FieldTemplate || w.allowed {
		return nil
	}
	wait := w.of.edits.take(w.loop.o.Now())
	if w.allowed = wait <= 0; w.allowed {
		return nil
	}
	message := fmt.Sprintf("the source had %d edits within a minute", mostEdits)
	if w.task != nil {
		return &EditError{Reason: EditTooMany, Message: message, Wait: wait}
	}
	return &WriteError{Err: errors.New(message), Wait: wait}
}

// turn waits until nobody else pushes to the source's repository.
func (f *follower) turn(ctx context.Context) error {
	select {
	case f.pushing <- struct{}{}:
		return nil
	case <-f.gone:
		return fmt.Errorf("%w: %q", ErrNoSource, f.Name)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *follower) next() { <-f.pushing }
