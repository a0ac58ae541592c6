//go:build linux

package shim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// maxDescriptors go with one message.
const maxDescriptors = 3

// send writes a value as a line, with descriptors.
func send(c *net.UnixConn, v any, files ...*os.File) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	line = append(line, '\n')
	var rights []byte
	if len(files) > 0 {
		var fds []int
		for _, f := range files {
			fds = append(fds, int(f.Fd()))
		}
		rights = unix.UnixRights(fds...)
	}
	n, _, err := c.WriteMsgUnix(line, rights, nil)
	if err == nil && n < len(line) {
		_, err = c.Write(line[n:])
	}
	if err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	return nil
}

// reader reads lines and the descriptors that come with them.
type reader struct {
	conn  *net.UnixConn
	rest  []byte
	files []*os.File
}

// next reads a value and the descriptors that came by its end; the caller closes them. io.EOF: the peer has ended.
func (r *reader) next(v any) ([]*os.File, error) {
	for {
		if line, rest, ok := bytes.Cut(r.rest, []byte{'\n'}); ok {
			r.rest = rest
			files := r.files
			r.files = nil
			if err := json.Unmarshal(line, v); err != nil {
				closeAll(files)
				return nil, fmt.Errorf("read message: %w", err)
			}
			return files, nil
		}
		if len(r.rest) > maxRequest {
			return nil, errors.New("read message: too long")
		}
		if err := r.more(); err != nil {
			closeAll(r.files)
			r.files = nil
			return nil, err
		}
	}
}

func (r *reader) more() error {
	buf, oob := make([]byte, 32<<10), make([]byte, unix.CmsgSpace(4*maxDescriptors))
	n, oobn, flags, _, err := r.conn.ReadMsgUnix(buf, oob)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	r.rest = append(r.rest, buf[:n]...)
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue // something else about the peer
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			r.files = append(r.files, os.NewFile(uintptr(fd), "received"))
		}
	}
	if flags&unix.MSG_CTRUNC != 0 || len(r.files) > maxDescriptors {
		return errors.New("read message: too many descriptors")
	}
	return nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // only read from, or not used at all
	}
}

// socketPath is a name for a socket in dir that is short enough whatever dir is; the name is good while d is open.
func socketPath(d *os.File) string { return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), Socket) }
