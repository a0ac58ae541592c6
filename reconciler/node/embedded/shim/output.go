//go:build linux

package shim

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// What a container may keep of its output, as a kubelet has it: the newest file and so many before it.
const (
	maxLog  = 10 << 20
	oldLogs = 4
)

// maxLine is the longest piece of a line that is one entry of the log; longer ones are several, marked as partial.
const maxLine = 16 << 10

// output takes what a container writes into its log, in CRI's format (TIME STREAM F|P TEXT), and to whom is attached.
type output struct {
	name    string
	streams sync.WaitGroup

	mu       sync.Mutex // guards what follows
	log      *os.File
	size     int64
	attached map[*peer]bool
}

// peer is who is attached.
type peer struct{ out, err io.Writer }

func openOutput(name string) (*output, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, fmt.Errorf("open log: %w", err)
	}
	return &output{name: name, log: f, size: info.Size(), attached: map[*peer]bool{}}, nil
}

// read takes a stream until its end.
func (o *output) read(stream string, f *os.File) {
	o.streams.Go(func() {
		r := bufio.NewReaderSize(f, maxLine)
		for {
			line, err := r.ReadSlice('\n')
			if len(line) > 0 {
				o.write(stream, line)
			}
			if err != nil && err != bufio.ErrBufferFull { //nolint:errorlint // ReadSlice returns it as it is
				_ = f.Close() // its end, or a terminal that nobody has open any more
				return
			}
		}
	})
}

// write adds an entry. A log that cannot be written loses it: the container goes on.
func (o *output) write(stream string, line []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for p := range o.attached {
		w := p.out
		if stream == "stderr" {
			w = p.err
		}
		if _, err := w.Write(line); err != nil {
			delete(o.attached, p)
		}
	}
	mark := "P"
	if n := len(line) - 1; line[n] == '\n' {
		line, mark = line[:n], "F"
	}
	if o.size >= maxLog {
		o.rotate()
	}
	n, err := fmt.Fprintf(o.log, "%s %s %s %s\n", time.Now().UTC().Format("2006-01-02T15:04:05.000000000Z07:00"), stream, mark, line)
	if o.size += int64(n); err != nil {
		fmt.Fprintln(os.Stderr, "log:", err)
	}
}

// rotate begins a new file. When that fails the old one goes on.
func (o *output) rotate() {
	for i := oldLogs; i > 1; i-- {
		_ = os.Rename(fmt.Sprintf("%s.%d", o.name, i-1), fmt.Sprintf("%s.%d", o.name, i)) // it may not be there yet
	}
	if err := os.Rename(o.name, o.name+".1"); err != nil {
		fmt.Fprintln(os.Stderr, "rotate log:", err)
		return
	}
	f, err := os.OpenFile(o.name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, "rotate log:", err)
		return
	}
	_ = o.log.Close() // every write was answered
	o.log, o.size = f, 0
}

// attach sends what comes from now on to two writers as well, until detach is called. A writer that blocks holds the
// container up, as a terminal does.
func (o *output) attach(out, errs io.Writer) (detach func()) {
	p := &peer{out, errs}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.attached[p] = true
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.attached, p)
	}
}

// wait returns when the streams have ended, and closes the log.
func (o *output) wait() {
	o.streams.Wait()
	if err := o.log.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "close log:", err)
	}
}
