package reconciler_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"golang.org/x/tools/txtar"
	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/embedded"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// watched is an engine that says what is applied before it is.
type watched struct {
	reconciler.Engine
	apply func(engine.Key)
}

func (w *watched) Apply(ctx context.Context, c engine.Change) error {
	w.apply(c.Key)
	return w.Engine.Apply(ctx, c)
}

// TestWishGoesFirst: a rollback does not wait until a commit of many Deployments is carried out, and the rest of it is
// carried out all the same.
func TestWishGoesFirst(t *testing.T) {
	t.Parallel()
	archive := &txtar.Archive{}
	for _, one := range []struct{ commit, image, names string }{{"c1", "web:1", "abcd"}, {"c2", "web:2", "abcd"}, {"c3", "web:3", "abc"}, {"c3", "web:2", "d"}} {
		archive.Files = append(archive.Files, deployments(map[string]string{one.commit: one.image}, strings.Split(one.names, "")...).Files...)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, archive)
		defer w.stop()
		w.stopLoop()
		e := &watched{Engine: embedded.New(w.store, nil), apply: func(engine.Key) {}}
		w.loop = reconciler.New(reconciler.Options{
			Store: w.store, Engine: e, Sources: []reconciler.Source{w.source()}, Now: time.Now, Log: zerolog.Nop(),
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.loop.Run(ctx) }()
		w.stopLoop = func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		w.do("push c1 one")
		w.do("sync")
		w.do("push c2 two")
		w.do("sync")
		var applied []string
		asked := make(chan error, 1)
		e.apply = func(k engine.Key) {
			if applied = append(applied, k.Name); len(applied) > 1 {
				return
			}
			go func() {
				_, err := w.loop.Rollback(t.Context(), rollback.Request{Namespace: "default", Name: "d", By: "alice"})
				asked <- err
			}()
			synctest.Wait() // it is asked for now, in the middle of the commit
		}
		w.do("push c3 three")
		w.do("sync")
		if err := <-asked; err != nil {
			t.Fatal(err)
		}
		if want := []string{"a", "d", "b", "c"}; !slices.Equal(slices.Compact(applied)[:4], want) {
			t.Errorf("applied %v, want %v first", applied, want)
		}
		want := map[string]string{"a": "web:3", "b": "web:3", "c": "web:3", "d": "web:1"}
		got := map[string]string{}
		for name := range want {
			d, _ := state.Get[*appsv1.Deployment](w.store, "default", name)
			got[name] = d.Spec.Template.Spec.Containers[0].Image
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("what runs (-want +got):\n%s", diff)
		}
	})
}
