package app

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/docker"
	"github.com/belay-dev/belay/reconciler/service/network"
)

// chosen is the driver of containers that was resolved. Runtime is nil when pods are simulated.
type chosen struct {
	node.Runtime
	name   Runtime
	reason string
	about  string // what pods get and what they do not; empty: what the engine gives
	close  func() error

	addresses netip.Prefix             // of pods whose packets a network of its own carries; the zero value: there are none
	carried   func(by *network.Client) // tells who does, before the first pod runs
}

// engineTimeout is how long an engine may take to say that it is there.
const engineTimeout = 5 * time.Second

// resolve chooses the runtime and says why.
func (a *App) resolve(ctx context.Context) (chosen, error) {
	c := a.config
	switch {
	case c.Runtime == RuntimeSimulated:
		return chosen{name: RuntimeSimulated, reason: "configured"}, nil
	case c.Runtime == RuntimeAuto && len(c.Simulate) > 0:
		return chosen{name: RuntimeSimulated, reason: "simulate says how pods behave"}, nil
	case c.Runtime == RuntimeEmbedded:
		return a.openEmbedded(ctx)
	}
	inTime, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	engine, err := docker.Open(inTime)
	switch {
	case err == nil && c.Runtime == RuntimeDocker:
		return chosen{Runtime: engine, name: RuntimeDocker, reason: "configured: " + engine.String(), close: engine.Close}, nil
	case err == nil:
		return chosen{Runtime: engine, name: RuntimeDocker, reason: engine.String() + " answers", close: engine.Close}, nil
	case c.Runtime == RuntimeDocker:
		return chosen{}, &hinted{fmt.Errorf("runtime docker: %w", err), "start the engine, or choose --runtime simulated"}
	}
	own, ownErr := a.openEmbedded(ctx)
	switch {
	case ownErr == nil:
		own.reason = "no engine answers: " + err.Error()
		return own, nil
	case errors.Is(ownErr, errNoShim): // a program of the tests
		return chosen{name: RuntimeSimulated, reason: "no engine for real pods: " + err.Error() + "; " + ownErr.Error()}, nil
	}
	return chosen{}, fmt.Errorf("%w; no engine answers either: %w", ownErr, err)
}

// RemovePods ends and removes what runs of this data directory, without grace. The service does not run.
func (a *App) RemovePods(ctx context.Context) error {
	engine, err := a.resolve(ctx)
	if err != nil || engine.Runtime == nil {
		return err
	}
	all, err := engine.List(ctx)
	for _, p := range all {
		if p.Pod.Origin.Directory == a.dir {
			err = errors.Join(err, engine.RemovePod(ctx, p.Pod.UID))
		}
	}
	return errors.Join(err, engine.close())
}

// shimName is the binary that holds a pod, beside that of Belay.
const shimName = "belay-shim"

// errNoShim says that this process cannot hold pods, and that nothing else is there that could.
var errNoShim = errors.New("no binary holds pods")

// findShim is the binary to start pods with: belay-shim where it lies beside this one, else this one itself. whole says
// that it is this one, each of whose pods costs more memory.
func findShim(own func() (string, bool)) (file string, whole bool, err error) {
	exe, err := os.Executable()
	if err != nil {
		return "", false, err
	}
	beside := filepath.Join(filepath.Dir(exe), shimName)
	if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
		return beside, false, nil
	}
	file, ok := own()
	if !ok {
		return "", false, fmt.Errorf("%s does not lie beside %s: %w", shimName, exe, errNoShim)
	}
	return file, true, nil
}
