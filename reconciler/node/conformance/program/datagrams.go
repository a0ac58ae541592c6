package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

const (
	maxDatagram = 1 << 16
	sayAgain    = time.Second // after which a datagram, or its answer, is taken for lost
	sayLong     = time.Minute
)

// echoes answers datagrams, and what comes on connections.
func echoes(ctx context.Context, p Process, args []string) (int, error) {
	conn, err := net.ListenPacket("udp", ":"+strings.Join(args, ""))
	if err != nil {
		return 1, err
	}
	listener, err := p.Listen(strings.Join(args, ""))
	if err != nil {
		return 1, err
	}
	stop := context.AfterFunc(ctx, func() {
		_ = conn.Close()
		_ = listener.Close()
	})
	defer stop()
	go func() { // ends with ctx, its connections with the process
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	fmt.Fprintln(p.Stdout, "waiting")
	for buf := make([]byte, maxDatagram); ; {
		size, from, err := conn.ReadFrom(buf)
		if err != nil {
			return 0, nil //nolint:nilerr // SIGTERM came
		}
		_, _ = conn.WriteTo(buf[:size], from) // a datagram may be lost
	}
}

// says something to who echoes.
func says(ctx context.Context, p Process, args []string) (int, error) {
	if len(args) != 2 {
		return 64, errors.New("says takes an address and a text")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", args[0])
	if err != nil {
		return 1, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, sayLong)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	go func() { // ends with ctx
		for ctx.Err() == nil {
			_, _ = conn.Write([]byte(args[1])) // a datagram may be lost
			select {
			case <-time.After(sayAgain):
			case <-ctx.Done():
			}
		}
	}()
	for buf := make([]byte, maxDatagram); ctx.Err() == nil; {
		if size, err := conn.Read(buf); err == nil { // else nobody listens there yet
			fmt.Fprintf(p.Stdout, "%s\n", buf[:size])
			return 0, nil
		}
	}
	return 1, errors.New("nobody answers")
}
