package source

import (
	"bufio"
	"compress/zlib"
	"context"
	"crypto/sha1" //nolint:gosec // Git's pack trailer is SHA-1
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sort"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
)

// maxPackObjects bounds what is remembered while a pack is indexed: some 64 bytes an object.
const maxPackObjects = 20_000_000

// packEntry is one object of a pack.
type packEntry struct {
	id     plumbing.Hash
	kind   plumbing.ObjectType // as stored; of a delta, that of the object once it is known
	delta  bool
	known  bool // id is
	head   uint8
	crc    uint32
	base   int32 // of a delta: the entry it builds on, or -1 when it names its base by hash
	child  int32 // the last delta built on this one, or -1
	next   int32 // the delta before this one on the same base, or -1
	weight int32 // how many deltas are built on it, at any distance
	offset int64
	size   int64 // inflated, of what is stored
}

// packIndexer checks a pack that was received, object by object, and lists what is in it. A pack comes from outside:
// sizes are believed only to refuse them, nothing is inflated beyond what was said, and at most two objects of the limit
// are held in memory.
type packIndexer struct {
	ctx     context.Context //nolint:containedctx // lives for one call
	file    *os.File
	limits  Limits
	entries []packEntry
	named   map[plumbing.Hash][]int32 // deltas that name their base by its hash
	sum     [sha1.Size]byte
	left    int64 // what may still be inflated

	inflater io.ReadCloser // for reading again what is built on
	section  *bufio.Reader
	delta    []byte
	spare    []byte
	held     int64 // bytes of the objects that wait for deltas
}

// indexPack returns the index of a whole pack in a file, or nil when there is nothing in it.
func indexPack(ctx context.Context, file *os.File, limits Limits) (*idxfile.MemoryIndex, error) {
	x := &packIndexer{ctx: ctx, file: file, limits: limits, named: map[plumbing.Hash][]int32{}, left: limits.InflatedBytes}
	if err := x.scan(); err != nil {
		return nil, damaged("pack", err)
	}
	if len(x.entries) == 0 {
		return nil, nil
	}
	x.weigh()
	if err := x.resolve(); err != nil {
		return nil, damaged("pack", err)
	}
	out := &idxfile.Writer{}
	if err := out.OnHeader(uint32(len(x.entries))); err != nil { //nolint:gosec // at most maxPackObjects
		return nil, err
	}
	for i := range x.entries {
		e := &x.entries[i]
		out.Add(e.id, uint64(e.offset), e.crc) //nolint:gosec // a place in a file
	}
	if err := out.OnFooter(x.sum); err != nil {
		return nil, err
	}
	return out.Index()
}

// damaged says of an error met while reading what that it is damage, unless a limit, the disk or the caller ended it.
func damaged(what string, err error) error {
	switch {
	case errors.Is(err, errTooLarge), errors.Is(err, errDamaged), isDiskError(err), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%w: %s: %w", errDamaged, what, err)
}

// tooLarge is the error for a limit that was met.
func tooLarge(what string, limit int64, unit string) error {
	return fmt.Errorf("%s: %w: the limit is %d %s", what, errTooLarge, limit, unit)
}

// scan reads the pack once from front to end. It knows the names of all objects that are stored whole after.
func (x *packIndexer) scan() error {
	info, err := x.file.Stat()
	if err != nil {
		return err
	}
	body := info.Size() - sha1.Size
	if info.Size() == 0 {
		return nil
	}
	if body < 12 {
		return errorText("truncated")
	}
	sum := sha1.New() //nolint:gosec // Git's pack trailer is SHA-1
	in := newPackInput(io.TeeReader(io.NewSectionReader(x.file, 0, body), sum))
	var head [12]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return err
	}
	if string(head[:4]) != "PACK" || binary.BigEndian.Uint32(head[4:]) != 2 {
		return errorText("not a pack of version 2")
	}
	count := binary.BigEndian.Uint32(head[8:])
	if count > maxPackObjects {
		return tooLarge(fmt.Sprintf("%d objects", count), maxPackObjects, "objects")
	}
	x.entries = make([]packEntry, 0, min(count, 1<<16)) // the count is believed as objects come
	in.take()
	for range count {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		if err := x.entry(in); err != nil {
			return err
		}
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return errorText("bytes after the last object")
	}
	if _, err := x.file.ReadAt(x.sum[:], body); err != nil {
		return err
	}
	if x.sum != [sha1.Size]byte(sum.Sum(nil)) {
		return errorText("checksum differs")
	}
	return nil
}

// entry reads one object.
func (x *packIndexer) entry(in *packInput) error {
	e := packEntry{offset: in.offset(), base: -1, child: -1, next: -1}
	at := int32(len(x.entries)) //nolint:gosec // at most maxPackObjects
	if err := x.entryHead(in, &e, at); err != nil {
		return err
	}
	e.head = uint8(in.offset() - e.offset) //nolint:gosec // at most 10 + 20
	hash := plumbing.NewHasher(e.kind, e.size)
	var out io.Writer = hash
	if e.delta {
		out = io.Discard
	}
	if err := x.spend(&e); err != nil {
		return err
	}
	if err := in.inflate(out, e.size); err != nil {
		return err
	}
	if !e.delta {
		e.id, e.known = hash.Sum(), true
	}
	e.crc = in.take()
	x.entries = append(x.entries, e)
	return nil
}

