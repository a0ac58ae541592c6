package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/state"
)

// Writes says what becomes of a write to what Git manages that nothing else is made for.
type Writes string

const (
	WritesRefuse Writes = "refuse" // it is refused
	WritesGit    Writes = "git"    // other images are written into the manifest, as a commit
)

// editBudget is how long a request waits for its commit; requests of some kinds end earlier by themselves.
const editBudget = 45 * time.Second

// editReserve is what of a request's own time is left for the answer.
const editReserve = 2 * time.Second

// edit writes the images that are asked for into Git.
func (w *writer) edit(ctx context.Context, m ManagedWrite) ([]string, error) {
	if w.writes == nil || w.writes() != WritesGit {
		return nil, w.refuse(m, "writes: git in the configuration would commit it")
	}
	key := m.Managed.Key
	asked := m.New.(*appsv1.Deployment)
	r := reconciler.EditRequest{
		Namespace: key.Namespace, Name: key.Name, Live: m.Old.(*appsv1.Deployment), Asked: asked, By: m.Caller.Name, ID: m.AuditID,
	}
	if m.DryRun {
		return nil, w.unedited(m, w.loop.PreviewEdit(ctx, r))
	}
	budget := editBudget
	if end, ok := ctx.Deadline(); ok {
		budget = min(budget, time.Until(end)-editReserve)
	}
	inTime, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	commit, err := w.loop.Edit(inTime, r)
	if err != nil {
		return nil, w.unedited(m, err)
	}
	if d, ok := state.Get[*appsv1.Deployment](w.store, key.Namespace, key.Name); !ok || !sameImages(d, asked) {
		return []string{fmt.Sprintf("commit %s is in git, and does not run yet: belay status says why", commit[:min(7, len(commit))])}, nil
	}
	return nil, nil
}

// unedited makes of what kept an edit from being made an error of the Kubernetes API.
func (w *writer) unedited(m ManagedWrite, err error) error {
	e, ok := errors.AsType[*reconciler.EditError](err)
	if !ok {
		return err
	}
	resource, name := resourceOf(m.Managed.Key.Kind), m.Managed.Key.Name
	where := fmt.Errorf("%s: %s", w.where(m), e.Message)
	switch e.Reason {
	case reconciler.EditDiffers, reconciler.EditSuspended:
		return apierrors.NewConflict(resource, name, where)
	case reconciler.EditTooMany:
		return apierrors.NewTooManyRequests(e.Message, int(e.Wait/time.Second)+1)
	case reconciler.EditUnknown:
		return apierrors.NewTimeoutError(e.Message, 0)
	case reconciler.EditFailed:
		return apierrors.NewServiceUnavailable(e.Message)
	case reconciler.EditNoPush, reconciler.EditProtected:
	}
	return apierrors.NewForbidden(resource, name, where)
}

// edited reports whether nothing but images differs between two Deployments, and at least one does.
func edited(b, a *appsv1.Deployment) bool {
	return !sameImages(b, a) && same(b, a, func(from, to *appsv1.Deployment) {
		for _, lists := range [][2][]corev1.Container{
			{from.Spec.Template.Spec.InitContainers, to.Spec.Template.Spec.InitContainers}, {from.Spec.Template.Spec.Containers, to.Spec.Template.Spec.Containers},
		} {
			for i := range min(len(lists[0]), len(lists[1])) {
				lists[1][i].Image = lists[0][i].Image
			}
		}
	})
}

func sameImages(b, a *appsv1.Deployment) bool {
	images := func(d *appsv1.Deployment) (out []string) {
		for _, list := range [][]corev1.Container{d.Spec.Template.Spec.InitContainers, d.Spec.Template.Spec.Containers} {
			for _, c := range list {
				out = append(out, c.Name+"="+c.Image)
			}
		}
		return out
	}
	return slices.Equal(images(b), images(a))
}
