package service

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// What a proxy hands over to another one, of another process, so that no connection meets a closed door: the listeners. The
// connections that it carries it carries to their end.

// Files are copies of the open listeners by the address that was asked for; the caller closes them.
func (p *Proxy) Files() (map[string]*os.File, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]*os.File{}
	for _, doors := range p.doors {
		for address, d := range doors {
			l, ok := d.listener.(interface{ File() (*os.File, error) })
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
			out[address] = f
		}
	}
	return out, nil
}

// Give has Set take listeners that are open already, by the address that is asked for.
func (p *Proxy) Give(listeners map[string]net.Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.given = listeners
}

// DropGiven closes the listeners given that nobody asked for.
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

// listen opens an address, unless it is open already.
func (p *Proxy) listen(address string) (net.Listener, error) {
	if l := p.given[address]; l != nil {
		delete(p.given, address)
		return l, nil
	}
	if p.Listen != nil {
		return p.Listen(address)
	}
	return net.Listen("tcp", address)
}

// Retire closes every listener, for good. What is being carried goes on.
func (p *Proxy) Retire() error {
	p.mu.Lock()
	retired := p.closed
	p.mu.Unlock()
	if retired {
		return nil
	}
	err := p.close()
	close(p.over)
	return err
}
