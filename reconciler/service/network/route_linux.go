package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// addRoute has the kernel take every address of a prefix for its own: ip route add local PREFIX dev lo.
func addRoute(prefix netip.Prefix) error {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return err
	}
	prefix = prefix.Masked()
	if !prefix.Addr().Is4() {
		return fmt.Errorf("%s: not an IPv4 prefix", prefix)
	}
	ip := prefix.Addr().As4()
	order := binary.NativeEndian
	body := []byte{
		unix.AF_INET, byte(prefix.Bits()), 0, 0, unix.RT_TABLE_LOCAL, unix.RTPROT_STATIC, unix.RT_SCOPE_HOST, unix.RTN_LOCAL,
		0, 0, 0, 0,
	}
	attribute := func(kind uint16, value []byte) {
		body = order.AppendUint16(body, uint16(unix.SizeofRtAttr+len(value)))
		body = order.AppendUint16(body, kind)
		body = append(body, value...)
	}
	attribute(unix.RTA_DST, ip[:])
	attribute(unix.RTA_OIF, order.AppendUint32(nil, uint32(lo.Index)))
	var message []byte
	message = order.AppendUint32(message, uint32(unix.SizeofNlMsghdr+len(body)))
	message = order.AppendUint16(message, unix.RTM_NEWROUTE)
	message = order.AppendUint16(message, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	message = order.AppendUint32(message, 1) // sequence
	message = order.AppendUint32(message, 0)
	return ask(append(message, body...))
}

// ask sends one message to the kernel's routing and reads what became of it.
func ask(message []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	const code = unix.SizeofNlMsghdr // where the error's number is
	if n < code+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return errors.New("the kernel answered something else")
	}
	number := -int32(binary.NativeEndian.Uint32(answer[code:]))
	if number == 0 || unix.Errno(number) == unix.EEXIST {
		return nil
	}
	return unix.Errno(number)
}
