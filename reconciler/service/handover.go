package service

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// What a proxy hands over to another one, of another process, so that no connection meets a closed door: the listeners. The
// connections that it carries it carries to their end.

// Files are copies of the open listeners by their keys; the caller closes them.
func (p *Proxy) Files() (map[string]*os.File, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]*os.File{}
	for _, doors := range p.doors {
		for key, d := range doors {
			var opened any = d.listener
			if d.packets != nil {
				opened = d.packets
			}
			l, ok := opened.(interface{ File() (*os.File, error) })
			if !ok {
				continue
			}
			f, err := l.File()
			if err != nil {
				for _, had := range out {
					_ = had.Close() // a copy
				}
				return nil, fmt.Errorf("copy listener: %w", err)
			}
			out[key] = f
		}
	}
	return out, nil
}

// Reopen is what one of Files stands for, a net.Listener or a net.PacketConn.
func Reopen(key string, f *os.File) (io.Closer, error) {
	if strings.HasPrefix(key, udpPrefix) {
		return net.FilePacketConn(f)
	}
	return net.FileListener(f)
}

// Give has Set take what is open already, by key: what Reopen returns.
func (p *Proxy) Give(opened map[string]io.Closer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.given = opened
}

// DropGiven closes what was given and nobody asked for.
func (p *Proxy) DropGiven() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dropGiven()
}

func (p *Proxy) dropGiven() error {
	var errs []error
	for _, l := range p.given {
		errs = append(errs, l.Close())
	}
	p.given = nil
	return errors.Join(errs...)
}

// open opens a listener, unless it is open already.
func (p *Proxy) open(w Listener) (*door, error) {
	given := p.given[w.Key()]
	delete(p.given, w.Key())
	d := &door{}
	var err error
	if w.UDP {
		if d.packets, _ = given.(net.PacketConn); d.packets == nil {
			d.packets, err = p.listenPacket(w.Address)
		}
	} else if d.listener, _ = given.(net.Listener); d.listener == nil {
		d.listener, err = p.listen(w.Address)
	}
	return d, err
}

func (p *Proxy) listen(address string) (net.Listener, error) {
	if p.Listen != nil {
		return p.Listen(address)
	}
	return net.Listen("tcp", address)
}

func (p *Proxy) listenPacket(address string) (net.PacketConn, error) {
	if p.ListenPacket != nil {
		return p.ListenPacket(address)
	}
	return net.ListenPacket("udp", address)
}

// Retire closes every listener, for good. What is being carried goes on, datagrams for a while.
func (p *Proxy) Retire() error {
	p.mu.Lock()
	retired := p.closed
	if !retired {
		p.leaveAll()
	}
	p.mu.Unlock()
	if retired {
		return nil
	}
	err := p.close()
	close(p.over)
	return err
}

// leaveAll takes no datagram more: those who were asked may still answer. p.mu is held.
func (p *Proxy) leaveAll() {
	for _, doors := range p.doors {
		for key, d := range doors {
			if d.packets == nil {
				continue
			}
			for _, f := range d.flows {
				p.leave(d, f, late)
			}
			_ = d.packets.SetReadDeadline(time.Unix(1, 0)) // which ends who reads
			delete(doors, key)
		}
	}
}
