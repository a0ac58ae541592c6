//go:build unix

package network

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/belay-dev/belay/reconciler/service"
	"github.com/belay-dev/belay/reconciler/service/podnet"
)

// legacy is what a process hands over to the one that takes its place. The descriptors follow, one with each byte: of the
// listeners in this order, and then those for names.
type legacy struct {
	Fronts    map[string]service.Front `json:"fronts"`
	Addresses []string                 `json:"addresses"` // keys of listeners
	Names     netip.Addr               `json:"names"`     // the zero value: there are none
	Stack     bool                     `json:"stack"`     // there is more to hand over when this was taken: see takeStack
}

// inheritance is what a process was handed over.
type inheritance struct {
	legacy
	listeners map[string]io.Closer
	names     *Cluster
	conn      *net.UnixConn
	late      *time.Timer
}

func (i *inheritance) closeNames() error {
	if i == nil {
		return nil
	}
	return i.names.closeNames()
}

// done tells that it was taken, and has a network of pods take over theirs.
func (i *inheritance) done(stack *podnet.Net) error {
	defer i.late.Stop()
	defer i.conn.Close()
	if _, err := i.conn.Write([]byte{0}); err != nil || !i.Stack {
		return err
	}
	return i.takeStack(stack)
}

// handTime bounds how long one process may make the other one wait.
const handTime = 10 * time.Second

// handOver gives all that is open to the peer, and takes nothing new as soon as the peer says that it does.
func (p *process) handOver(ctx context.Context, c *net.UnixConn) error {
	late := time.AfterFunc(handTime, func() { _ = c.Close() })
	defer late.Stop()
	files, err := p.proxy.Files()
	if err != nil {
		return err
	}
	l := legacy{Addresses: slices.Sorted(maps.Keys(files))}
	p.mu.Lock()
	l.Fronts = maps.Clone(p.fronts)
	p.mu.Unlock()
	var send []*os.File
	for _, address := range l.Addresses {
		send = append(send, files[address])
	}
	defer func() {
		for _, f := range send {
			_ = f.Close() // a copy
		}
	}()
	if l.Stack = p.stack() != nil; !l.Stack && p.cluster != nil {
		l.Names = p.cluster.Names
		for _, o := range []any{p.cluster.packets, p.cluster.conns} {
			f, err := o.(interface{ File() (*os.File, error) }).File()
			if err != nil {
				return err
			}
			send = append(send, f)
		}
	}
	words, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if err := sendWords(c, words); err != nil {
		return err
	}
	for _, f := range send {
		if err := sendFile(c, f); err != nil {
			return err
		}
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return fmt.Errorf("the other process took nothing: %w", err)
	}
	if p.took.Swap(true) {
		return nil
	}
	if l.Stack {
		err = p.giveStack(ctx, c)
	}
	err = errors.Join(err, p.Retire())
	close(p.successor)
	return err
}

func sendWords(c *net.UnixConn, words []byte) error {
	_, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(words))), words...)) //nolint:gosec // its reader bounds it
	return err
}

func receiveWords(c *net.UnixConn) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxBody {
		return nil, errors.New("too much is handed over")
	}
	words := make([]byte, n)
	_, err := io.ReadFull(c, words)
	return words, err
}

func sendFile(c *net.UnixConn, f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) {
		_, _, sent = c.WriteMsgUnix([]byte{0}, unix.UnixRights(int(fd)), nil)
	})
	return errors.Join(err, sent)
}

// takeOver asks the process that answers in a directory for all that it has open; nil: none answers.
func takeOver(ctx context.Context, at *place) (*inheritance, error) {
	conn, err := at.dial(ctx)
	if err != nil {
		return nil, nil //nolint:nilerr // nobody is there
	}
	c := conn.(*net.UnixConn)
	late := time.AfterFunc(handTime, func() { _ = c.Close() })
	i := &inheritance{listeners: map[string]io.Closer{}, conn: c, late: late}
	if err := i.read(c); err != nil {
		late.Stop()
		errs := []error{err, c.Close(), i.names.closeNames()}
		for _, l := range i.listeners {
			errs = append(errs, l.Close())
		}
		return nil, errors.Join(errs...)
	}
	return i, nil
}

func (i *inheritance) read(c *net.UnixConn) error {
	if _, err := io.WriteString(c, "POST /v1/handover HTTP/1.1\r\nHost: network\r\nContent-Length: 0\r\n\r\n"); err != nil {
		return err
	}
	words, err := receiveWords(c)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(words, &i.legacy); err != nil {
		return err
	}
	for _, address := range i.Addresses {
		l, err := receive(c, func(f *os.File) (io.Closer, error) { return service.Reopen(address, f) })
		if err != nil {
			return err
		}
		i.listeners[address] = l
	}
	if !i.Names.IsValid() {
		return nil
	}
	packets, err := receive(c, net.FilePacketConn)
	if err != nil {
		return err
	}
	conns, err := receive(c, net.FileListener)
	if err != nil {
		return errors.Join(err, packets.Close())
	}
	i.names = &Cluster{Names: i.Names, packets: packets, conns: conns}
	return nil
}

// receive reads one byte and the descriptor that comes with it.
func receive[T any](c *net.UnixConn, open func(*os.File) (T, error)) (T, error) {
	var none T
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := c.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		return none, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return none, err
	}
	if n != 1 || len(messages) != 1 {
		return none, io.ErrUnexpectedEOF
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return none, errors.Join(err, io.ErrUnexpectedEOF)
	}
	f := os.NewFile(uintptr(fds[0]), "inherited")
	defer f.Close() // open has a copy
	return open(f)
}
