package source

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1" //nolint:gosec // Git's pack trailer is SHA-1
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// wirePusher speaks to git-receive-pack, which knows version 0 of the protocol alone.
type wirePusher struct {
	via    carrier
	step   time.Duration
	points points
}

// maxReport bounds what a server reports about one branch.
const maxReport = 64 << 10

func (w *wirePusher) close() { w.via.close() }

func (w *wirePusher) branch(ctx context.Context, branch string) (plumbing.Hash, error) {
	c, err := w.via.open(ctx)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	defer c.Close()
	g, err := w.greet(c)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if !c.stateless() {
		// The program at the other end waits for commands: an end without any is its own.
		if _, err := c.ask([]byte("0000")); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	return g.branch(branch), nil
}

func (g greeted) branch(branch string) plumbing.Hash {
	for _, r := range g.refs {
		if r.name == branchRef(branch) {
			return r.id
		}
	}
	return plumbing.ZeroHash
}

func (w *wirePusher) greet(c conversation) (greeted, error) {
	in, err := c.greeting()
	if err != nil {
		return greeted{}, err
	}
	g, err := parseGreeting(in)
	if err != nil {
		return greeted{}, err
	}
	unsupported := func(text string) (greeted, error) {
		return greeted{}, &Error{Kind: KindUnsupported, Op: "push", Subject: w.via.address(), Err: errorText(text)}
	}
	switch {
	case g.two:
		return unsupported("the server answers in a version that pushing does not have")
	case !slices.Contains(g.caps, "report-status"):
		return unsupported("the server does not report what becomes of a push")
	}
	for _, c := range g.caps {
		if f, ok := strings.CutPrefix(c, "object-format="); ok && f != "sha1" {
			return unsupported("the repository uses " + quote(f) + " object names")
		}
	}
	return g, nil
}

func (w *wirePusher) push(ctx context.Context, branch string, old plumbing.Hash, p *Proposal) error {
	dog := newWatchdog(ctx, w.step)
	defer dog.stop()
	err := w.send(dog, branch, old, p)
	return cause(dog.ctx, err)
}

func (w *wirePusher) send(dog *watchdog, branch string, old plumbing.Hash, p *Proposal) error {
	c, err := w.via.open(dog.ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	g, err := w.greet(c)
	if err != nil {
		return err
	}
	switch is := g.branch(branch); {
	case is == p.id:
		return nil
	case is != old && old.IsZero():
		return occupied(branch, is)
	case is != old:
		return raced(branch, old, is)
	}
	band := slices.Contains(g.caps, "side-band-64k")
	request, err := commands(branch, old, p, band)
	if err != nil {
		return err
	}
	dog.rest() // the remote's hooks may take their time: the limit of a whole push holds
	var said listener
	reason := ""
	err = w.points.do(PointSend, func() error {
		in, err := c.ask(request)
		if err != nil {
			return err
		}
		report := in
		if band {
			var buf bytes.Buffer
			if err := listenTo(in, &buf, &said); err != nil {
				return err
			}
			report = newPktReader(&buf)
		}
		reason, err = readReport(report, branchRef(branch))
		return err
	})
	if err != nil || reason == "" {
		return err
	}
	return w.explain(dog.ctx, branch, old, p, reason, said.said())
}

// commands writes the request: the branch, with where it is and where it is to go, so that the server moves it from
// there or not at all; and the pack.
func commands(branch string, old plumbing.Hash, p *Proposal, band bool) ([]byte, error) {
	caps := "report-status"
	if band {
		caps += " side-band-64k"
	}
	m := &message{}
	m.line("%s %s %s\x00%s agent=belay", old, p.id, branchRef(branch), caps)
	m.flush()
	if err := p.pack(m); err != nil {
		return nil, err
	}
	return m.Bytes(), nil
}

// listenTo takes the bands of an answer apart: the report, and what is said to people.
func listenTo(in *pktReader, report *bytes.Buffer, said *listener) error {
	for {
		kind, data, err := in.next()
		if err != nil {
			return err
		}
		if kind != pktData {
			return nil
		}
		if len(data) == 0 {
			return fmt.Errorf("%w: empty packet in the report", errProtocol)
		}
		switch band := data[0]; band {
		case 1:
			if report.Len()+len(data) > maxReport {
				return tooLarge("report", maxReport, "bytes")
			}
			report.Write(data[1:])
		case 2:
			said.hear(data[1:])
		case 3:
			return serverSays(string(data[1:]))
		default:
			return fmt.Errorf("%w: band %d", errProtocol, band)
		}
	}
}

// readReport returns why the server did not move the ref, or "" when it did.
func readReport(in *pktReader, ref string) (string, error) {
	unpack, done, reason := "", false, ""
	for {
		kind, line, err := in.line()
		if err != nil {
			return "", fmt.Errorf("the report of the push: %w", err)
		}
		if kind != pktData {
			break
		}
		verb, rest, _ := strings.Cut(line, " ")
		name, why, _ := strings.Cut(rest, " ")
		switch {
		case verb == "unpack":
			unpack = rest
		case verb == "ok" && name == ref:
			done = true
		case verb == "ng" && name == ref:
			reason = why
			if reason == "" {
				reason = "no reason given"
			}
		}
	}
	switch {
	case unpack != "ok":
		return "unpacker error: " + unpack, nil
	case reason != "":
		return reason, nil
	case !done:
		return "", fmt.Errorf("%w: the report does not name the branch", errProtocol)
	}
	return "", nil
}

// explain finds out what a refusal means: another one was faster when the branch is elsewhere now, else the server does
// not want it.
func (w *wirePusher) explain(ctx context.Context, branch string, old plumbing.Hash, p *Proposal, reason string, said []string) error {
	is, err := w.branch(ctx, branch)
	switch {
	case err != nil:
		return errors.Join(refused(reason, said), err)
	case is == p.id:
		return nil
	case is == old:
		return refused(reason, said)
	case old.IsZero():
		return occupied(branch, is)
	}
	return raced(branch, old, is)
}

// writePack writes objects as one pack, each whole.
func writePack(from *overlay, list []found, out io.Writer) error {
	sum := sha1.New() //nolint:gosec // Git's pack trailer is SHA-1
	both := io.MultiWriter(out, sum)
	head := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(list))) //nolint:gosec // in memory
	if _, err := both.Write(head); err != nil {
		return err
	}
	for _, f := range list {
		content, err := from.bytes(f.kind, f.id)
		if err != nil {
			return err
		}
		if _, err := both.Write(entryHead(f.kind, int64(len(content)))); err != nil {
			return err
		}
		z := zlib.NewWriter(both)
		if _, err := z.Write(content); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
	}
	_, err := out.Write(sum.Sum(nil))
	return err
}
