//go:build linux

package embedded

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/embedded/shim"
)

// run is what the driver keeps of one run of a container.
type run struct {
	Name    string `json:"name"`
	Attempt int32  `json:"attempt"`
	Ref     string `json:"ref"`
	Image   string `json:"image"`
	Digest  string `json:"digest,omitempty"`
	Signal  int    `json:"signal"` // that asks it to end
	TTY     bool   `json:"tty,omitempty"`
}

const (
	runFile = "run.json"
	logFile = "log"
)

// Pod implements node.Sandboxes.
func (r *Runtime) Pod(ctx context.Context, uid types.UID) (node.PodState, bool, error) {
	dir, err := r.pod(uid)
	if err != nil {
		return node.PodState{}, false, err
	}
	text, err := os.ReadFile(filepath.Join(dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		f, ok := r.foreign(uid)
		if !ok {
			return node.PodState{}, false, nil
		}
		p, err := r.foreignState(ctx, f)
		return p, err == nil, err
	}
	var p node.PodState
	if err == nil {
		err = json.Unmarshal(text, &p.Pod)
	}
	if err != nil {
		return node.PodState{}, false, err
	}
	all, err := sandboxes(dir)
	if err != nil {
		return node.PodState{}, false, err
	}
	if err := r.fill(ctx, &p, all); err != nil {
		return node.PodState{}, false, err
	}
	return p, true, nil
}

// fill adds what a pod has in its sandboxes, of which the last one counts.
func (r *Runtime) fill(ctx context.Context, p *node.PodState, all []place) error {
	for i, at := range all {
		runs, alive, err := r.runs(ctx, at, p.Pod.UID)
		if err != nil {
			return err
		}
		p.Containers = append(p.Containers, runs...)
		if i == len(all)-1 {
			p.Sandbox = node.SandboxState{ID: at.id, IP: at.ip(p.Pod.UID), Running: alive, Created: at.created()}
		}
	}
	slices.SortFunc(p.Containers, func(a, b node.ContainerState) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Attempt, b.Attempt))
	})
	return nil
}

// List implements node.Sandboxes.
func (r *Runtime) List(ctx context.Context) ([]node.PodState, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, err
	}
	out, err := r.foreigners(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		p, ok, err := r.Pod(ctx, types.UID(e.Name()))
		if err != nil {
			continue // a directory that is no pod's, or one that is being made
		}
		if i := slices.IndexFunc(out, func(o node.PodState) bool { return o.Pod.UID == p.Pod.UID }); ok && i >= 0 {
			out[i] = p
		} else if ok {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b node.PodState) int { return cmp.Compare(a.Pod.UID, b.Pod.UID) })
	return out, nil
}

// runs are those of one sandbox, and whether it lives. The word of a dead shim is what it wrote last: what ran then was
// killed with it.
func (r *Runtime) runs(ctx context.Context, at place, uid types.UID) (out []node.ContainerState, alive bool, err error) {
	states, err := at.client().States(ctx)
	switch {
	case err == nil:
		alive = true
	case ctx.Err() != nil:
		return nil, false, ctx.Err()
	case errors.Is(err, shim.ErrDead):
		if states, err = kept(at.dir); err != nil {
			return nil, false, err
		}
	default:
		return nil, false, err
	}
	for _, s := range states {
		known, err := readRun(filepath.Join(at.dir, s.Name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is being removed
		}
		if err != nil {
			return nil, false, err
		}
		if s.Phase == shim.Refused {
			continue // Start said so
		}
		out = append(out, stateOf(runID(uid, at.id, s.Name), at.id, known, s, alive))
	}
	return out, alive, nil
}

func stateOf(id, sandbox string, known run, s shim.Status, alive bool) node.ContainerState {
	c := node.ContainerState{
		ID: id, Sandbox: sandbox, Name: known.Name, Attempt: known.Attempt, Ref: known.Ref, Image: known.Image, Digest: known.Digest,
		Phase: node.PhaseRunning, Started: s.Started.UTC(),
	}
	switch {
	case s.Phase == shim.Exited:
		c.Phase, c.Finished, c.Exit, c.OOM, c.Message = node.PhaseExited, s.Finished.UTC(), int32(s.ExitCode), s.OOM, s.Message
	case !alive:
		c.Phase, c.Finished, c.Exit = node.PhaseExited, c.Started, 128+int32(unix.SIGKILL)
		c.Message = "the pod's process ended, and this container with it"
	case s.Started.IsZero():
		c.Phase = node.PhaseCreated
	}
	return c
}

// kept is what a dead shim wrote last.
func kept(dir string) ([]shim.Status, error) {
	text, err := os.ReadFile(filepath.Join(dir, shim.StateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var states []shim.Status
	return states, json.Unmarshal(text, &states)
}

func readRun(dir string) (run, error) {
	text, err := os.ReadFile(filepath.Join(dir, runFile))
	if err != nil {
		return run{}, err
	}
	var known run
	return known, json.Unmarshal(text, &known)
}

// Watch implements node.Sandboxes. Each pod that lives is watched by a connection to its shim.
func (r *Runtime) Watch(ctx context.Context, changed func(types.UID)) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	ended := make(chan string)
	watched := map[string]bool{} // by the directory of a sandbox
	for {
		r.mu.Lock()
		news := r.news
		r.mu.Unlock()
		entries, err := os.ReadDir(r.dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			all, err := sandboxes(filepath.Join(r.dir, e.Name()))
			if err != nil || len(all) == 0 || watched[all[len(all)-1].dir] {
				continue
			}
			at, uid := all[len(all)-1], types.UID(e.Name())
			watched[at.dir] = true
			wg.Go(func() {
				_ = at.client().Watch(ctx, func([]shim.Status) { changed(uid) }) // its end is news, whatever it is
				changed(uid)
				select {
				case ended <- at.dir:
				case <-ctx.Done():
				}
			})
		}
		select {
		case <-news:
		case <-ended: // it stays among the watched: a sandbox that ended does not come again
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
