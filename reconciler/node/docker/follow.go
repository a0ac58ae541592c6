package docker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/belay-dev/belay/reconciler/node"
)

// outruns says whether an engine of a version loses lines of a log that it follows, when it rotates the files before it
// has read them to the end: Docker did so before version 23.
func outruns(version string) bool {
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	const mended = 23
	return err == nil && n < mended
}

// How a follower looks.
const (
	lookLeast   = 1000 // entries at a time
	lookBetween = 100 * time.Millisecond
	lookAnyway  = 2 * time.Second // also when nobody told of anything new
	entryMost   = 1 << 20         // bytes; engines split lines at a fraction of that
)

// follower follows a log without the engine's doing so: it reads the end of the log again and again, and passes on what comes
// after the entry that it had last. The log that the engine follows only tells when it is time to look.
type follower struct {
	r  *Runtime
	id string
	o  node.LogOptions
	w  io.Writer

	last []byte // the last entry that was seen: its stream, its time, its text; nil: there was none
	same int    // as often it was seen in a row
	lot  int    // entries that came with the last look
}

// follow is Logs by a follower.
func (r *Runtime) follow(ctx context.Context, id string, o node.LogOptions) (io.ReadCloser, error) {
	reader, writer := io.Pipe()
	f := &follower{r: r, id: id, o: o, w: writer}
	if o.Tail != nil && *o.Tail == 0 { // the last entry is needed to know what comes after it
		if err := f.read(ctx, "1", time.Time{}, f.see); err != nil {
			return nil, err
		}
	}
	ctx, stop := context.WithCancel(ctx)
	l := &logStream{PipeReader: reader, stop: stop}
	l.running.Go(func() {
		defer stop()
		writer.CloseWithError(absent(f.run(ctx))) // nil is the end
	})
	return l, nil
}

// run passes entries on until the container has ended and there are no more, or ctx ends.
func (f *follower) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	news, idle := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(idle)
		f.watch(ctx, news)
	}()
	defer func() {
		cancel()
		<-idle
	}()
	end := f.r.c.ContainerWait(ctx, f.id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	if err := f.begin(ctx); err != nil {
		return err
	}
	anyway := time.NewTicker(lookAnyway)
	defer anyway.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for over := false; !over; {
		select {
		case <-news:
		case <-anyway.C:
		case <-end.Result:
			over = true
		case err := <-end.Error:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := f.look(ctx); err != nil {
			return err
		}
		pause.Reset(lookBetween)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// watch tells when something was written, as well as the engine can tell.
func (f *follower) watch(ctx context.Context, news chan<- struct{}) {
	logs, err := f.r.c.ContainerLogs(ctx, f.id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Follow: true, Tail: "0"})
	if err != nil {
		return // what is new is found all the same, later
	}
	defer logs.Close()
	for buf := make([]byte, 32<<10); err == nil; _, err = logs.Read(buf) {
		select {
		case news <- struct{}{}: // the first for what came before the engine had begun
		default:
		}
	}
}

// begin passes on what there is, as far as it is asked for.
func (f *follower) begin(ctx context.Context) error {
	switch {
	case f.o.Tail == nil:
		return f.read(ctx, "all", f.o.Since, f.pass)
	case *f.o.Tail == 0:
		return nil
	}
	return f.read(ctx, strconv.FormatInt(*f.o.Tail, 10), f.o.Since, f.pass)
}

// look passes on what came since.
func (f *follower) look(ctx context.Context) error {
	if f.last == nil {
		return f.read(ctx, "all", f.o.Since, f.pass)
	}
	n := max(lookLeast, 2*f.lot)
	f.lot = 0
	for {
		found, count, err := f.after(ctx, n)
		if err != nil || found {
			return err
		}
		if count < n { // that was the whole log: the entry is gone, and what came in between may be gone with it
			return f.read(ctx, "all", f.time().Add(1), f.pass)
		}
		n *= 10
	}
}

// after passes on what is after the last entry among so many at the end of the log. It reports whether that is among them, and
// how many there are.
func (f *follower) after(ctx context.Context, n int) (found bool, count int, err error) {
	last, same, run := bytes.Clone(f.last), f.same, 0
	err = f.read(ctx, strconv.Itoa(n), time.Time{}, func(entry []byte) error {
		count++
		switch {
		case found:
		case bytes.Equal(entry, last) && run < same:
			run++
			return nil
		case run < same:
			run = 0
			return nil
		}
		found = true
		return f.pass(entry)
	})
	return found || run == same, count, err
}

// time is when the last entry was written.
func (f *follower) time() time.Time {
	stamp, _, _ := bytes.Cut(f.last[1:], []byte(" "))
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return time.Time{}
	}
	return at
}

// see notes that an entry was the last.
func (f *follower) see(entry []byte) error {
	if !bytes.Equal(entry, f.last) {
		f.last, f.same = append(f.last[:0], entry...), 0
	}
	f.same++
	f.lot++
	return nil
}

// pass notes an entry and passes it on.
func (f *follower) pass(entry []byte) error {
	if err := f.see(entry); err != nil {
		return err
	}
	text := entry[1:]
	if !f.o.Timestamps {
		_, text, _ = bytes.Cut(text, []byte(" "))
	}
	_, err := f.w.Write(text)
	return err
}

// read calls each with the entries at the end of the log, or all of them, since a time. They are valid during the call.
func (f *follower) read(ctx context.Context, tail string, since time.Time, each func(entry []byte) error) error {
	options := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Tail: tail}
	if !since.IsZero() {
		options.Since = since.UTC().Format(time.RFC3339Nano)
	}
	logs, err := f.r.c.ContainerLogs(ctx, f.id, options)
	if err != nil {
		return err
	}
	return errors.Join(entries(logs, each), logs.Close())
}

// entries reads what an engine sends of a log: of each entry a byte for the stream, three of no meaning, the length, and then
// the time and the text.
func entries(r io.Reader, each func(entry []byte) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	var header [8]byte
	var entry []byte
	for {
		_, err := io.ReadFull(in, header[:])
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		size := binary.BigEndian.Uint32(header[4:])
		if size > entryMost {
			return fmt.Errorf("an entry of the log has %d bytes", size)
		}
		entry = append(entry[:0], header[0])
		entry = append(entry, make([]byte, size)...)
		if _, err := io.ReadFull(in, entry[1:]); err != nil {
			return err
		}
		if stdcopy.StdType(header[0]) == stdcopy.Systemerr {
			return fmt.Errorf("the engine reads the log: %s", entry[1:])
		}
		if err := each(entry); err != nil {
			return err
		}
	}
}
