package source

import (
	"bytes"
	"cmp"
	"compress/zlib"
	"context"
	"crypto/sha1" //nolint:gosec // Git's pack trailer is SHA-1
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
)

// packCopy writes objects of another repository as one pack. What lies in packs there is copied as it is, deltas
// included, because inflating and deflating a large directory for each commit that touched it costs a hundred times
// more, in time and on disk. A delta whose base is not copied is written whole.
type packCopy struct {
	from   *reader
	out    io.Writer
	at     int64
	places []place
	ends   []map[int64]int64          // for each pack: where each entry ends
	moved  map[[2]int64]int64         // (pack, offset there) → offset here
	byID   map[plumbing.Hash][2]int64 // for deltas that name their base
}

// place is where an object lies.
type place struct {
	found
	pack   int // -1 when loose
	offset int64
}

// copyObjects writes the objects listed as one pack to out.
func copyObjects(ctx context.Context, from *reader, list []found, out io.Writer) error {
	c := &packCopy{from: from, moved: map[[2]int64]int64{}, byID: map[plumbing.Hash][2]int64{}}
	sum := sha1.New() //nolint:gosec // Git's pack trailer is SHA-1
	c.out = io.MultiWriter(out, sum)
	if err := c.locate(list); err != nil {
		return err
	}
	head := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(list))) //nolint:gosec // bounded by memory
	if err := c.write(head); err != nil {
		return err
	}
	for i := range c.places {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.entry(&c.places[i]); err != nil {
			return err
		}
	}
	_, err := out.Write(sum.Sum(nil))
	return err
}

func (c *packCopy) write(p []byte) error {
	n, err := c.out.Write(p)
	c.at += int64(n)
	return err
}

// locate finds every object and sorts them as they lie, so that bases come before what is built on them.
func (c *packCopy) locate(list []found) error {
	c.places = make([]place, len(list))
	for i, f := range list {
		p := place{found: f, pack: -1}
		for k := range c.from.packs {
			offset, err := c.from.packs[k].index.FindOffset(f.id)
			if err == nil {
				p.pack, p.offset = k, offset
				c.byID[f.id] = [2]int64{int64(k), offset}
				break
			}
			if !errors.Is(err, plumbing.ErrObjectNotFound) {
				return fmt.Errorf("%w: %w", errDamaged, err)
			}
		}
		c.places[i] = p
	}
	slices.SortFunc(c.places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.pack, b.pack), cmp.Compare(a.offset, b.offset), bytes.Compare(a.id[:], b.id[:]))
	})
	c.ends = make([]map[int64]int64, len(c.from.packs))
	return nil
}

// end returns where the entry at offset of a pack ends.
func (c *packCopy) end(k int, offset int64) (int64, error) {
	if c.ends[k] == nil {
		size, err := c.from.raw[k].Seek(0, io.SeekEnd)
		if err != nil {
			return 0, err
		}
		entries, err := c.from.packs[k].index.EntriesByOffset()
		if err != nil {
			return 0, err
		}
		ends, last := map[int64]int64{}, int64(-1)
		for {
			e, err := entries.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return 0, err
			}
			at := int64(e.Offset) //nolint:gosec // a file's size
			if last >= 0 {
				ends[last] = at
			}
			last = at
		}
		ends[last] = size - sha1.Size
		c.ends[k] = ends
	}
	return c.ends[k][offset], nil
}

// entry writes one object.
func (c *packCopy) entry(p *place) error {
	start := c.at
	if p.pack < 0 {
		return c.whole(p)
	}
	key := [2]int64{int64(p.pack), p.offset}
	h, err := c.header(p)
	if err != nil {
		return err
	}
	var base int64
	if h.delta {
		var ok bool
		if base, ok = c.moved[h.base]; !ok || h.base == key {
			c.moved[key] = start
			return c.whole(p)
		}
	}
	end, err := c.end(p.pack, p.offset)
	if err != nil {
		return err
	}
	if end <= h.data {
		return fmt.Errorf("%w: %s: bad place in its pack", errDamaged, p.id)
	}
	c.moved[key] = start
	kind := h.kind
	if h.delta {
		kind = plumbing.OFSDeltaObject
	}
	head := entryHead(kind, h.size)
	if h.delta {
		head = append(head, backward(start-base)...)
	}
	if err := c.write(head); err != nil {
		return err
	}
	n, err := io.Copy(c.out, io.NewSectionReader(c.from.raw[p.pack], h.data, end-h.data))
	c.at += n
	return err
}

