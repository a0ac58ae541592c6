package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// carrier opens conversations with one program of Git on a remote.
type carrier interface {
	// open begins a conversation. It ends with Close, or, however it hangs, when ctx does.
	open(ctx context.Context) (conversation, error)
	// address is the remote's, without credentials.
	address() string
	// close drops what is kept between conversations.
	close()
}

// conversation is an exchange with it.
type conversation interface {
	// greeting is what the server says first.
	greeting() (*pktReader, error)
	// ask sends a request and returns the answer.
	ask(request []byte) (*pktReader, error)
	// stateless tells that ask works without greeting before it.
	stateless() bool
	Close() error
}

// wireRemote speaks Git's protocol, version 2 and, with servers that do not know it, version 0.
type wireRemote struct {
	via      carrier
	limits   Limits
	times    timeouts
	progress func(Progress)

	two          bool // the server speaks version 2
	objectFormat bool // and wants to be told the object format

	missing []string // branches that were not there when they were last asked for
}

// greeted is what a server says first.
type greeted struct {
	two     bool
	format  bool
	refs    []refLine // version 0
	shallow bool
	caps    []string
}

type refLine struct {
	name string
	id   plumbing.Hash
}

func (w *wireRemote) close()          { w.via.close() }
func (w *wireRemote) address() string { return w.via.address() }

// look asks for the branches alone where the server can answer that.
func (w *wireRemote) look(ctx context.Context, branches []string) (seen, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, w.times.step, errTimeout)
	defer cancel()
	known := w.two
	out, err := w.lookup(ctx, branches)
	if known && (errors.Is(err, errProtocol) || errors.Is(err, io.ErrUnexpectedEOF) || KindOf(err) == KindServer) {
		w.two = false // the server may have changed: begin anew
		out, err = w.lookup(ctx, branches)
	}
	return out, wrapRemote("poll", w.via.address(), cause(ctx, err))
}

func (w *wireRemote) lookup(ctx context.Context, branches []string) (seen, error) {
	c, err := w.via.open(ctx)
	if err != nil {
		return seen{}, err
	}
	defer c.Close()
	if !w.two || !c.stateless() {
		g, err := w.greet(c)
		if err != nil {
			return seen{}, err
		}
		if !g.two {
			return pick(branches, g.refs), nil
		}
	}
	wasMissing := func(b string) bool { return slices.Contains(w.missing, b) }
	if !slices.ContainsFunc(branches, wasMissing) {
		prefixes := make([]string, len(branches))
		for i, b := range branches {
			prefixes[i] = branchRef(b)
		}
		refs, err := w.list(c, prefixes...)
		if err != nil {
			return seen{}, err
		}
		if out := pick(branches, refs); len(out.heads) == len(branches) {
			return out, nil
		}
	}
	// A branch is gone, and people want to see which there are: as long as it is, that is asked for at once.
	refs, err := w.list(c, "refs/heads/")
	if err != nil {
		return seen{}, err
	}
	out := pick(branches, refs)
	w.missing = slices.DeleteFunc(w.missing, func(b string) bool { return slices.Contains(branches, b) })
	for _, b := range branches {
		if _, there := out.heads[b]; !there {
			w.missing = append(w.missing, b)
		}
	}
	return out, nil
}

// pick finds branches among refs.
func pick(branches []string, refs []refLine) seen {
	out := seen{heads: map[string]plumbing.Hash{}}
	for _, r := range refs {
		name, ok := strings.CutPrefix(r.name, "refs/heads/")
		if !ok {
			continue
		}
		out.branches = append(out.branches, name)
		if slices.Contains(branches, name) {
			out.heads[name] = r.id
		}
	}
	slices.Sort(out.branches)
	return out
}

// greet reads what the server says first, in either version.
func (w *wireRemote) greet(c conversation) (greeted, error) {
	in, err := c.greeting()
	if err != nil {
		return greeted{}, err
	}
	g, err := parseGreeting(in)
	if err != nil {
		return greeted{}, err
	}
	w.two, w.objectFormat = g.two, g.format
	if g.shallow {
		return greeted{}, shallowRemote(w.via.address())
	}
	for _, c := range g.caps {
		if f, ok := strings.CutPrefix(c, "object-format="); ok && f != "sha1" {
			return greeted{}, &Error{
				Kind: KindUnsupported, Op: "poll", Subject: w.via.address(),
				Err: fmt.Errorf("the repository uses %s object names", quote(f)), Hint: "only SHA-1 repositories are read",
			}
		}
	}
	return g, nil
}