// entryHead reads type, size and base.
func (x *packIndexer) entryHead(in *packInput, e *packEntry, at int32) error {
	kind, size, err := readEntryHead(in)
	if err != nil {
		return err
	}
	e.kind, e.size = kind, size
	switch kind {
	case plumbing.OFSDeltaObject:
		e.delta = true
		back, err := readBackward(in)
		if err != nil {
			return err
		}
		i := sort.Search(len(x.entries), func(i int) bool { return x.entries[i].offset >= e.offset-back })
		if i == len(x.entries) || x.entries[i].offset != e.offset-back {
			return errorText("a delta of nothing")
		}
		e.base = int32(i) //nolint:gosec // at most maxPackObjects
		e.next, x.entries[i].child = x.entries[i].child, at
	case plumbing.REFDeltaObject:
		e.delta = true
		var id plumbing.Hash
		if _, err := io.ReadFull(in, id[:]); err != nil {
			return err
		}
		x.named[id] = append(x.named[id], at)
	case plumbing.CommitObject, plumbing.TreeObject, plumbing.BlobObject, plumbing.TagObject:
	default:
		return errorText("an object of no known type")
	}
	return nil
}

// readEntryHead reads type and size: four bits of size in the first byte, seven in each that follows.
func readEntryHead(in io.ByteReader) (plumbing.ObjectType, int64, error) {
	b, err := in.ReadByte()
	if err != nil {
		return 0, 0, err
	}
	kind, size := plumbing.ObjectType(b>>4&7), int64(b&15) //nolint:gosec // three bits
	for shift := 4; b&0x80 != 0; shift += 7 {
		if b, err = in.ReadByte(); err != nil {
			return 0, 0, err
		}
		if shift > 53 {
			return 0, 0, errorText("a size out of all bounds")
		}
		size |= int64(b&0x7f) << shift
	}
	return kind, size, nil
}

// spend takes what an object inflates to off what the fetch may. A file that is stored whole is never held in memory;
// all else is.
func (x *packIndexer) spend(e *packEntry) error {
	if (e.delta || e.kind != plumbing.BlobObject) && e.size > x.limits.ObjectBytes {
		return tooLarge("an object", x.limits.ObjectBytes, "bytes")
	}
	if x.left -= e.size; x.left < 0 || e.size > x.limits.InflatedBytes {
		return tooLarge("the inflated objects", x.limits.InflatedBytes, "bytes")
	}
	return nil
}

// packInput reads a pack from front to end, byte by byte where inflating wants it, and sums up what it read.
type packInput struct {
	in        io.Reader
	buf       []byte
	at, end   int // what is left of buf
	mark      int // what the sum has of it
	crc       uint32
	before    int64 // offset of buf in the pack
	inflater  io.ReadCloser
	copyBytes []byte
}

func newPackInput(in io.Reader) *packInput {
	return &packInput{in: in, buf: make([]byte, 64<<10), copyBytes: make([]byte, 32<<10)}
}

func (p *packInput) offset() int64 { return p.before + int64(p.at) }

// take returns the sum of what was read since it was taken last.
func (p *packInput) take() uint32 {
	p.fold()
	sum := p.crc
	p.crc = 0
	return sum
}

// fold sums up what was read and not summed up yet.
func (p *packInput) fold() {
	p.crc = crc32.Update(p.crc, crc32.IEEETable, p.buf[p.mark:p.at])
	p.mark = p.at
}

func (p *packInput) fill() error {
	p.fold()
	n, err := io.ReadAtLeast(p.in, p.buf, 1)
	p.before += int64(p.end)
	p.at, p.mark, p.end = 0, 0, n
	return err
}

func (p *packInput) ReadByte() (byte, error) {
	if p.at == p.end {
		if err := p.fill(); err != nil {
			return 0, err
		}
	}
	b := p.buf[p.at]
	p.at++
	return b, nil
}

func (p *packInput) Read(to []byte) (int, error) {
	if p.at == p.end {
		if err := p.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(to, p.buf[p.at:p.end])
	p.at += n
	return n, nil
}

// inflate writes the next object, which must have the size given, to out.
func (p *packInput) inflate(out io.Writer, size int64) error {
	var err error
	if p.inflater, err = inflating(p.inflater, p); err != nil {
		return err
	}
	return copyExactly(out, p.inflater, size, p.copyBytes)
}

// inflating begins to inflate in, with what an earlier one has set up.
func inflating(old io.ReadCloser, in io.Reader) (io.ReadCloser, error) {
	if r, ok := old.(zlib.Resetter); ok {
		return old, r.Reset(in, nil)
	}
	return zlib.NewReader(in)
}

// copyExactly copies size bytes and finds the end after them.
func copyExactly(out io.Writer, in io.Reader, size int64, buf []byte) error {
	n, err := io.CopyBuffer(out, io.LimitReader(in, size), buf)
	if err != nil {
		return err
	}
	if n < size {
		return errorText("an object shorter than it says")
	}
	var more [1]byte
	if n, err := in.Read(more[:]); n > 0 {
		return errorText("an object longer than it says")
	} else if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
