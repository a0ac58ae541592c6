//go:build unix

package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/belay-dev/belay/reconciler/service/podnet"
)

// OpenStack is a range of ClusterIPs in a network of pods, where names are answered too. What pods have begun ends with ctx.
func OpenStack(ctx context.Context, cluster, pods netip.Prefix) (*Cluster, error) {
	var d net.Dialer
	n, err := podnet.New(ctx, podnet.Options{Pods: pods, Cluster: cluster, Outside: d.DialContext, Flows: maxFlows()})
	if err != nil {
		return nil, err
	}
	at := netip.AddrPortFrom(NamesAt(cluster), namesPort)
	c := &Cluster{Names: at.Addr(), stack: n, prefix: cluster}
	if c.packets, err = n.ListenPacket(at); err == nil {
		c.conns, err = n.Listen(at)
	}
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return c, nil
}

// fileShare is the part of the open files that this process may have which pods may take: one for each connection.
const fileShare = 2

func maxFlows() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	const most = 1 << 16
	return int(min(limit.Cur/fileShare, most)) //nolint:gosec // it is bounded
}

// openTime bounds how long what pods have begun to open may make the other process wait.
const openTime = 2 * time.Second

// giveStack leaves the devices of pods to the peer, and takes from it the packets of the connections that stay.
func (p *process) giveStack(ctx context.Context, c *net.UnixConn) error {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	flows := p.stack().Retire(ctx)
	words, err := json.Marshal(flows)
	if err != nil {
		return err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	own, theirs := os.NewFile(uintptr(fds[0]), "packets"), os.NewFile(uintptr(fds[1]), "packets")
	defer own.Close()
	defer theirs.Close()
	packets, err := net.FileConn(own)
	if err != nil {
		return err
	}
	p.packets = packets
	p.following.Go(func() {
		if err := p.stack().Follow(packets); err != nil && !errors.Is(err, net.ErrClosed) {
			fmt.Fprintln(os.Stderr, "packets of the other process:", err)
		}
	})
	return errors.Join(sendWords(c, words), sendFile(c, theirs))
}

// unfollow ends what giveStack began.
func (p *process) unfollow() {
	if p.packets != nil {
		_ = p.packets.Close()
	}
	p.following.Wait()
}

// takeStack takes the devices over, and gives back the packets of the connections that stay. A network without a stack has
// none of them.
func (i *inheritance) takeStack(stack *podnet.Net) error {
	words, err := receiveWords(i.conn)
	if err != nil {
		return err
	}
	var flows []podnet.Flow
	if err := json.Unmarshal(words, &flows); err != nil {
		return err
	}
	packets, err := receive(i.conn, net.FileConn)
	if err != nil {
		return err
	}
	if stack == nil || len(flows) == 0 {
		return packets.Close()
	}
	stack.Precede(flows, packets)
	return nil
}