func shallowRemote(address string) error {
	return &Error{
		Kind: KindUnsupported, Op: "poll", Subject: address, Err: errorText("the repository is shallow: its history is cut off"),
		Hint: "git fetch --unshallow, on the remote",
	}
}

func parseGreeting(in *pktReader) (greeted, error) {
	var g greeted
	for first, service := true, false; ; {
		kind, line, err := in.line()
		if err != nil {
			return g, err
		}
		if kind != pktData {
			if service { // the end of the service's name, in the answer of a web server
				service = false
				continue
			}
			if g.two {
				g.format = slices.ContainsFunc(g.caps, func(c string) bool { return strings.HasPrefix(c, "object-format") })
			}
			return g, nil
		}
		if first && !service && strings.HasPrefix(line, "# service=") {
			service = true
			continue
		}
		if first && strings.HasPrefix(line, "version ") {
			g.two = line == "version 2"
			first = !g.two // version 1 is version 0 after this line
			continue
		}
		if err := g.take(line, first); err != nil {
			return g, err
		}
		first = false
	}
}

// take reads one line of a greeting after what names the version.
func (g *greeted) take(line string, first bool) error {
	switch {
	case g.two:
		g.caps = append(g.caps, line)
	case strings.HasPrefix(line, "shallow "):
		g.shallow = true
	default:
		return g.addRef(line, first)
	}
	return nil
}

// addRef takes a line of version 0: a hash, a name, and in the first line the capabilities.
func (g *greeted) addRef(line string, first bool) error {
	line, caps, ok := strings.Cut(line, "\x00")
	if first && !ok {
		return fmt.Errorf("%w: %s", errProtocol, quote(truncate(line, 80)))
	}
	if first {
		g.caps = strings.Fields(caps)
	}
	id, name, ok := strings.Cut(line, " ")
	h, err := toGit(Hash(id))
	if !ok || err != nil {
		return fmt.Errorf("%w: %s", errProtocol, quote(truncate(line, 80)))
	}
	if name != "capabilities^{}" && !strings.HasSuffix(name, "^{}") {
		g.refs = append(g.refs, refLine{name: name, id: h})
	}
	return nil
}

// command begins a request of version 2.
func (w *wireRemote) command(name string) *message {
	m := &message{}
	m.line("command=%s", name)
	m.line("agent=belay")
	if w.objectFormat {
		m.line("object-format=sha1")
	}
	m.delim()
	return m
}

// list asks for the refs with one of the prefixes: version 2.
func (w *wireRemote) list(c conversation, prefixes ...string) ([]refLine, error) {
	m := w.command("ls-refs")
	for _, p := range prefixes {
		m.line("ref-prefix %s", p)
	}
	m.flush()
	in, err := c.ask(m.Bytes())
	if err != nil {
		return nil, err
	}
	var refs []refLine
	for {
		kind, line, err := in.line()
		if err != nil {
			return nil, err
		}
		if kind != pktData {
			return refs, nil
		}
		fields := strings.Fields(line)
		if len(fields) < 2 {
			return nil, fmt.Errorf("%w: %s", errProtocol, quote(truncate(line, 80)))
		}
		h, err := toGit(Hash(fields[0]))
		if err != nil {
			return nil, fmt.Errorf("%w: %s", errProtocol, quote(truncate(line, 80)))
		}
		refs = append(refs, refLine{name: fields[1], id: h})
	}
}

// fetch receives what is wanted and what is behind it as one pack. Silence for longer than a step may take ends it, and so does
// the limit of a whole fetch.
func (w *wireRemote) fetch(ctx context.Context, wants []plumbing.Hash, to *fetchTarget) error {
	ctx, cancel := context.WithTimeoutCause(ctx, w.times.fetch, errTimeout)
	defer cancel()
	dog := newWatchdog(ctx, w.times.step)
	defer dog.stop()
	err := w.receive(ctx, dog, wants, to)
	return wrapRemote("fetch", w.via.address(), cause(dog.ctx, err))
}

