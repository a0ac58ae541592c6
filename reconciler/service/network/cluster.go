package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/belay-dev/belay/reconciler/service"
	"github.com/belay-dev/belay/reconciler/service/podnet"
)

// Cluster is a range of ClusterIPs as addresses that pods reach, of this machine (Claim) or of a network of their own
// (OpenStack), with the one where names are answered.
type Cluster struct {
	Names   netip.Addr
	packets net.PacketConn
	conns   net.Listener
	stack   *podnet.Net // nil: the addresses are the machine's
	prefix  netip.Prefix
}

// NamesAt is where names are answered in a range of ClusterIPs: its first address, whose only other port is that of the
// Kubernetes API's Service, where nobody listens.
func NamesAt(cluster netip.Prefix) netip.Addr { return cluster.Masked().Addr().Next() }

// Claim makes a range of ClusterIPs addresses of this machine, unless they are already, and opens the port for names.
// Pods on a bridge of this machine reach them through their gateway. It takes the right to add a route (CAP_NET_ADMIN)
// where the route is missing, and to listen below port 1024 (CAP_NET_BIND_SERVICE). The route stays until the machine
// restarts: what listens may outlive this process.
func Claim(cluster netip.Prefix) (*Cluster, error) {
	at := NamesAt(cluster)
	if !ours(at) {
		if err := addRoute(cluster); err != nil {
			return nil, fmt.Errorf("make %s addresses of this machine: %w", cluster, err)
		}
	}
	return openNames(at)
}

const namesPort = 53

func openNames(at netip.Addr) (*Cluster, error) {
	address := netip.AddrPortFrom(at, namesPort)
	packets, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(address))
	if err != nil {
		return nil, err
	}
	conns, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(address))
	if err != nil {
		return nil, errors.Join(err, packets.Close())
	}
	return &Cluster{Names: at, packets: packets, conns: conns}, nil
}

// Close gives back what was opened, unless Run has done so.
func (c *Cluster) Close() error {
	if c == nil {
		return nil
	}
	err := c.closeNames()
	if c.stack != nil {
		err = errors.Join(err, c.stack.Close())
	}
	return err
}

// closeNames ends the answers for names.
func (c *Cluster) closeNames() error {
	if c == nil {
		return nil
	}
	var errs []error
	for _, err := range []error{c.packets.Close(), c.conns.Close()} {
		if !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// ours says whether an address is one of this machine.
func ours(at netip.Addr) bool {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
	if err != nil {
		return false
	}
	return c.Close() == nil
}

// listen opens an address of the cluster, or of the machine.
func (c *Cluster) listen(address string) (net.Listener, error) {
	at, err := netip.ParseAddrPort(address)
	if err == nil && c.stack != nil && c.prefix.Contains(at.Addr()) {
		return c.stack.Listen(at)
	}
	return net.Listen("tcp", address)
}

// listenPacket is listen for datagrams.
func (c *Cluster) listenPacket(address string) (net.PacketConn, error) {
	at, err := netip.ParseAddrPort(address)
	if err == nil && c.stack != nil && c.prefix.Contains(at.Addr()) {
		return c.stack.ListenPacket(at)
	}
	return net.ListenPacket("udp", address)
}

// datagrams has those for pods that have a network of their own go there, as from where names are answered.
func (c *Cluster) datagrams(dial service.Dial) service.Dial {
	if c == nil || c.stack == nil {
		return dial
	}
	return func(ctx context.Context, b service.Backend) (net.Conn, error) {
		if !b.UDP {
			return dial(ctx, b)
		}
		ip, err := netip.ParseAddr(b.IP)
		if err != nil {
			return nil, err
		}
		return c.stack.DialPacket(c.Names, netip.AddrPortFrom(ip, uint16(b.Port))) //nolint:gosec // it is one of a manifest
	}
}
