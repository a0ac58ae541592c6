package api

import (
	"net"
	"sync"

	"github.com/rs/zerolog"
)

// maxConnections is how many clients may be connected. An idle one takes some 30 KB, one that
// watches some 100 KB.
const maxConnections = 500

// connections is a listener that knows what it accepted: so that a server can end with clients that do not, and so that
// there are never more of them than most. Whoever comes then takes the place of one that may go: see spare.
type connections struct {
	net.Listener
	most int
	log  zerolog.Logger

	mu      sync.Mutex             // guards all below, and the connections' counts
	open    map[string]*connection // by the client's address
	turn    int64
	refused int // in a row
}

// connection is one client. What it does is counted by the requests that begin and end.
type connection struct {
	net.Conn
	all      *connections
	requests int // that are being answered
	watches  int // as many of these are watches
	turn     int64
}

func newConnections(l net.Listener, most int, log zerolog.Logger) *connections {
	return &connections{Listener: l, most: most, log: log, open: map[string]*connection{}}
}

// Accept waits for the next client. One that finds no place is hung up on.
func (l *connections) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		known := &connection{Conn: c, all: l}
		leaving, ok := l.admit(known)
		if leaving != nil {
			_ = leaving.Conn.Close() // it is broken off
		}
		if ok {
			return known, nil
		}
		_ = c.Close() // it is refused
	}
}

// admit gives a new connection a place, and says which one leaves for it; false: there is no place.
func (l *connections) admit(c *connection) (leaving *connection, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= l.most {
		if leaving = spare(l.open); leaving == nil {
			if l.refused++; l.refused == 1 {
				l.log.Warn().Int("connections", l.most).
					Msg("too many clients of the kubernetes api: new ones are refused")
			}
			return nil, false
		}
		l.forget(leaving)
	}
	l.refused = 0
	l.turn++
	c.turn = l.turn
	l.open[c.RemoteAddr().String()] = c
	return leaving, true
}

// spare is the connection that can best be done without: of those where nothing is being answered, or else of those that
// only watch, which they can take up again where it ended, the one where nothing has begun or ended for the longest time;
// nil: all are being answered.
func spare(open map[string]*connection) *connection {
	var idle, watching *connection
	for _, c := range open {
		switch {
		case c.requests == 0 && (idle == nil || c.turn < idle.turn):
			idle = c
		case c.requests > 0 && c.requests == c.watches && (watching == nil || c.turn < watching.turn):
			watching = c
		}
	}
	if idle != nil {
		return idle
	}
	return watching
}

// began says that a request began on the connection of a client, ended that it has ended. What comes from this process
// has no connection: nil.
func (l *connections) began(client string) *connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.open[client]
	if c != nil {
		l.turn++
		c.turn = l.turn
		c.requests++
	}
	return c
}

func (c *connection) ended() {
	if c == nil {
		return
	}
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	c.all.turn++
	c.turn = c.all.turn
	c.requests--
}

// watches says that a request of a client is a watch, and watched that it has ended.
func (l *connections) watches(client string) *connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.open[client]
	if c != nil {
		c.watches++
	}
	return c
}

func (c *connection) watched() {
	if c == nil {
		return
	}
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	c.watches--
}

// close breaks off whatever is open.
func (l *connections) close() {
	l.mu.Lock()
	open := l.open
	l.open = map[string]*connection{}
	l.mu.Unlock()
	for _, c := range open {
		_ = c.Conn.Close() // it is broken off
	}
}

// forget takes a connection off the list. An address may have come again since.
func (l *connections) forget(c *connection) {
	if client := c.RemoteAddr().String(); l.open[client] == c {
		delete(l.open, client)
	}
}

func (c *connection) Close() error {
	c.all.mu.Lock()
	c.all.forget(c)
	c.all.mu.Unlock()
	return c.Conn.Close()
}
