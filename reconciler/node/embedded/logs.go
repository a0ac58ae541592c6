//go:build linux

package embedded

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/belay-dev/belay/reconciler/node"
	"github.com/belay-dev/belay/reconciler/node/embedded/shim"
)

// Logs implements node.Streams. The log lies in several files, of which the newest has no number.
func (r *Runtime) Logs(ctx context.Context, id string, o node.LogOptions) (io.ReadCloser, error) {
	_, at, name, err := r.find(id)
	if err != nil {
		return nil, err
	}
	if _, err := readRun(filepath.Join(at.dir, name)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	reader, writer := io.Pipe()
	l := &log{file: filepath.Join(at.dir, name, logFile), o: o, out: bufio.NewWriter(writer)}
	s := &stream{PipeReader: reader, cancel: cancel, done: make(chan struct{})}
	go func() { // Close waits for it
		defer close(s.done)
		writer.CloseWithError(l.copy(ctx, func(changed func(ended bool)) error {
			return at.client().Watch(ctx, func(states []shim.Status) {
				changed(!slices.ContainsFunc(states, func(s shim.Status) bool { return s.Name == name && s.Phase == shim.Running }))
			})
		}))
	}()
	return s, nil
}

// stream is a log that somebody reads.
type stream struct {
	*io.PipeReader
	cancel context.CancelFunc
	done   chan struct{}
}

// Close ends the stream and waits for what copies it.
func (s *stream) Close() error {
	s.cancel()
	err := s.PipeReader.Close()
	<-s.done
	return err
}

// log copies the files of a log.
type log struct {
	file string
	o    node.LogOptions
	out  *bufio.Writer
	half []byte
}

// copy writes what there is, and with Follow what comes until the container has ended: watch tells, until it returns,
// whether it has.
func (l *log) copy(ctx context.Context, watch func(func(ended bool)) error) error {
	next := func() (last bool, err error) { return true, nil }
	if l.o.Follow {
		next = following(ctx, watch)
	}
	current, err := l.past()
	if err != nil {
		return err
	}
	defer func() { _ = current.Close() }()
	reader := bufio.NewReader(current)
	for last := !l.o.Follow; ; {
		l.lines(reader)
		if err := l.out.Flush(); err != nil {
			return nil //nolint:nilerr // nobody reads any more
		}
		if newer, ok := l.rotated(current); ok {
			_ = current.Close() // only read
			current = newer
			reader.Reset(current)
			continue
		}
		if last {
			return nil
		}
		if last, err = next(); err != nil {
			return err
		}
	}
}

// following waits, each time, until there may be more; last says that the container has ended, and that what it wrote is
// there. watch ends with ctx.
func following(ctx context.Context, watch func(func(ended bool)) error) func() (last bool, err error) {
	ended, watched := make(chan struct{}), make(chan error, 1)
	over := sync.OnceFunc(func() { close(ended) })
	go func() {
		watched <- watch(func(now bool) {
			if now {
				over()
			}
		})
	}()
	return func() (bool, error) {
		select {
		case <-ended:
			return true, nil
		case err := <-watched:
			if ctx.Err() != nil || errors.Is(err, shim.ErrDead) {
				err = nil
			}
			return true, err
		case <-time.After(followPause):
			return false, nil
		case <-ctx.Done():
			return true, nil
		}
	}
}

// followPause is how often a log that is followed is looked at.
const followPause = 50 * time.Millisecond

// past writes the older files, those of Tail alone, and opens the newest where it is to be gone on with.
func (l *log) past() (*os.File, error) {
	var files []string
	for i := 9; i > 0; i-- {
		if name := fmt.Sprintf("%s.%d", l.file, i); exists(name) {
			files = append(files, name)
		}
	}
	current, err := os.Open(l.file)
	if err != nil {
		return nil, err
	}
	if l.o.Tail == nil {
		for _, name := range files {
			if err := l.whole(name); err != nil {
				return nil, errors.Join(err, current.Close())
			}
		}
		return current, nil
	}
	skip, err := l.skip(append(files, l.file), *l.o.Tail)
	if err != nil {
		return nil, errors.Join(err, current.Close())
	}
	for _, name := range append(files, l.file) {
		f := current
		if name != l.file {
			if f, err = os.Open(name); err != nil {
				return nil, errors.Join(err, current.Close())
			}
		}
		skip = l.after(f, skip)
		if f != current {
			_ = f.Close() // only read
		}
	}
	return current, nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// skip counts how many entries come before the last n lines that are wanted.
func (l *log) skip(files []string, n int64) (int, error) {
	var wanted []int // numbers of the entries that begin a line
	number, begins := 0, true
	for _, name := range files {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // rotated away
		}
		if err != nil {
			return 0, err
		}
		r := bufio.NewReader(f)
		for {
			line, err := r.ReadBytes('\n')
			if err != nil {
				break
			}
			e, ok := parse(line)
			if ok && begins && l.since(e) {
				wanted = append(wanted, number)
			}
			begins = !ok || e.full
			number++
		}
		_ = f.Close() // only read
	}
	if int64(len(wanted)) <= n {
		return 0, nil
	}
	if n <= 0 {
		return number, nil
	}
	return wanted[int64(len(wanted))-n], nil
}

// after writes a file's entries from a number on, and returns how many are still to be left out.
func (l *log) after(f *os.File, skip int) int {
	r := bufio.NewReader(f)
	for skip > 0 {
		if _, err := r.ReadBytes('\n'); err != nil {
			return skip // the end of the file
		}
		skip--
	}
	l.lines(r)
	return 0
}

func (l *log) whole(name string) error {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	l.lines(bufio.NewReader(f))
	return nil
}

// lines writes the entries up to the end of what there is. Half an entry is kept until the rest of it comes.
func (l *log) lines(r *bufio.Reader) {
	for {
		text, err := r.ReadBytes('\n')
		text = append(l.half, text...)
		if l.half = nil; err != nil {
			l.half = text
			return // the end, for now
		}
		e, ok := parse(text)
		if !ok || !l.since(e) {
			continue
		}
		if l.o.Timestamps {
			_, _ = l.out.Write(e.stamp) // Flush tells
			_ = l.out.WriteByte(' ')
		}
		_, _ = l.out.Write(e.text)
		if e.full {
			_ = l.out.WriteByte('\n')
		}
	}
}

func (l *log) since(e entry) bool { return l.o.Since.IsZero() || !e.at.Before(l.o.Since) }

// rotated opens the newest file when the one that is read has become an older one.
func (l *log) rotated(current *os.File) (*os.File, bool) {
	newest, err := os.Stat(l.file)
	if err != nil {
		return nil, false
	}
	mine, err := current.Stat()
	if err != nil || os.SameFile(newest, mine) {
		return nil, false
	}
	f, err := os.Open(l.file)
	return f, err == nil
}

// entry is one line of a log in CRI's format.
type entry struct {
	at    time.Time
	stamp []byte
	text  []byte
	full  bool
}

func parse(line []byte) (entry, bool) {
	const parts = 4
	f := bytes.SplitN(bytes.TrimSuffix(line, []byte{'\n'}), []byte{' '}, parts)
	if len(f) != parts {
		return entry{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(f[0]))
	return entry{at: at, stamp: f[0], text: f[3], full: string(f[2]) == "F"}, err == nil
}
