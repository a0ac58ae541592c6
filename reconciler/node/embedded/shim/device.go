//go:build linux

package shim

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// Network is how a pod leaves its network namespace: by a device whose packets somebody outside of it carries, who asks the
// shim for it (Client.Device). The zero value: it does not.
type Network struct {
	Address netip.Addr `json:"address,omitzero"` // IPv4
	Device  string     `json:"device,omitempty"` // path of the machine's tun device
	MTU     int        `json:"mtu,omitempty"`
}

// deviceName is what a pod's device is called in the pod.
const deviceName = "eth0"

// openDevice makes the pod's device, with its address and a route to everywhere.
func openDevice(n Network) (*os.File, error) {
	// It blocks here: whoever reads it makes it not block, for everybody who has it.
	fd, err := unix.Open(n.Device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", n.Device, err)
	}
	f := os.NewFile(uintptr(fd), n.Device)
	if err := setUp(fd, n); err != nil {
		return nil, errors.Join(fmt.Errorf("set up network: %w", err), f.Close())
	}
	return f, nil
}

func setUp(fd int, n Network) error {
	request := func() *unix.Ifreq {
		r, _ := unix.NewIfreq(deviceName) // its name is short enough
		return r
	}
	r := request()
	r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
		return fmt.Errorf("make device: %w", err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(s) }()
	address := n.Address.As4()
	for _, step := range []struct {
		name string
		call uint
		set  func(*unix.Ifreq) error
	}{
		{"address", unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(address[:]) }},
		{"netmask", unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 255, 255}) }},
		{"MTU", unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(uint32(n.MTU)); return nil }}, //nolint:gosec // below 2^16
		{"flags", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
	} {
		r := request()
		err := step.set(r)
		if err == nil {
			err = unix.IoctlIfreq(s, step.call, r)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	r = request()
	if err := unix.IoctlIfreq(s, unix.SIOCGIFINDEX, r); err != nil {
		return err
	}
	if err := routeEverywhere(r.Uint32()); err != nil {
		return fmt.Errorf("default route: %w", err)
	}
	return nil
}

// routeEverywhere has everything that is not the pod's own leave by a device: ip route add default dev DEVICE.
func routeEverywhere(device uint32) error {
	order := binary.NativeEndian
	body := []byte{
		unix.AF_INET, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_LINK, unix.RTN_UNICAST,
		0, 0, 0, 0,
	}
	body = order.AppendUint16(body, unix.SizeofRtAttr+4)
	body = order.AppendUint16(body, unix.RTA_OIF)
	body = order.AppendUint32(body, device)
	message := order.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body))) //nolint:gosec // some bytes
	message = order.AppendUint16(message, unix.RTM_NEWROUTE)
	message = order.AppendUint16(message, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	message = order.AppendUint32(message, 1) // sequence
	message = order.AppendUint32(message, 0)
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Sendto(fd, append(message, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	size, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	const code = unix.SizeofNlMsghdr // where the error's number is
	if size < code+4 || order.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return errors.New("the kernel answered something else")
	}
	if number := -int32(order.Uint32(answer[code:])); number != 0 { //nolint:gosec // the kernel's error
		return unix.Errno(number)
	}
	return nil
}

// lend gives the pod's device to a peer, and keeps the connection until the peer goes: its end tells the peer that the pod
// has ended.
func (s *server) lend(c *net.UnixConn) {
	if s.device == nil {
		_ = send(c, response{Version: Version, Error: "the pod has no device"}) // the peer went
		return
	}
	if send(c, response{Version: Version, Address: s.network.Address}, s.device) == nil {
		_, _ = io.Copy(io.Discard, c) // nothing more is to come
	}
}

// Device asks for the device of a pod, which does not block. It works as long as the pod lives: then held ends, and the
// caller, who closes both, is to close it, or the pod's network stays.
func (c Client) Device(ctx context.Context) (address netip.Addr, device *os.File, held net.Conn, err error) {
	conn, err := connect(c.Dir)
	if err != nil {
		return address, nil, nil, fmt.Errorf("%w: %w", ErrDead, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var a response
	var files []*os.File
	if err = send(conn, request{Version: Version, Op: opDevice}); err == nil {
		files, err = (&reader{conn: conn}).next(&a)
	}
	defer closeAll(files)
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrDead, err)
	case a.Error != "":
		err = a.refusal(opDevice)
	case len(files) != 1:
		err = errors.New("no device came")
	default:
		device, err = unblocked(files[0])
	}
	if err != nil {
		return address, nil, nil, errors.Join(err, conn.Close())
	}
	return a.Address, device, conn, nil
}

// unblocked is a copy of a file that does not block.
func unblocked(f *os.File) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var own int
	var failed error
	if err := raw.Control(func(fd uintptr) {
		own, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
		if failed == nil {
			failed = unix.SetNonblock(own, true)
		}
	}); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, failed
	}
	return os.NewFile(uintptr(own), f.Name()), nil
}

// ProbeDevice tries, with a process of its own, whether pods can have such a device on this machine; the error says what is
// missing.
func ProbeDevice(binary, device string) error {
	cmd := exec.Cmd{Path: binary, Args: []string{"belay-shim", verbDevice, device}, Env: []string{}, SysProcAttr: attributes()}
	text, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if text = bytes.TrimSpace(text); len(text) > 0 {
		return fmt.Errorf("%s", text[:min(len(text), maxReason)])
	}
	return fmt.Errorf("make namespaces: %w", err)
}

func probeDevice(args []string) int {
	if len(args) != 1 {
		return fail(errors.New("probe: a device expected"))
	}
	f, err := openDevice(Network{Address: netip.AddrFrom4([4]byte{192, 0, 2, 1}), Device: args[0], MTU: 1500})
	if err != nil {
		return fail(err)
	}
	if err := f.Close(); err != nil {
		return fail(err)
	}
	return 0
}