// whole writes an object without reference to another.
func (c *packCopy) whole(p *place) error {
	size, in, err := c.open(p)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := c.write(entryHead(p.kind, size)); err != nil {
		return err
	}
	z, err := zlib.NewWriterLevel(writerFunc(func(b []byte) (int, error) { return len(b), c.write(b) }), zlib.BestSpeed)
	if err != nil {
		return err
	}
	if err := copyExactly(z, in, size, nil); err != nil {
		return damaged(p.id.String(), err)
	}
	return z.Close()
}

// open returns the size and the content of an object. A loose one, which can be large, is not held in memory.
func (c *packCopy) open(p *place) (int64, io.ReadCloser, error) {
	if p.pack < 0 {
		kind, size, in, err := c.from.openLoose(p.id)
		if err == nil && kind != p.kind {
			err = errors.Join(fmt.Errorf("%w: %s is a %s where a %s should be", errMalformed, p.id, kind, p.kind), in.Close())
		}
		return size, in, err
	}
	o, err := c.from.object(p.kind, p.id)
	if err != nil {
		return 0, nil, err
	}
	in, err := o.Reader()
	return o.Size(), in, err
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// packedHead is the head of an entry of a pack.
type packedHead struct {
	kind  plumbing.ObjectType
	size  int64
	delta bool
	base  [2]int64 // pack and offset of a delta's base
	data  int64    // where the compressed data begin
}

func (c *packCopy) header(p *place) (packedHead, error) {
	var buf [48]byte
	n, err := c.from.raw[p.pack].ReadAt(buf[:], p.offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return packedHead{}, err
	}
	in := bytes.NewReader(buf[:n])
	bad := func(err error) (packedHead, error) {
		return packedHead{}, fmt.Errorf("%w: %s: head of its entry: %w", errDamaged, p.id, err)
	}
	var h packedHead
	if h.kind, h.size, err = readEntryHead(in); err != nil {
		return bad(err)
	}
	switch h.kind {
	case plumbing.OFSDeltaObject:
		back, err := readBackward(in)
		if err != nil {
			return bad(err)
		}
		h.delta, h.base = true, [2]int64{int64(p.pack), p.offset - back}
	case plumbing.REFDeltaObject:
		var id plumbing.Hash
		if _, err := io.ReadFull(in, id[:]); err != nil {
			return bad(err)
		}
		base, ok := c.byID[id]
		if !ok {
			base = [2]int64{int64(p.pack), p.offset} // itself: it is written whole
		}
		h.delta, h.base = true, base
	default:
		if h.kind != p.kind {
			return bad(errMalformed)
		}
	}
	h.data = p.offset + int64(n) - int64(in.Len())
	return h, nil
}

// entryHead encodes type and size: four bits of size in the first byte, seven in each that follows.
func entryHead(kind plumbing.ObjectType, size int64) []byte {
	b := byte(kind)<<4 | byte(size&15) //nolint:gosec // three and four bits
	var out []byte
	for size >>= 4; size > 0; size >>= 7 {
		out = append(out, b|0x80)
		b = byte(size & 0x7f)
	}
	return append(out, b)
}

// backward encodes the distance to a base: big-endian groups of seven bits, each group but the last less one.
func backward(n int64) []byte {
	out := []byte{byte(n & 0x7f)}
	for n >>= 7; n > 0; n >>= 7 {
		n--
		out = append(out, byte(n&0x7f)|0x80)
	}
	slices.Reverse(out)
	return out
}

func readBackward(in io.ByteReader) (int64, error) {
	var n int64
	for i := range 9 {
		b, err := in.ReadByte()
		if err != nil {
			return 0, err
		}
		if i > 0 {
			n++
		}
		n = n<<7 | int64(b&0x7f)
		if b&0x80 == 0 {
			return n, nil
		}
	}
	return 0, errMalformed
}
