package source

import (
	"bufio"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
)

// weigh counts for every object the deltas that are built on it. A delta comes after its base.
func (x *packIndexer) weigh() {
	for i := len(x.entries) - 1; i >= 0; i-- {
		if e := &x.entries[i]; e.base >= 0 {
			x.entries[e.base].weight += 1 + e.weight
		}
	}
}

// children returns the deltas built on an object whose name is known; the one that most is built on comes last, so that
// few objects wait for their deltas at a time.
func (x *packIndexer) children(i int32) []int32 {
	e := &x.entries[i]
	var out []int32
	for c := e.child; c >= 0; c = x.entries[c].next {
		out = append(out, c)
	}
	if named, ok := x.named[e.id]; ok {
		out = append(out, named...)
		delete(x.named, e.id)
	}
	for k := range out {
		if last := len(out) - 1; x.entries[out[k]].weight > x.entries[out[last]].weight {
			out[k], out[last] = out[last], out[k]
		}
	}
	return out
}

// waiting is an object that deltas are built on.
type waiting struct {
	content  []byte
	children []int32
}

// resolve names every object that is stored as a delta.
func (x *packIndexer) resolve() error {
	for i := range x.entries {
		if x.entries[i].delta {
			continue
		}
		if err := x.resolveOn(int32(i)); err != nil { //nolint:gosec // at most maxPackObjects
			return err
		}
	}
	for i := range x.entries {
		if !x.entries[i].known {
			return errorText("a delta of an object that is not in the pack")
		}
	}
	return nil
}

// resolveOn names what is built on an object that is stored whole, at any distance. An object is let go before the last
// delta on it is followed: a chain of deltas holds two.
func (x *packIndexer) resolveOn(root int32) error {
	children := x.children(root)
	if len(children) == 0 {
		return nil
	}
	content, err := x.read(&x.entries[root], nil)
	if err != nil {
		return err
	}
	x.held = int64(len(content))
	stack := []waiting{{content: content, children: children}}
	for len(stack) > 0 {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		top := &stack[len(stack)-1]
		child := top.children[0]
		top.children = top.children[1:]
		content, err := x.build(child, top.content, x.entries[root].kind)
		if err != nil {
			return err
		}
		if len(top.children) == 0 {
			x.held -= int64(len(top.content))
			x.spare = top.content
			stack = stack[:len(stack)-1]
		}
		if more := x.children(child); len(more) > 0 {
			x.held += int64(len(content))
			stack = append(stack, waiting{content: content, children: more})
		} else {
			x.spare = content
		}
	}
	return nil
}

// read inflates an object again.
func (x *packIndexer) read(e *packEntry, buf []byte) ([]byte, error) {
	if e.size > x.limits.ObjectBytes {
		return nil, tooLarge("an object that others are differences to", x.limits.ObjectBytes, "bytes")
	}
	if x.section == nil {
		x.section = bufio.NewReaderSize(nil, 16<<10)
	}
	x.section.Reset(io.NewSectionReader(x.file, e.offset+int64(e.head), 1<<62))
	var err error
	if x.inflater, err = inflating(x.inflater, x.section); err != nil {
		return nil, err
	}
	buf = sized(buf, e.size)
	_, err = io.ReadFull(x.inflater, buf)
	return buf, err
}

// sized returns a slice of n bytes, in buf when it fits.
func sized(buf []byte, n int64) []byte {
	if int64(cap(buf)) >= n {
		return buf[:n]
	}
	return make([]byte, n)
}

// build makes an object of a delta and its base, and names it.
func (x *packIndexer) build(i int32, base []byte, kind plumbing.ObjectType) ([]byte, error) {
	e := &x.entries[i]
	var err error
	if x.delta, err = x.read(e, x.delta[:0]); err != nil {
		return nil, err
	}
	from, rest, err := deltaSize(x.delta)
	if err != nil {
		return nil, err
	}
	size, rest, err := deltaSize(rest)
	switch {
	case err != nil:
		return nil, err
	case from != int64(len(base)):
		return nil, errorText("a delta of another object")
	case size > x.limits.ObjectBytes:
		return nil, tooLarge("an object", x.limits.ObjectBytes, "bytes")
	case x.held+size > 2*x.limits.ObjectBytes:
		return nil, tooLarge("the objects that others are differences to", 2*x.limits.ObjectBytes, "bytes")
	}
	if x.left -= size; x.left < 0 {
		return nil, tooLarge("the inflated objects", x.limits.InflatedBytes, "bytes")
	}
	spare := x.spare
	x.spare = nil
	content, err := applyDelta(sized(spare, size)[:0], base, rest, size)
	if err != nil {
		return nil, err
	}
	e.kind, e.id, e.known = kind, plumbing.ComputeHash(kind, content), true
	return content, nil
}

// deltaSize cuts a size off the front of a delta: groups of seven bits, the lowest first.
func deltaSize(b []byte) (int64, []byte, error) {
	var n int64
	for i := 0; i < len(b) && i < 8; i++ {
		n |= int64(b[i]&0x7f) << (7 * i)
		if b[i]&0x80 == 0 {
			return n, b[i+1:], nil
		}
	}
	return 0, nil, errorText("a delta without its sizes")
}

// applyDelta appends what a delta makes of base to out: pieces of base and pieces of its own, size bytes in all.
func applyDelta(out, base, delta []byte, size int64) ([]byte, error) {
	for len(delta) > 0 {
		op := delta[0]
		delta = delta[1:]
		var piece []byte
		switch {
		case op&0x80 != 0:
			offset, n, rest, ok := deltaCopy(op, delta)
			if !ok || offset+n > int64(len(base)) {
				return nil, errorText("a delta that copies what is not there")
			}
			piece, delta = base[offset:offset+n], rest
		case op == 0 || int(op) > len(delta):
			return nil, errorText("a delta that is cut off")
		default:
			piece, delta = delta[:op], delta[op:]
		}
		if int64(len(out)+len(piece)) > size {
			return nil, errorText("a delta that makes more than it says")
		}
		out = append(out, piece...)
	}
	if int64(len(out)) != size {
		return nil, fmt.Errorf("a delta that makes %d bytes and says %d", len(out), size)
	}
	return out, nil
}

// deltaCopy reads the place and the length of a copy, of which op says which bytes are there.
func deltaCopy(op byte, b []byte) (offset, n int64, rest []byte, ok bool) {
	for i := range 7 {
		if op>>i&1 == 0 {
			continue
		}
		if len(b) == 0 {
			return 0, 0, nil, false
		}
		if i < 4 {
			offset |= int64(b[0]) << (8 * i)
		} else {
			n |= int64(b[0]) << (8 * (i - 4))
		}
		b = b[1:]
	}
	if n == 0 {
		n = 0x10000
	}
	return offset, n, b, true
}
