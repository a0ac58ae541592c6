package conformance

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
)

// tick is how often is looked again at what should have been told.
func tick() <-chan time.Time { return time.After(100 * time.Millisecond) }

func sandbox(b *bench) {
	p := b.pod()
	first, found, err := b.Pod(b.Context(), p.UID)
	if err != nil || !found || !first.Sandbox.Running || first.Sandbox.IP == "" || first.Sandbox.ID == "" {
		b.Fatalf("pod is %+v, %v, %v", first, found, err)
	}
	if diff := cmp.Diff(p, first.Pod); diff != "" {
		b.Errorf("what the engine keeps of the pod (-want +got):\n%s", diff)
	}
	again, err := b.RunPod(b.Context(), p)
	if err != nil || again.ID != first.Sandbox.ID || again.IP != first.Sandbox.IP {
		b.Errorf("a sandbox that runs became %+v, %v", again, err)
	}
	for range 2 {
		if err := b.RemovePod(b.Context(), p.UID); err != nil {
			b.Fatal(err)
		}
		if _, found, err := b.Pod(b.Context(), p.UID); found || err != nil {
			b.Errorf("a pod that was removed is found: %v, %v", found, err)
		}
	}
}

func sandboxEnds(b *bench) {
	p := b.pod()
	c := b.container(p, "forever")
	id := b.start(c)
	before, _, err := b.Pod(b.Context(), p.UID)
	if err != nil {
		b.Fatal(err)
	}
	b.KillSandbox(b.T, before.Sandbox.ID)
	b.await(p.UID, func(s node.PodState) bool { return !s.Sandbox.Running })
	after, err := b.RunPod(b.Context(), p)
	if err != nil || after.ID == before.Sandbox.ID || !after.Running {
		b.Fatalf("the next sandbox is %+v, %v", after, err)
	}
	if r := b.over(p.UID, id); r.Sandbox != before.Sandbox.ID {
		b.Errorf("the run of the sandbox that ended is %+v", r)
	}
	c.Attempt = 1
	id = b.start(c)
	state := b.await(p.UID, func(s node.PodState) bool { return len(s.Containers) == 2 && s.Containers[1].ID == id })
	if state.Containers[1].Sandbox != after.ID {
		b.Errorf("the next run is in %s, not in %s", state.Containers[1].Sandbox, after.ID)
	}
}

func run(b *bench) {
	p := b.pod()
	c := b.container(p, "exit", "3")
	id := b.start(c)
	got := b.over(p.UID, id)
	state, _, err := b.Pod(b.Context(), p.UID)
	if err != nil {
		b.Fatal(err)
	}
	if got.Started.IsZero() || got.Finished.Before(got.Started) {
		b.Errorf("ran from %s to %s", got.Started, got.Finished)
	}
	want := node.ContainerState{
		ID: id, Sandbox: state.Sandbox.ID, Name: "c", Ref: b.App, Image: c.Image, Digest: got.Digest, Phase: node.PhaseExited,
		Started: got.Started, Finished: got.Finished, Exit: 3,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.Errorf("run (-want +got):\n%s", diff)
	}
	if !state.Sandbox.Running {
		b.Error("the sandbox ended with its container")
	}
}

// restarts has several runs of a container, of which the engine keeps each until it is removed.
func restarts(b *bench) {
	p := b.pod()
	c := b.container(p, "exit", "1")
	var ids []string
	for range 3 {
		id := b.start(c)
		b.over(p.UID, id)
		ids = append(ids, id)
		c.Attempt++
	}
	attempts := func() (got []string) {
		state, _, err := b.Pod(b.Context(), p.UID)
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range state.Containers {
			got = append(got, r.ID)
		}
		return got
	}
	if got := attempts(); !slices.Equal(got, ids) {
		b.Errorf("runs are %q, want %q", got, ids)
	}
	for range 2 {
		if err := b.Remove(b.Context(), ids[0]); err != nil {
			b.Fatal(err)
		}
	}
	if got := attempts(); !slices.Equal(got, ids[1:]) {
		b.Errorf("runs are %q, want %q", got, ids[1:])
	}
}

func stop(b *bench) {
	p := b.pod()
	for name, c := range map[string]struct {
		verb  string
		grace time.Duration
		exit  int32
	}{
		"gentle": {"forever", time.Hour, 0},
		"deaf":   {"deaf", time.Second, 137},
		"now":    {"forever", 0, 137},
	} {
		b.Run(name, func(t *testing.T) {
			spec := b.container(p, c.verb)
			spec.Name = name
			id := b.start(spec)
			b.listens(id, c.verb)
			for range 2 {
				if err := b.Stop(b.Context(), id, c.grace); err != nil {
					t.Fatal(err)
				}
			}
			if r := b.over(p.UID, id); r.Exit != c.exit || r.OOM {
				t.Errorf("ended with %+v, want %d", r, c.exit)
			}
		})
	}
	if err := b.Stop(b.Context(), "0123456789abcdef", time.Second); err != nil {
		b.Errorf("stop of what is not there: %v", err)
	}
}

