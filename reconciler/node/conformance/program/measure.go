package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// measures are what can be done with who echoes: an exchange on a new connection, on one that is open, and a lot at once.
var measures = map[string]func(address string) (func() error, func(), error){
	"connect": func(address string) (func() error, func(), error) {
		to, err := net.ResolveTCPAddr("tcp", address)
		return func() error {
			c, err := net.DialTCP("tcp", nil, to)
			if err != nil {
				return err
			}
			defer c.Close()
			return exchange(c, make([]byte, question))
		}, func() {}, err
	},
	"ask":  func(address string) (func() error, func(), error) { return open(address, question) },
	"bulk": func(address string) (func() error, func(), error) { return open(address, bulk) },
}

const (
	question = 64
	bulk     = 16 << 20
)

func open(address string, size int) (func() error, func(), error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, nil, err
	}
	data := make([]byte, size)
	return func() error { return exchange(c, data) }, func() { _ = c.Close() }, nil
}

// exchange sends data and reads it back.
func exchange(c net.Conn, data []byte) error {
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(data)
		sent <- err
	}()
	_, err := io.CopyN(io.Discard, c, int64(len(data)))
	return errors.Join(err, <-sent)
}

// measure does a thing some times with each address, in turns, and says how many nanoseconds that took with each.
func measure(ctx context.Context, p Process, args []string) (int, error) {
	if len(args) < 3 || measures[args[0]] == nil {
		return 64, errors.New("measure takes connect, ask or bulk, a number and addresses")
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return 64, err
	}
	took := make([]time.Duration, len(args)-2)
	var turns []func() error
	for _, address := range args[2:] {
		turn, end, err := measures[args[0]](address)
		if err != nil {
			return 1, err
		}
		defer end()
		turns = append(turns, turn)
	}
	for range n {
		for i, turn := range turns {
			if ctx.Err() != nil {
				return 1, ctx.Err()
			}
			start := time.Now() //nolint:forbidigo // it is what is measured
			if err := turn(); err != nil {
				return 1, err
			}
			took[i] += time.Since(start) //nolint:forbidigo // as above
		}
	}
	for _, t := range took {
		fmt.Fprintln(p.Stdout, t.Nanoseconds())
	}
	return 0, nil
}
