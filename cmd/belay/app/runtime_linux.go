package app

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node/embedded"
	"github.com/belay-dev/belay/reconciler/node/embedded/shim"
	"github.com/belay-dev/belay/reconciler/service"
	"github.com/belay-dev/belay/reconciler/service/network"
	"github.com/belay-dev/belay/reconciler/service/podnet"
)

// reachSandboxes reaches the pods below a directory of that driver.
func reachSandboxes(pods string) network.Pods {
	return network.Pods{
		Dial: func(ctx context.Context, b service.Backend) (net.Conn, error) {
			return embedded.Dial(ctx, pods, types.UID(b.Pod), b.Port)
		},
		List: func() ([]string, error) {
			uids, err := embedded.UIDs(pods)
			var out []string
			for _, uid := range uids {
				out = append(out, string(uid))
			}
			return out, err
		},
		Open: func(ctx context.Context, pod string) (network.Device, error) {
			d, err := embedded.OpenDevice(ctx, pods, types.UID(pod))
			return network.Device{Sandbox: d.Sandbox, Address: d.Address, File: d.File, Held: d.Held}, err
		},
	}
}

// openEmbedded opens the driver that needs no engine.
func (a *App) openEmbedded(ctx context.Context) (chosen, error) {
	file, whole, err := findShim(shim.Own)
	if err != nil {
		return chosen{}, fmt.Errorf("runtime embedded: %w", err)
	}
	o := embedded.Options{Pods: a.sandboxes(), Images: filepath.Join(a.dir, "images"), Shim: file, Beacons: runtimeDirs()}
	var carrier *network.Client // that carries the packets of pods
	if len(a.Network) > 0 {     // a process outlives this one, as pods do
		o.Network = embedded.Network{
			Range: a.config.podRange(), MTU: podnet.MTU,
			Carry: func(ctx context.Context, uid types.UID) error { return carrier.Carry(ctx, string(uid)) },
		}
	}
	r, err := embedded.Open(ctx, o)
	if err != nil {
		return chosen{}, &hinted{fmt.Errorf("runtime embedded: %w", err),
			"run as root or allow user namespaces to users, start a Docker engine, or choose --runtime simulated"}
	}
	about := r.Machine().String()
	if whole {
		about += "; " + shimName + " does not lie beside belay, so that each pod takes some megabytes more"
	}
	return chosen{
		Runtime: r, name: RuntimeEmbedded, reason: "configured", about: about, close: func() error { return nil },
		addresses: r.Machine().Addresses, carried: func(by *network.Client) { carrier = by },
	}, nil
}

// runtimeDirs are where services of this user tell each other of their pods, outside of any data directory: what ends when
// the machine does, as pods do.
func runtimeDirs() []string {
	const own = "belay"
	var dirs []string
	uid := strconv.Itoa(os.Geteuid())
	if uid == "0" {
		dirs = append(dirs, filepath.Join("/run", own))
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		dirs = append(dirs, filepath.Join(dir, own))
	}
	return append(dirs, filepath.Join("/run/user", uid, own), filepath.Join(os.TempDir(), own+"-"+uid))
}

// Embeddable says why the embedded runtime cannot run pods on this machine with their data below dir; nil: it can.
func Embeddable(dir string) error {
	file, _, err := findShim(shim.Own)
	if err != nil {
		return err
	}
	return shim.Probe(file, dir, nil)
}
