package names

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

// Server answers queries: those about the cluster itself, the others by asking the machine's name servers.
type Server struct {
	table   *Table
	servers func() []netip.AddrPort
	slots   chan struct{}
}

// atOnce bounds the queries that are answered at the same time; of UDP, those beyond it are lost, as datagrams are.
const atOnce = 256

// How long another server may take, and how long a connection may be idle.
const (
	askTimeout  = 2 * time.Second
	idleTimeout = 10 * time.Second
)

// NewServer makes a server. servers lists whom to ask about everything else, and is called for each such query: see
// Resolvers.
func NewServer(table *Table, servers func() []netip.AddrPort) *Server {
	return &Server{table: table, servers: servers, slots: make(chan struct{}, atOnce)}
}

// maxMessage is the largest message of the protocol.
const maxMessage = 1<<16 - 1

// ServePacket answers datagrams until ctx ends, which closes c, or c fails.
func (s *Server) ServePacket(ctx context.Context, c net.PacketConn) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	buf := make([]byte, maxMessage)
	for {
		n, from, err := c.ReadFrom(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed), errors.Is(err, io.EOF):
			return err
		case err != nil:
			continue // what an earlier answer met, or a datagram that is none
		}
		query := append([]byte(nil), buf[:n]...)
		select {
		case s.slots <- struct{}{}:
		default:
			continue
		}
		wg.Go(func() {
			defer func() { <-s.slots }()
			if answer := s.Reply(ctx, query, false); answer != nil {
				_, _ = c.WriteTo(answer, from) // whoever asked will ask again
			}
		})
	}
}

// Serve answers connections until ctx ends, which closes l, or l fails.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			continue
		}
		select {
		case s.slots <- struct{}{}:
		default:
			_ = c.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-s.slots }()
			s.ServeConn(ctx, c)
		})
	}
}

// ServeConn answers the queries of one connection, one after the other, and closes it.
func (s *Server) ServeConn(ctx context.Context, c net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	defer func() { _ = c.Close() }()
	idle := time.AfterFunc(idleTimeout, cancel)
	defer idle.Stop()
	r := bufio.NewReader(c)
	for {
		query, err := readMessage(r)
		if err != nil {
			return
		}
		answer := s.Reply(ctx, query, true)
		if answer == nil || writeMessage(c, answer) != nil {
			return
		}
		idle.Reset(idleTimeout)
	}
}

// Reply answers one query; nil: there is no answer to it.
func (s *Server) Reply(ctx context.Context, query []byte, tcp bool) []byte {
	answer, mine, err := s.table.Answer(query, tcp)
	switch {
	case err != nil:
		return nil
	case mine:
		return answer
	}
	for _, server := range s.servers() {
		answer, err := ask(ctx, server, query, tcp)
		if err == nil {
			return answer
		}
		if ctx.Err() != nil {
			return nil
		}
	}
	return failure(query)
}

// ask asks another server.
func ask(ctx context.Context, server netip.AddrPort, query []byte, tcp bool) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	network := "udp"
	if tcp {
		network = "tcp"
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if tcp {
		if err := writeMessage(c, query); err != nil {
			return nil, err
		}
		return readMessage(c)
	}
	if _, err := c.Write(query); err != nil {
		return nil, err
	}
	buf := make([]byte, maxMessage)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		if n > 2 && buf[0] == query[0] && buf[1] == query[1] { // the answer to this query
			return buf[:n], nil
		}
	}
}

// readMessage reads one message of a connection.
func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, message)
	return message, err
}

func writeMessage(w io.Writer, message []byte) error {
	if len(message) > maxMessage {
		return errors.New("message too long")
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...))
	return err
}

// Resolvers reads the name servers of a resolv.conf, without those that are given: a server that asks itself never ends.
// A file that cannot be read names none.
func Resolvers(file string, but ...netip.Addr) func() []netip.AddrPort {
	return func() []netip.AddrPort {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil
		}
		return resolvers(string(text), but)
	}
}

// maxResolvers is how many name servers a resolv.conf has at most.
const maxResolvers = 3

func resolvers(text string, but []netip.Addr) []netip.AddrPort {
	var out []netip.AddrPort
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" || len(out) == maxResolvers {
			continue
		}
		ip, err := netip.ParseAddr(fields[1])
		own := false
		for _, b := range but {
			own = own || b == ip
		}
		if err == nil && !own {
			out = append(out, netip.AddrPortFrom(ip, 53))
		}
	}
	return out
}
