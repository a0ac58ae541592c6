//go:build linux

package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node/embedded/shim"
)

// Network is how pods leave the networks of their own. The zero value: they do not.
type Network struct {
	Range  netip.Prefix // of the pods' addresses, IPv4
	Device string       // the machine's tun device; empty: /dev/net/tun
	MTU    int
	// Carry has somebody carry the packets of a pod that has begun to run, with its Device. It is called again for one that is
	// carried.
	Carry func(ctx context.Context, uid types.UID) error
}

const tunDevice = "/dev/net/tun"

// tryNetwork has a process make a device as each pod will. Why it cannot is told with the machine.
func (r *Runtime) tryNetwork(n Network) {
	if !n.Range.IsValid() {
		return
	}
	if n.Device == "" {
		n.Device = tunDevice
	}
	if err := shim.ProbeDevice(r.shim, n.Device); err != nil {
		r.machine.Alone = err.Error()
		return
	}
	r.network, r.machine.Addresses = n, n.Range
}

// reserve is the address of a new sandbox of a pod, until release: the one that the pod has had, else the next that is free
// after one that its UID stands for. The zero value: pods have none.
func (r *Runtime) reserve(uid types.UID) (netip.Addr, error) {
	if !r.network.Range.IsValid() {
		return netip.Addr{}, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.addresses == nil { // those of the drivers before this one
		before, err := UIDs(r.dir)
		if err != nil {
			return netip.Addr{}, err
		}
		r.addresses = map[types.UID]netip.Addr{}
		for _, other := range before {
			at, err := newest(r.dir, other)
			if err != nil {
				continue // it has none
			}
			if a := at.address(); a.IsValid() {
				r.addresses[other] = a
			}
		}
	}
	if a := r.addresses[uid]; r.network.Range.Contains(a) {
		return a, nil
	}
	taken := map[netip.Addr]bool{}
	for _, a := range r.addresses {
		taken[a] = true
	}
	a, err := choose(r.network.Range, uid, taken)
	if err == nil {
		r.addresses[uid] = a
	}
	return a, err
}

// release gives a pod's address back.
func (r *Runtime) release(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.addresses, uid)
}

// choose finds a free address. The first and the last of a range are nobody's.
func choose(of netip.Prefix, uid types.UID, taken map[netip.Addr]bool) (netip.Addr, error) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(uid)) // a hash takes everything
	size := uint32(1)<<(32-of.Bits()) - 2
	first := of.Masked().Addr().As4()
	base := uint32(first[0])<<24 | uint32(first[1])<<16 | uint32(first[2])<<8 | uint32(first[3])
	for i := range size {
		n := base + 1 + (h.Sum32()%size+i)%size
		a := netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) //nolint:gosec // its bytes
		if !taken[a] {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("all addresses of %s are taken", of)
}

// address is the one that a sandbox was made with; the zero value: none.
func (p place) address() netip.Addr {
	text, err := os.ReadFile(filepath.Join(p.dir, shim.PodFile))
	var pod shim.Pod
	if err != nil || json.Unmarshal(text, &pod) != nil {
		return netip.Addr{} // it is being made, or removed
	}
	return pod.Network.Address
}

// ip is what stands for a sandbox's pod: its address, or one of loopback, which leads to itself inside of every pod.
func (p place) ip(uid types.UID) string {
	if a := p.address(); a.IsValid() {
		return a.String()
	}
	return loopback(uid)
}

// carry has the packets of a pod carried, if it has a device.
func (r *Runtime) carry(ctx context.Context, uid types.UID, at place) error {
	if r.network.Carry == nil || !at.address().IsValid() {
		return nil
	}
	if err := r.network.Carry(ctx, uid); err != nil {
		return fmt.Errorf("connect pod to the network: %w", err)
	}
	return nil
}

// Device is what leads out of a pod's network.
type Device struct {
	Sandbox string // that it is of
	Address netip.Addr
	File    *os.File // its packets; reads do not block
	Held    net.Conn // ends with the pod; then File is to be closed
}

// OpenDevice gives the device of a pod below a directory of pods, to who carries its packets.
func OpenDevice(ctx context.Context, pods string, uid types.UID) (Device, error) {
	at, err := newest(pods, uid)
	if err != nil {
		return Device{}, err
	}
	d := Device{Sandbox: at.id}
	d.Address, d.File, d.Held, err = at.client().Device(ctx)
	return d, err
}

// UIDs lists the pods below a directory of pods.
func UIDs(pods string) ([]types.UID, error) {
	entries, err := os.ReadDir(pods)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []types.UID
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, types.UID(e.Name()))
		}
	}
	return out, nil
}

// newest is the sandbox that a pod has now.
func newest(pods string, uid types.UID) (place, error) {
	dir, err := podDir(pods, uid)
	if err != nil {
		return place{}, err
	}
	all, err := sandboxes(dir)
	if err != nil {
		return place{}, err
	}
	if len(all) == 0 {
		return place{}, fmt.Errorf("pod %s: %w", uid, fs.ErrNotExist)
	}
	return all[len(all)-1], nil
}
