//go:build linux

package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/image"
)

// A pod is known by its directory, and by a beacon outside of it, for who has lost that or has another: the shim listens
// there too, and the driver says beside it whose the pod is and what its runs are.
//
//	UID/SANDBOX/beacon.json    a beacon
//	UID/SANDBOX/shim.sock      the shim
//	UID/SANDBOX/RUN/run.json   as in the pod's directory
type beacon struct {
	Pod node.Sandbox `json:"pod"`
	Dir string       `json:"dir"` // the pod's directory
}

const beaconFile = "beacon.json"

// usableBeacons are the directories that are this user's alone, the first of which is made; that is where beacons are put.
func usableBeacons(dirs []string) (out []string) {
	for _, dir := range dirs {
		if len(out) == 0 {
			_ = os.Mkdir(dir, 0o700) // whether it can be used is seen next
		}
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) == os.Geteuid() {
			out = append(out, dir)
		}
	}
	return out
}

// beaconDir is where a sandbox of this driver has its beacon; empty: there is none.
func (r *Runtime) beaconDir(uid types.UID, sandbox string) string {
	if len(r.beacons) == 0 {
		return ""
	}
	return filepath.Join(r.beacons[0], string(uid), sandbox)
}

// light makes the beacon of a sandbox that is about to start. A pod runs without one as well.
func (r *Runtime) light(at place, pod node.Sandbox) (dir string) {
	if dir = r.beaconDir(pod.UID, at.id); dir == "" {
		return ""
	}
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = writeJSON(filepath.Join(dir, beaconFile), beacon{Pod: pod, Dir: filepath.Dir(at.dir)})
	}
	if err != nil {
		return ""
	}
	return dir
}

// note keeps what a run is made from, in its directory and beside the beacon.
func (r *Runtime) note(uid types.UID, at place, name string, known run) error {
	if dir := r.beaconDir(uid, at.id); dir != "" {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err == nil || errors.Is(err, fs.ErrExist) {
			_ = writeJSON(filepath.Join(dir, name, runFile), known) // without it the pod is found still
		}
	}
	return writeJSON(filepath.Join(at.dir, name, runFile), known)
}

// dark takes beacons of this driver away: of a pod, a sandbox or a run.
func (r *Runtime) dark(uid types.UID, rest ...string) error {
	if len(r.beacons) == 0 {
		return nil
	}
	if err := image.RemoveTree(filepath.Join(append([]string{r.beacons[0], string(uid)}, rest...)...)); err != nil {
		return err
	}
	_ = os.Remove(filepath.Join(r.beacons[0], string(uid))) // once it is empty
	return nil
}

// owns says whether a sandbox is of this driver: it lies where it did when it was started. A data directory that is lost may
// have another of its name in its place.
func (r *Runtime) owns(b beacon, at place) bool {
	if filepath.Dir(b.Dir) != r.dir {
		return false
	}
	_, err := os.Lstat(filepath.Join(b.Dir, at.id))
	return !errors.Is(err, fs.ErrNotExist)
}

// foreign is a pod of another data directory.
type foreign struct {
	beacon
	lit []place // its sandboxes, oldest first, by their beacons
}

// foreign finds a pod of another data directory; false: there is none.
func (r *Runtime) foreign(uid types.UID) (foreign, bool) {
	var found foreign
	if _, err := r.pod(uid); err != nil {
		return found, false
	}
	for _, top := range r.beacons {
		all, err := sandboxes(filepath.Join(top, string(uid)))
		if err != nil {
			continue // another process takes it away
		}
		for _, at := range all {
			var b beacon
			text, err := os.ReadFile(filepath.Join(at.dir, beaconFile))
			if err != nil || json.Unmarshal(text, &b) != nil || b.Pod.UID != uid || r.owns(b, at) {
				continue
			}
			found.beacon, found.lit = b, append(found.lit, at)
		}
	}
	slices.SortFunc(found.lit, func(a, b place) int { return strings.Compare(a.id, b.id) })
	return found, len(found.lit) > 0
}

// foreigners are the pods of other data directories that run. What is left of one that ended and whose directory is gone
// too goes with it.
func (r *Runtime) foreigners(ctx context.Context) ([]node.PodState, error) {
	var out []node.PodState
	seen := map[types.UID]bool{}
	for _, top := range r.beacons {
		entries, err := os.ReadDir(top)
		if err != nil {
			continue // a runtime directory may go with its user's last session
		}
		for _, e := range entries {
			uid := types.UID(e.Name())
			f, ok := r.foreign(uid)
			if !ok || seen[uid] {
				continue
			}
			seen[uid] = true
			state, err := r.foreignState(ctx, f)
			if err != nil {
				return nil, err
			}
			if state.Sandbox.Running {
				out = append(out, state)
				continue
			}
			if _, err := os.Lstat(f.Dir); errors.Is(err, fs.ErrNotExist) {
				_ = image.RemoveTree(filepath.Join(top, e.Name())) // it is seen again
			}
		}
	}
	return out, nil
}

func (r *Runtime) foreignState(ctx context.Context, f foreign) (node.PodState, error) {
	p := node.PodState{Pod: f.Pod}
	return p, r.fill(ctx, &p, f.lit)
}

// removeForeign ends a pod of another data directory and removes what is left of it there.
func (r *Runtime) removeForeign(ctx context.Context, f foreign) error {
	for _, at := range f.lit {
		if err := at.client().Shutdown(ctx); err != nil {
			return err
		}
		if err := r.groups.remove(ctx, at.id, "*"); err != nil {
			return err
		}
		if err := image.RemoveTree(at.dir); err != nil {
			return err
		}
		_ = os.Remove(filepath.Dir(at.dir)) // once it is empty
	}
	if filepath.Dir(f.Dir) == r.dir {
		return nil // this driver's own by now, also of a pod whose removal was cut short and that runs again
	}
	var kept node.Sandbox
	text, err := os.ReadFile(filepath.Join(f.Dir, recordFile))
	if err != nil || json.Unmarshal(text, &kept) != nil || kept.UID != f.Pod.UID {
		return nil //nolint:nilerr // the directory is lost, or is another's by now
	}
	return image.RemoveTree(f.Dir)
}
