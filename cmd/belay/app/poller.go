package app

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/belay-dev/belay/source"
	"github.com/belay-dev/belay/source/trigger"
)

// repositoryID tells repositories apart: sources with the same one share a copy and every look.
type repositoryID struct {
	url    string
	auth   Auth
	limits Limits
}

// dir names the directory of the copy: the last element of the address, for people, and what tells it from others.
func (id repositoryID) dir() string {
	text, err := json.Marshal([]any{id.url, id.auth})
	if err != nil {
		panic(err) // strings alone
	}
	sum := sha256.Sum256(text)
	return nameOf(id.url) + "-" + hex.EncodeToString(sum[:5])
}

// poller looks at one repository for all of its sources: with one request, as often as the most impatient of them
// wants, and whenever one of them is told to. Each branch has its own head and its own errors.
type poller struct {
	id       repositoryID
	config   source.Config
	now      func() time.Time
	log      zerolog.Logger
	trigger  *trigger.Trigger
	activity atomic.Pointer[string] // what is going on, for status
	stop     func()                 // ends run, waiting for it; nil: it has not begun

	looking sync.Mutex // held while looking

	mu       sync.Mutex // guards all below
	begun    int64      // looks so far
	members  []*repository
	branches map[string]*branch
}

// branch is what a poller knows of one branch.
type branch struct {
	name   string
	mirror *source.Mirror // nil before the first look
	asked  bool           // to be looked at, whatever went wrong
	looked int64          // number of the newest look
	head   string
	err    error
	streak source.Streak
	due    time.Time // while the streak lasts: not before; zero: never, unless asked for
}

func (a *App) newPoller(id repositoryID) *poller {
	p := &poller{
		id: id, now: a.now, log: a.log, branches: map[string]*branch{},
		trigger: trigger.New(trigger.Config{Interval: DefaultSource().Interval, Now: a.now}),
	}
	p.config = source.Config{
		Name: nameOf(id.url), URL: id.url, Dir: filepath.Join(a.dir, "mirror", id.dir()), Now: a.now,
		Auth: source.Auth(id.auth), Limits: id.limits.source(), Progress: p.progress(a.Progress), Points: a.Seams.Mirror,
	}
	return p
}

// run looks whenever it is time to, until ctx ends, and closes the copy then.
func (p *poller) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer p.close()
	defer wg.Wait()
	wg.Go(func() { p.trigger.Run(ctx) })
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.trigger.C():
			p.looking.Lock()
			if p.wanted() {
				p.look(ctx)
			} else { // somebody else looked meanwhile
				p.trigger.DoneUntil(p.trigger.NextAt())
			}
			p.looking.Unlock()
		}
	}
}

// wanted reports whether a look is due, or asked for.
func (p *poller) wanted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.branches {
		if b.asked {
			return true
		}
	}
	next := p.trigger.NextAt()
	return !next.IsZero() && !next.After(p.now())
}

func (p *poller) close() {
	p.looking.Lock()
	defer p.looking.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.branches {
		if b.mirror != nil {
			b.mirror.Close()
			b.mirror = nil
		}
	}
}

// join makes a source one of those that are looked for.
func (p *poller) join(r *repository) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.members = append(p.members, r)
	if p.branches[r.branch] == nil {
		p.branches[r.branch] = &branch{name: r.branch}
	}
	p.pace()
}

// leave ends that. It reports whether nobody is left.
func (p *poller) leave(r *repository) bool {
	p.looking.Lock()
	defer p.looking.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.members = slices.DeleteFunc(p.members, func(m *repository) bool { return m == r })
	if b := p.branches[r.branch]; b != nil && !slices.ContainsFunc(p.members, func(m *repository) bool { return m.branch == r.branch }) {
		if b.mirror != nil {
			b.mirror.Close()
		}
		delete(p.branches, r.branch)
	}
	p.pace()
	return len(p.members) == 0
}

// pace sets how often to look: the shortest interval, and all schedules.
func (p *poller) pace() {
	var interval time.Duration
	var schedules []trigger.Schedule
	for _, m := range p.members {
		if m.schedule != nil {
			schedules = append(schedules, *m.schedule)
		} else if interval == 0 || m.interval < interval {
			interval = m.interval
		}
	}
	p.trigger.Pace(interval, schedules)
}

// patience is what waits after errors are counted from.
func (p *poller) patience() time.Duration {
	least := slices.MinFunc(p.members, func(a, b *repository) int { return cmp.Compare(a.interval, b.interval) })
	return least.interval
}

// ask makes it time to look, at one branch in any case.
func (p *poller) ask(name string) {
	p.mu.Lock()
	if b := p.branches[name]; b != nil {
		b.asked = true
	}
	p.mu.Unlock()
	p.trigger.Kick()
}

