package podnet

import (
	"net/netip"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// link is what the stack takes for its one wire: each packet goes to the pod that it is for.
type link struct {
	net        *Net
	dispatcher atomic.Pointer[stack.NetworkDispatcher]
}

var _ stack.LinkEndpoint = (*link)(nil)

// deliver gives the stack a packet, which is copied.
func (l *link) deliver(packet []byte) {
	d := l.dispatcher.Load()
	if d == nil {
		return
	}
	b := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(packet)})
	defer b.DecRef()
	(*d).DeliverNetworkPacket(header.IPv4ProtocolNumber, b)
}

// WritePackets implements stack.LinkWriter. A packet for a pod that is gone is lost.
func (l *link) WritePackets(packets stack.PacketBufferList) (int, tcpip.Error) {
	all := packets.AsSlice()
	for _, packet := range all {
		view := packet.ToView()
		h := header.IPv4(view.AsSlice())
		if h.IsValid(len(h)) {
			if p := (*l.net.ports.Load())[netip.AddrFrom4([4]byte(h.DestinationAddressSlice()))]; p != nil {
				_, _ = p.device.Write(h) // a packet that is lost is sent again
			}
		}
		view.Release()
	}
	return len(all), nil
}

// Attach implements stack.NetworkLinkEndpoint.
func (l *link) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		l.dispatcher.Store(nil)
		return
	}
	l.dispatcher.Store(&d)
}

// IsAttached implements stack.NetworkLinkEndpoint.
func (l *link) IsAttached() bool { return l.dispatcher.Load() != nil }

// MTU implements stack.NetworkLinkEndpoint.
func (l *link) MTU() uint32 { return MTU }

// SetMTU implements stack.NetworkLinkEndpoint: it is what the devices have.
func (l *link) SetMTU(uint32) {}

// MaxHeaderLength implements stack.NetworkLinkEndpoint: there is nothing below IP.
func (l *link) MaxHeaderLength() uint16 { return 0 }

// LinkAddress implements stack.NetworkLinkEndpoint.
func (l *link) LinkAddress() tcpip.LinkAddress { return "" }

// SetLinkAddress implements stack.NetworkLinkEndpoint.
func (l *link) SetLinkAddress(tcpip.LinkAddress) {}

// Capabilities implements stack.NetworkLinkEndpoint: what comes was written by a kernel of this machine a moment ago.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload
}

// Wait implements stack.NetworkLinkEndpoint: Net.Close waits for the readers.
func (l *link) Wait() {}

// ARPHardwareType implements stack.NetworkLinkEndpoint.
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }

// AddHeader implements stack.NetworkLinkEndpoint.
func (l *link) AddHeader(*stack.PacketBuffer) {}

// ParseHeader implements stack.NetworkLinkEndpoint.
func (l *link) ParseHeader(*stack.PacketBuffer) bool { return true }

// Close implements stack.NetworkLinkEndpoint.
func (l *link) Close() {}

// SetOnCloseAction implements stack.NetworkLinkEndpoint.
func (l *link) SetOnCloseAction(func()) {}
