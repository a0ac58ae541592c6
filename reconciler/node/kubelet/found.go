package kubelet

import (
	"context"
	"errors"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
)

var _ node.Finder = (*Kubelet)(nil)

// Find lists the pods of other instances whose data directory no process holds.
func (k *Kubelet) Find(ctx context.Context, instance string) ([]node.Found, error) {
	all, err := k.Runtime.List(ctx)
	if err != nil {
		return nil, err
	}
	var out []node.Found
	for _, s := range all {
		o := s.Pod.Origin
		if o.Instance == instance || o.Source == "" || !s.Sandbox.Running || k.Held != nil && k.Held(o.Directory) {
			continue
		}
		out = append(out, node.Found{
			Instance: o.Instance, Source: o.Source, Namespace: s.Pod.Namespace, Deployment: o.Deployment, Pod: s.Pod.Name,
			Commit: o.Commit, Images: o.Images,
		})
	}
	return out, nil
}

// Retire ends pods that were found: with grace, and all at once.
func (k *Kubelet) Retire(ctx context.Context, pods []node.Found) error {
	all, err := k.Runtime.List(ctx)
	if err != nil {
		return err
	}
	type identity struct {
		instance string
		name     types.NamespacedName
	}
	meant := map[identity]bool{}
	for _, p := range pods {
		meant[identity{p.Instance, types.NamespacedName{Namespace: p.Namespace, Name: p.Pod}}] = true
	}
	errs := make([]error, len(all))
	var retiring sync.WaitGroup
	for i, s := range all {
		if meant[identity{s.Pod.Origin.Instance, types.NamespacedName{Namespace: s.Pod.Namespace, Name: s.Pod.Name}}] {
			retiring.Go(func() { errs[i] = k.stopAll(ctx, s) }) // its volumes lie in a directory that is not this one's
		}
	}
	retiring.Wait()
	return errors.Join(errs...)
}