func (w *wireRemote) receive(ctx context.Context, dog *watchdog, wants []plumbing.Hash, to *fetchTarget) error {
	c, err := w.via.open(dog.ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	var g greeted
	if !w.two || !c.stateless() {
		if g, err = w.greet(c); err != nil {
			return err
		}
	}
	var haves []plumbing.Hash
	if to.haves != nil {
		haves = to.haves()
	}
	request, err := w.request(g, wants, haves)
	if err != nil {
		return err
	}
	in, err := c.ask(request)
	if err != nil {
		return err
	}
	if err := w.toPack(in); err != nil {
		return err
	}
	return to.writePack(ctx, nil, func(out io.Writer) error {
		defer dog.rest() // what came is looked through now
		return demux(in, &counter{out: out, dog: dog, report: w.progress}, w.progress)
	})
}

// request asks for everything behind wants that is not behind haves. All is said in one message: the server need not
// know any of the haves.
func (w *wireRemote) request(g greeted, wants, haves []plumbing.Hash) ([]byte, error) {
	if w.two {
		m := w.command("fetch")
		m.line("ofs-delta")
		if w.progress == nil {
			m.line("no-progress")
		}
		for _, h := range wants {
			m.line("want %s", h)
		}
		for _, h := range haves {
			m.line("have %s", h)
		}
		m.line("done")
		m.flush()
		return m.Bytes(), nil
	}
	caps := []string{"side-band-64k", "ofs-delta", "agent=belay"}
	if w.progress == nil {
		caps = append(caps, "no-progress")
	}
	var use []string
	for _, c := range caps {
		key, _, _ := strings.Cut(c, "=")
		if slices.ContainsFunc(g.caps, func(have string) bool { return have == key || strings.HasPrefix(have, key+"=") }) {
			use = append(use, c)
		}
	}
	if !slices.Contains(use, "side-band-64k") {
		return nil, &Error{Kind: KindUnsupported, Op: "fetch", Subject: w.via.address(), Err: errorText("the server is too old: it has no side-band-64k")}
	}
	m := &message{}
	for i, h := range wants {
		if i == 0 {
			m.line("want %s %s", h, strings.Join(use, " "))
			continue
		}
		m.line("want %s", h)
	}
	m.flush()
	for _, h := range haves {
		m.line("have %s", h)
	}
	m.line("done")
	return m.Bytes(), nil
}

// toPack reads up to where the pack begins.
func (w *wireRemote) toPack(in *pktReader) error {
	if !w.two {
		return afterNaks(in)
	}
	for {
		kind, line, err := in.line()
		switch {
		case err != nil:
			return err
		case kind == pktData && line == "packfile":
			return nil
		case kind == pktData && line == "shallow-info":
			return shallowRemote(w.via.address())
		case kind == pktFlush || kind == pktEnd:
			return fmt.Errorf("%w: no pack in the answer", errProtocol)
		}
	}
}

// afterNaks reads up to the last ACK or NAK of version 0: the pack begins there.
func afterNaks(in *pktReader) error {
	for {
		head, err := in.in.Peek(7)
		if err != nil {
			return unexpected(err)
		}
		if word := string(head[4:]); word != "ACK" && word != "NAK" && word != "ERR" {
			return nil
		}
		if _, _, err := in.line(); err != nil {
			return err
		}
	}
}

// demux writes the pack out of the bands of an answer: 1 is the pack, 2 progress for people, 3 a fatal error.
func demux(in *pktReader, out io.Writer, progress func(Progress)) error {
	for {
		kind, data, err := in.next()
		if err != nil {
			return err
		}
		if kind != pktData {
			return nil
		}
		if len(data) == 0 {
			return fmt.Errorf("%w: empty packet in the pack", errProtocol)
		}
		switch band := data[0]; band {
		case 1:
			if _, err := out.Write(data[1:]); err != nil {
				return err
			}
		case 2:
			if progress != nil {
				progress(Progress{Text: lastLine(string(data[1:]))})
			}
		case 3:
			return serverSays(string(data[1:]))
		default:
			return fmt.Errorf("%w: band %d", errProtocol, band)
		}
	}
}

func lastLine(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\r' || r == '\n' })
	if len(lines) == 0 {
		return ""
	}
	return truncate(strings.Map(printable, strings.ToValidUTF8(lines[len(lines)-1], "?")), 120)
}
