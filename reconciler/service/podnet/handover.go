package podnet

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// A network that another process takes over reads no device any more, and carries the connections that its stack has to
// their end: the other one, which reads the devices, sends it their packets.

// Flow is one connection of a pod: what is handed over.
type Flow struct {
	From netip.AddrPort `json:"from"`
	To   netip.AddrPort `json:"to"`
}

// Retire leaves the devices to another process, and tells the connections that are this one's to carry on. Nothing new is
// begun; what was begun has come to somebody who listens, or ctx has ended. It returns when no packet is read any more.
func (n *Net) Retire(ctx context.Context) []Flow {
	n.mu.Lock()
	retired := n.retired
	if n.retired = true; !retired && n.opening == 0 {
		close(n.opened)
	}
	n.mu.Unlock()
	if retired {
		return nil
	}
	select {
	case <-n.opened:
	case <-ctx.Done():
	}
	n.mu.Lock()
	for _, p := range *n.ports.Load() {
		_ = p.device.SetReadDeadline(time.Unix(1, 0)) // one that is gone is not read either
	}
	n.mu.Unlock()
	n.reads.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []Flow
	for key := range n.flows {
		out = append(out, Flow{key.from, key.to})
	}
	if before := n.before.Load(); before != nil {
		out = append(out, before.list()...)
	}
	slices.SortFunc(out, func(a, b Flow) int {
		if c := a.From.Compare(b.From); c != 0 {
			return c
		}
		return a.To.Compare(b.To)
	})
	n.settle()
	return out
}

// settle tells who waits for the end of a retired network. n.mu is held.
func (n *Net) settle() {
	if !n.retired || len(n.flows) > 0 || n.before.Load() != nil {
		return
	}
	select {
	case <-n.idle:
	default:
		close(n.idle)
	}
}

// Idle is closed when a retired network has carried everything to its end.
func (n *Net) Idle() <-chan struct{} { return n.idle }

// Follow takes packets from the process that took over, until that has gone: then what is still open is broken, because
// nothing comes any more.
func (n *Net) Follow(from io.Reader) error {
	defer n.sever()
	packet := make([]byte, 1<<16)
	for {
		size, err := readPacket(from, packet)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if header.IPv4(packet).IsValid(size) {
			n.local(packet[:size])
		}
	}
}

// sever breaks what is open, here and in the process before.
func (n *Net) sever() {
	if before := n.before.Load(); before != nil {
		_ = before.to.Close() // which ends what it follows
	}
	n.abort(nil)
}

// Precede has the packets of flows go to the process that was before this one, until it does not take them any more.
// It is called before a pod is attached.
func (n *Net) Precede(flows []Flow, to io.ReadWriteCloser) {
	before := &predecessor{flows: map[flowKey]bool{}, to: to}
	for _, f := range flows {
		before.flows[flowKey{f.From, f.To}] = true
	}
	n.before.Store(before)
	n.work.Go(func() {
		_, _ = io.Copy(io.Discard, to) // its end is all there is to read
		_ = to.Close()
		n.before.Store(nil)
		n.mu.Lock()
		defer n.mu.Unlock()
		n.settle()
	})
}

// predecessor is the process that was before.
type predecessor struct {
	to io.ReadWriteCloser

	mu    sync.Mutex // guards what follows, and the order of what is written
	flows map[flowKey]bool
}

// takes gives a packet to the process that it is for; false: it is this one's.
func (b *predecessor) takes(h header.IPv4) bool {
	segment := header.TCP(h.Payload())
	if len(segment) < header.TCPMinimumSize || h.FragmentOffset() != 0 {
		return false
	}
	key := flowKey{
		netip.AddrPortFrom(netip.AddrFrom4([4]byte(h.SourceAddressSlice())), segment.SourcePort()),
		netip.AddrPortFrom(netip.AddrFrom4([4]byte(h.DestinationAddressSlice())), segment.DestinationPort()),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.flows[key] {
		return false
	}
	if f := segment.Flags(); f.Contains(header.TCPFlagSyn) && !f.Contains(header.TCPFlagAck) { // a new one between the same ports
		delete(b.flows, key)
		return false
	}
	if err := writePacket(b.to, h); err != nil {
		clear(b.flows)
		return false
	}
	return true
}

func (b *predecessor) list() []Flow {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Flow
	for key := range b.flows {
		out = append(out, Flow{key.from, key.to})
	}
	return out
}

// Packets go from process to process one after the other, each with its length before it.

func writePacket(to io.Writer, packet []byte) error {
	_, err := to.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)) //nolint:gosec // of IP's own field
	return err
}

func readPacket(from io.Reader, packet []byte) (int, error) {
	var size [2]byte
	if _, err := io.ReadFull(from, size[:]); err != nil {
		return 0, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(from, packet[:n]); err != nil {
		return 0, errors.Join(io.ErrUnexpectedEOF, err)
	}
	return n, nil
}
