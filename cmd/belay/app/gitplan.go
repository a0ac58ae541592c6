package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/belay-dev/belay/manifests"
	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/change"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/source"
)

// gitHead is a snapshot of a source's repository, as changes are planned on it.
type gitHead struct{ snap *source.Snapshot }

var _ change.Repository = gitHead{}

// Head is the commit that the change is made for.
func (b gitHead) Head() string { return string(b.snap.Head()) }

// Tree gives the files of a commit.
func (b gitHead) Tree(_ context.Context, commit string) (manifests.Tree, error) {
	t, err := b.snap.Tree(source.Hash(commit))
	if err != nil {
		return nil, withHint(err)
	}
	return t, nil
}

// Reverted gives the files without what some commits did.
func (b gitHead) Reverted(ctx context.Context, commits []string) (manifests.Tree, []string, error) {
	d, err := b.draft(ctx, commits)
	if slices.Contains(unrevertable, source.KindOf(err)) {
		return nil, nil, &change.ConflictError{Err: err}
	}
	if err != nil {
		return nil, nil, withHint(err)
	}
	files, err := d.Changed()
	if err != nil {
		return nil, nil, withHint(err)
	}
	t, err := d.Tree()
	if err != nil {
		return nil, nil, withHint(err)
	}
	return t, files, nil
}

// unrevertable are the kinds of error after which another try at the same head would not do better.
var unrevertable = []source.Kind{source.KindConflict, source.KindNotFound, source.KindTooLarge}

func (b gitHead) draft(ctx context.Context, commits []string) (*source.Draft, error) {
	d, err := b.snap.Draft(b.snap.Head())
	for _, c := range commits {
		if err != nil {
			return nil, err
		}
		d, err = d.Revert(ctx, source.Hash(c))
	}
	return d, err
}

var errNoPlan = errors.New("nothing is planned")

// proposal makes the commit of a plan, in memory.
func proposal(ctx context.Context, to *source.Writer, snap *source.Snapshot, p change.Plan, w change.Wish, n reconciler.CommitNote) (*source.Proposal, error) {
	b := gitHead{snap}
	if p.Head != b.Head() {
		return nil, fmt.Errorf("%w for commit %s", errNoPlan, rollback.Short(b.Head()))
	}
	d, err := b.draft(ctx, p.Commits)
	if err != nil {
		return nil, withHint(err)
	}
	switch {
	case len(p.Files) > 0:
		var edits []source.FileEdit
		for _, path := range slices.Sorted(maps.Keys(p.Files)) {
			data := p.Files[path]
			edits = append(edits, source.FileEdit{Path: path, Content: data, Delete: data == nil})
		}
		if d, err = d.Edit(edits); err != nil {
			return nil, withHint(err)
		}
	case len(p.Commits) == 0:
		return nil, errNoPlan
	}
	message := p.Message(w, n.To, n.Why)
	if message == "" {
		message = d.Message()
		if n.Why != "" {
			message += "\n" + n.Why
		}
	}
	out, err := to.Commit(d, source.Text{Message: message, At: n.At, Trailers: trailers(w, n)})
	if err != nil {
		return nil, withHint(err)
	}
	return out, nil
}

// trailers are the last lines of a commit's message.
func trailers(w change.Wish, n reconciler.CommitNote) []source.Trailer {
	out := []source.Trailer{{Key: n.Trailer, Value: n.ID}}
	about := n.Deployments
	if len(about) == 0 {
		about = []string{w.ID.Namespace + "/" + w.ID.Name}
	}
	for _, name := range about {
		out = append(out, source.Trailer{Key: "Belay-Deployment", Value: name})
	}
	return append(out, source.Trailer{Key: "Belay-To-Commit", Value: n.ToCommit}, source.Trailer{Key: "Belay-Requested-By", Value: n.By},
		source.Trailer{Key: "Belay-Instance", Value: n.Instance})
}