// poll looks now and returns the head of a branch. A look that began after the caller asked, for another source, serves
// it as well.
func (p *poller) poll(ctx context.Context, name string) (string, error) {
	p.mu.Lock()
	asked := p.begun // no time: clocks are set back
	p.mu.Unlock()
	p.looking.Lock()
	defer p.looking.Unlock()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	p.mu.Lock()
	b := p.branches[name]
	if b == nil {
		p.mu.Unlock()
		return "", errUnread
	}
	served := b.looked > asked
	b.asked = b.asked || !served
	p.mu.Unlock()
	if !served {
		p.look(ctx)
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return p.polled(name)
}

// polled is what the newest look found of a branch.
func (p *poller) polled(name string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.branches[name]
	if b == nil || b.looked == 0 {
		return "", errUnread
	}
	return b.head, b.err
}

// look looks once, at all branches whose time has come, and tells their sources. What ends with ctx is as if it never was.
func (p *poller) look(ctx context.Context) {
	p.tell("")
	defer p.tell("")
	number, due := p.begin()
	if len(due) == 0 {
		p.next()
		return
	}
	err := p.open(ctx, due)
	if err == nil {
		mirrors := make([]*source.Mirror, len(due))
		for i, b := range due {
			mirrors[i] = b.mirror
		}
		_, _ = mirrors[0].Poll(ctx, mirrors[1:]...) // Last says how it went
	}
	if ctx.Err() != nil {
		return
	}
	p.end(number, due, err)
}

// begin takes the number of a look, and the branches to look at.
func (p *poller) begin() (int64, []*branch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begun++
	var due []*branch
	for _, b := range p.branches {
		if b.asked || b.streak.Count == 0 || !b.due.IsZero() && b.due.Before(p.now().Add(p.patience()/5)) {
			due = append(due, b)
			b.asked = false
		}
	}
	slices.SortFunc(due, func(a, b *branch) int { return cmp.Compare(a.name, b.name) })
	return p.begun, due
}

// open opens the mirrors that are not yet.
func (p *poller) open(ctx context.Context, due []*branch) error {
	for _, b := range due {
		if b.mirror != nil {
			continue
		}
		var m *source.Mirror
		var err error
		if first := p.anyMirror(); first != nil {
			m, err = first.Also(ctx, b.name)
		} else {
			c := p.config
			c.Branch = b.name
			m, err = source.Open(ctx, c, p.log)
		}
		if err != nil {
			return err
		}
		p.mu.Lock()
		b.mirror = m
		p.mu.Unlock()
	}
	return nil
}

func (p *poller) anyMirror() *source.Mirror {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.branches {
		if b.mirror != nil {
			return b.mirror
		}
	}
	return nil
}

// end notes how a look went: err for all its branches, or what each mirror says.
func (p *poller) end(number int64, due []*branch, err error) {
	p.mu.Lock()
	random := rand.Float64() // one for all, so that branches that fail alike are due together
	now := p.now()
	for _, b := range due {
		head, failed := source.Head{}, err
		if err == nil {
			head, failed = b.mirror.Last()
		}
		b.looked, b.head, b.err = number, string(head.Commit), withHint(failed)
		p.count(b, failed, now, random)
	}
	told := slices.DeleteFunc(slices.Clone(p.members), func(m *repository) bool {
		return !slices.ContainsFunc(due, func(b *branch) bool { return b.name == m.branch })
	})
	p.mu.Unlock()
	p.next()
	for _, m := range told {
		m.signal()
	}
}

// count goes on with the streak of a branch. An error that repeats is one line now and then, with its count.
func (p *poller) count(b *branch, err error, now time.Time, random float64) {
	var note source.Note
	b.streak, note = b.streak.Next(err, now)
	if err == nil {
		return
	}
	if note == source.NoteStillFailing {
		p.log.Warn().Str("repository", p.id.url).Str("branch", b.name).Int("attempt", b.streak.Count).Time("since", b.streak.Since).
			Err(err).Msg("still not synced")
	}
	var retryAfter time.Duration
	if e, ok := errors.AsType[*source.Error](err); ok {
		retryAfter = e.RetryAfter
	}
	wait, stall := source.Backoff(source.KindOf(err), b.streak.Count, p.patience(), retryAfter, random)
	if b.due = now.Add(wait); stall {
		b.due = time.Time{}
	}
}

// next sets when the next look is due: as usual when a branch is well, else when the first of them may be tried again.
func (p *poller) next() {
	p.mu.Lock()
	var first time.Time
	well := false
	for _, b := range p.branches {
		well = well || b.streak.Count == 0
		if !b.due.IsZero() && (first.IsZero() || b.due.Before(first)) {
			first = b.due
		}
	}
	p.mu.Unlock()
	if well {
		p.trigger.Done()
		return
	}
	p.trigger.DoneUntil(first)
}

// nextAt is when a branch is looked at next; zero: not before somebody asks.
func (p *poller) nextAt(name string) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.branches[name]; b != nil && b.streak.Count > 0 {
		return b.due
	}
	return p.trigger.NextAt()
}

// snapshot opens a snapshot of the newest head of a branch.
func (p *poller) snapshot(name string) (*source.Snapshot, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.branches[name]
	if b == nil || b.mirror == nil {
		return nil, errUnread
	}
	return b.mirror.Snapshot()
}

// progress notes how a fetch goes on, and passes it to whoever watches.
func (p *poller) progress(watch func(name, text string)) func(source.Progress) {
	return func(now source.Progress) {
		text := now.Text
		if now.Objects > 0 {
			text = fmt.Sprintf("fetching %d objects, %.1f MB so far", now.Objects, float64(now.Bytes)/1e6)
		}
		p.tell(text)
		if watch != nil {
			watch(p.config.Name, text)
		}
	}
}

func (p *poller) tell(text string) { p.activity.Store(&text) }

// doing says what is going on; empty: nothing.
func (p *poller) doing() string {
	if text := p.activity.Load(); text != nil {
		return *text
	}
	return ""
}

var errUnread = errors.New("the repository was not read yet")
