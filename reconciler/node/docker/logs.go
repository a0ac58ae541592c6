package docker

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/belay-dev/belay/reconciler/node"
)

// Logs implements node.Streams. A log that is followed ends once its container has ended and the engine has nothing more of
// it: an engine that rotated the files faster than it read them would keep it open for ever.
func (r *Runtime) Logs(ctx context.Context, id string, o node.LogOptions) (io.ReadCloser, error) {
	found, err := r.c.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return nil, err
	}
	if r.outruns && o.Follow && !found.Container.Config.Tty { // what a terminal shows has no entries
		return r.follow(ctx, id, o)
	}
	options := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Follow: o.Follow, Timestamps: o.Timestamps}
	if !o.Since.IsZero() {
		options.Since = o.Since.UTC().Format(time.RFC3339Nano)
	}
	if o.Tail != nil {
		options.Tail = strconv.FormatInt(*o.Tail, 10)
	}
	logs, err := r.c.ContainerLogs(ctx, id, options)
	if err != nil {
		return nil, err
	}
	source := &counted{Reader: logs}
	reader, writer := io.Pipe()
	ctx, stop := context.WithCancel(ctx)
	l := &logStream{PipeReader: reader, stop: stop}
	l.running.Go(func() {
		defer stop()
		var err error
		if found.Container.Config.Tty {
			_, err = io.Copy(writer, source)
		} else {
			_, err = stdcopy.StdCopy(writer, writer, source)
		}
		if source.over.Load() {
			err = nil
		}
		writer.CloseWithError(err) // nil is the end
	})
	l.running.Go(func() {
		if o.Follow && r.awaitQuiet(ctx, id, source) {
			source.over.Store(true)
		} else {
			<-ctx.Done()
		}
		l.err = logs.Close()
	})
	return l, nil
}

// awaitQuiet returns true when the container has ended, and a read of its log has waited in vain since; false when ctx ends
// before, or the engine does not tell.
func (r *Runtime) awaitQuiet(ctx context.Context, id string, source *counted) bool {
	wait := r.c.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case <-wait.Result:
	case <-wait.Error:
		return false
	}
	tick := time.NewTicker(r.quiet)
	defer tick.Stop()
	for last := source.steps.Load(); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
		now := source.steps.Load()
		if now == last && now%2 == 1 {
			return true
		}
		last = now
	}
}

// counted counts the beginnings and the ends of reads: while the count is odd, one waits.
type counted struct {
	io.Reader
	steps atomic.Int64
	over  atomic.Bool // what ends now is whole
}

func (c *counted) Read(p []byte) (int, error) {
	c.steps.Add(1)
	defer c.steps.Add(1)
	return c.Reader.Read(p)
}

// logStream is a log, both outputs as one.
type logStream struct {
	*io.PipeReader
	stop    context.CancelFunc
	running sync.WaitGroup
	err     error // of closing what the engine sends; written before running ends
}

// Close ends the stream and waits for what carries it.
func (l *logStream) Close() error {
	l.stop()
	err := l.PipeReader.Close()
	l.running.Wait()
	return errors.Join(err, l.err)
}