// listens waits until a container has set up what it does with signals: it says so.
func (b *bench) listens(id, verb string) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	logs, err := b.Runtime.Logs(ctx, id, node.LogOptions{Follow: true})
	if err != nil {
		b.Fatal(err)
	}
	defer logs.Close()
	if _, err := logs.Read(make([]byte, 1)); err != nil {
		b.Fatalf("%s says nothing: %v", verb, err)
	}
}

func killed(b *bench) {
	p := b.pod()
	id := b.start(b.container(p, "forever"))
	b.Kill(b.T, id)
	if r := b.over(p.UID, id); r.Exit != 137 || r.OOM {
		b.Errorf("ended with %+v", r)
	}
}

func missingEntrypoint(b *bench) {
	p := b.pod()
	c := b.container(p, "forever")
	c.Command = []string{"/missing"}
	_, err := b.Start(b.Context(), c)
	refused, ok := errors.AsType[*node.StartError](err)
	if !ok || refused.Reason != node.ReasonRunContainer {
		b.Fatalf("start: %v, want a %s", err, node.ReasonRunContainer)
	}
	state, _, err := b.Pod(b.Context(), p.UID)
	if err != nil || len(state.Containers) != 0 {
		b.Errorf("runs are %+v, %v", state.Containers, err)
	}
	c.Command = nil
	b.start(c)
}

func outOfMemory(b *bench) {
	if b.Unbounded != "" {
		b.Skip("memory is not bounded here: ", b.Unbounded)
	}
	p := b.pod()
	c := b.container(p, "eat")
	c.Resources.Memory = 64 << 20
	id := b.start(c)
	if r := b.over(p.UID, id); !r.OOM || r.Exit != 137 {
		b.Errorf("ended with %+v", r)
	}
}

func adoption(b *bench) {
	p := b.pod()
	running, over := b.container(p, "forever"), b.container(p, "exit", "7")
	over.Name = "over"
	first, second := b.start(running), b.start(over)
	b.listens(first, running.Args[0])
	b.over(p.UID, second)
	before, _, err := b.Pod(b.Context(), p.UID)
	if err != nil {
		b.Fatal(err)
	}

	later := &bench{T: b.T, World: b.World, Runtime: b.Open(b.T), ctx: b.ctx}
	all, err := later.List(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	i := slices.IndexFunc(all, func(s node.PodState) bool { return s.Pod.UID == p.UID })
	if i < 0 {
		b.Fatalf("the pod is not among %d", len(all))
	}
	if diff := cmp.Diff(before, all[i]); diff != "" {
		b.Errorf("seen by a later driver (-before +after):\n%s", diff)
	}
	if !slices.IsSortedFunc(all, func(x, y node.PodState) int {
		if x.Pod.UID < y.Pod.UID {
			return -1
		}
		return 1
	}) {
		b.Error("the list is not in order")
	}
	again, err := later.RunPod(b.Context(), p)
	if err != nil || again.ID != before.Sandbox.ID {
		b.Errorf("the later driver made sandbox %+v, %v", again, err)
	}
	if err := later.Stop(b.Context(), first, time.Hour); err != nil {
		b.Fatal(err)
	}
	later.over(p.UID, first)
}

func watch(b *bench) {
	p := b.pod()
	ctx, cancel := context.WithCancel(b.Context())
	hints := make(chan types.UID)
	ended := make(chan error, 1)
	go func() {
		ended <- b.Runtime.Watch(ctx, func(uid types.UID) {
			select {
			case hints <- uid:
			case <-ctx.Done():
			}
		})
	}()
	told := func(what string) {
		for {
			select {
			case uid := <-hints:
				if uid == p.UID {
					return
				}
			case <-b.Context().Done():
				b.Fatalf("nothing was told of the %s", what)
			}
		}
	}
	// When the watch begins is not known: tried until it tells.
	c := b.container(p, "exit", "0")
	for begun := false; !begun && b.Context().Err() == nil; c.Attempt++ {
		b.start(c)
		select {
		case <-hints:
			begun = true
		case <-tick():
		}
	}
	id := b.start(c)
	told("start")
	b.over(p.UID, id)
	cancel()
	if err := b.ended("a watch whose context has ended", ended); !errors.Is(err, context.Canceled) {
		b.Errorf("watch ended with %v", err)
	}
}
