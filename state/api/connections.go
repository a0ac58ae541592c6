package api

import (
	"net"
	"sync"
)

// connections is a listener that knows what it accepted, so that a server can end with clients that do not.
type connections struct {
	net.Listener

	mu   sync.Mutex // guards open
	open map[*connection]bool
}

func newConnections(l net.Listener) *connections {
	return &connections{Listener: l, open: map[*connection]bool{}}
}

// Accept waits for the next client.
func (l *connections) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	known := &connection{Conn: c, all: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[known] = true
	return known, nil
}

// close breaks off whatever is open.
func (l *connections) close() {
	l.mu.Lock()
	open := l.open
	l.open = map[*connection]bool{}
	l.mu.Unlock()
	for c := range open {
		_ = c.Conn.Close() // it is broken off
	}
}

type connection struct {
	net.Conn
	all *connections
}

func (c *connection) Close() error {
	c.all.mu.Lock()
	delete(c.all.open, c)
	c.all.mu.Unlock()
	return c.Conn.Close()
}
