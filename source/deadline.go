package source

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"
)

const errTimeout = errorText("took too long")

// timeouts bound the steps of talking to a remote.
type timeouts struct {
	// step bounds a connection, a greeting, an answer's first byte, and every silence after it.
	step time.Duration
	// fetch bounds one whole fetch.
	fetch time.Duration
}

// cause returns why ctx ended instead of what broke because of it.
func cause(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	why := context.Cause(ctx)
	if errors.Is(why, errTimeout) {
		return &Error{Kind: KindTimeout, Op: "wait for the remote", Err: errTimeout, Hint: "the remote is slow or silent: check the network, or raise the timeout"}
	}
	return why
}

// watchdog ends its context after a silence.
type watchdog struct {
	ctx    context.Context //nolint:containedctx // lives for one call
	cancel context.CancelCauseFunc
	timer  *time.Timer
	idle   time.Duration
}

func newWatchdog(ctx context.Context, idle time.Duration) *watchdog {
	ctx, cancel := context.WithCancelCause(ctx)
	return &watchdog{ctx: ctx, cancel: cancel, idle: idle, timer: time.AfterFunc(idle, func() { cancel(errTimeout) })}
}

func (w *watchdog) touch() { w.timer.Reset(w.idle) }

// rest ends the watch, and not what was watched.
func (w *watchdog) rest() { w.timer.Stop() }

func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// Progress tells how far a fetch is.
type Progress struct {
	// Bytes have been received, of a pack of Objects objects; both zero until the pack comes.
	Bytes   int64
	Objects int
	// Text is what the server says meanwhile, or empty.
	Text string
}

// counter passes a pack on, keeps the watchdog awake and reports.
type counter struct {
	out    io.Writer
	dog    *watchdog
	report func(Progress)
	done   Progress
	head   []byte
}

func (c *counter) Write(p []byte) (int, error) {
	c.dog.touch()
	if c.report != nil {
		if len(c.head) < 12 {
			c.head = append(c.head, p[:min(len(p), 12-len(c.head))]...)
			if len(c.head) == 12 {
				c.done.Objects = int(binary.BigEndian.Uint32(c.head[8:]))
			}
		}
		c.done.Bytes += int64(len(p))
		c.report(c.done)
	}
	return c.out.Write(p)
}
