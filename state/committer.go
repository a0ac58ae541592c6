package state

import (
	"context"
	"errors"
	"sync"
	"time"
)

// leaseBlock is how many versions are reserved on disk at a time. A version above the lease is never given out, so
// that a version is never given out twice, whatever is lost.
const leaseBlock = 10_000

// gatherTime is how long a transaction may wait for others to share a write with. It waits only while nobody waits for
// it: a write costs as much as some ten transactions, and controllers make thousands that nobody waits for.
const gatherTime = 10 * time.Millisecond

// writer is where the committer writes to.
type writer interface {
	write(batch) error
	close() error
}

// committer is the one goroutine that writes, and what it shares with those who commit and wait. Its lock is never
// held during a write.
type committer struct {
	disk  writer
	retry time.Duration

	mu       sync.Mutex
	pending  []diskChange
	version  int64 // last committed
	durable  int64 // last on disk
	lease    int64 // on disk
	urgent   int64 // version that somebody waits for on disk
	wanted   int64 // version for which somebody waits for a lease
	err      error // why the last write failed; nothing but what may use the reserve is taken meanwhile
	tried    int64 // last version that a write was tried with
	spare    bool  // what is pending may use the reserve
	stopped  bool
	progress chan struct{} // closed, and replaced, when durable, lease, err or stopped change

	work   chan struct{} // there is something to do
	hurry  chan struct{} // it is urgent now
	ending chan struct{}
	ended  chan struct{}
	final  error // of the last write, once ended
	owed   bool  // the reserve was freed; the writing goroutine's own
}

// startCommitter takes over the disk, whose lease reaches one block beyond the version.
func startCommitter(disk writer, version int64, retry time.Duration) *committer {
	c := &committer{
		disk: disk, retry: retry,
		version: version, durable: version, lease: version + leaseBlock,
		progress: make(chan struct{}),
		work:     make(chan struct{}, 1),
		hurry:    make(chan struct{}, 1),
		ending:   make(chan struct{}),
		ended:    make(chan struct{}),
	}
	go c.run()
	return c
}

// stop writes what is pending, once, and closes the disk. It is called once.
func (c *committer) stop() error {
	close(c.ending)
	<-c.ended
	return c.final
}

func (c *committer) run() {
	defer close(c.ended)
	for running := true; running; {
		select {
		case <-c.work:
			c.gather()
		case <-c.ending:
			running = false
		}
		running = c.flush() && running
	}
	c.final = errors.Join(c.refusal(), c.disk.close())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	c.proceed()
}

// gather waits for more to write, unless somebody waits for the disk.
func (c *committer) gather() {
	timer := time.NewTimer(gatherTime)
	defer timer.Stop()
	for !c.inHurry() {
		select {
		case <-c.hurry:
		case <-timer.C:
			return
		case <-c.ending:
			return
		}
	}
}

func (c *committer) inHurry() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.urgent > c.durable || c.wanted > c.lease
}

// flush writes what is pending, again and again while the disk refuses. It says whether to go on: not when the disk
// refused after the store was closed.
func (c *committer) flush() bool {
	for {
		b, ok := c.take()
		if !ok && !c.owed {
			return true
		}
		last := c.isEnding()
		var err error
		if ok {
			err = c.writeReserved(b)
		}
		written := err == nil
		if written && !last { // at the end nothing comes that would need it
			err = c.refillReserve()
		}
		c.done(b, ok, written, err)
		if last || err == nil {
			return written
		}
		c.pause()
	}
}

// pause waits before another try: not when there is something that may use the reserve.
func (c *committer) pause() {
	timer := time.NewTimer(c.retry)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return
		case <-c.ending:
			return
		case <-c.work:
			if c.mayUseReserve() {
				return
			}
		}
	}
}

func (c *committer) mayUseReserve() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spare
}

func (c *committer) isEnding() bool {
	select {
	case <-c.ending:
		return true
	default:
		return false
	}
}

// take gives all that is pending, and the lease which should be on disk with it.
func (c *committer) take() (batch, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := batch{changes: c.pending, version: c.version, lease: c.lease}
	for b.lease < max(b.version+leaseBlock/2, c.wanted) {
		b.lease += leaseBlock
	}
	if b.version == c.durable && b.lease == c.lease {
		return batch{}, false
	}
	b.spare, c.spare = c.spare, false
	c.pending = nil
	return b, true
}

// done notes how the write of a batch ended, where there was one, and why nothing is taken now. What could not be
// written is pending again, before what came since.
func (c *committer) done(b batch, was, written bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	switch {
	case !was:
	case written:
		c.durable, c.lease, c.tried = b.version, b.lease, b.version
	default:
		c.pending, c.tried = append(b.changes, c.pending...), b.version
	}
	c.proceed()
}

func (c *committer) proceed() {
	close(c.progress)
	c.progress = make(chan struct{})
}

// add hands over a transaction, in the order of versions. It gives the version that is durable.
func (c *committer) add(changes []diskChange, version int64, spare bool) (durable int64) {
	c.mu.Lock()
	c.spare = c.spare || spare
	c.pending = append(c.pending, changes...)
	c.version = version
	durable = c.durable
	c.mu.Unlock()
	wake(c.work)
	return durable
}

func wake(sleeper chan<- struct{}) {
	select {
	case sleeper <- struct{}{}:
	default:
	}
}

// reserve says whether versions up to this one may be given out: both results are nil then. Else it gives the reason
// why not, or what to wait for before asking again. What may use the reserve is not refused for the disk's sake.
func (c *committer) reserve(version int64, spare bool) (<-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil && (!spare || version > c.lease):
		return nil, c.err
	case version <= c.lease:
		return nil, nil
	case c.stopped:
		return nil, ErrClosed
	}
	c.wanted = max(c.wanted, version)
	wake(c.work)
	wake(c.hurry)
	return c.progress, nil
}

// hasten has everything up to a version written now.
func (c *committer) hasten(version int64) {
	c.mu.Lock()
	c.urgent = max(c.urgent, version)
	c.mu.Unlock()
	wake(c.hurry)
}

func (c *committer) wait(ctx context.Context, version int64) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.mu.Lock()
		c.urgent = max(c.urgent, version)
		durable, err, stopped, progress := c.durable, c.err, c.stopped, c.progress
		if version > c.tried { // what failed was without it
			err = nil
		}
		c.mu.Unlock()
		switch {
		case version <= durable:
			return nil
		case err != nil:
			return err
		case stopped:
			return ErrClosed
		}
		wake(c.hurry)
		select {
		case <-progress:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *committer) refusal() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
