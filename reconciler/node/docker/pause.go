package docker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	cerrdefs "github.com/containerd/errdefs"

	"github.com/belay-dev/belay/reconciler/node/image"
)

// pauseTag is the image of pause containers; another program gets another tag.
const pauseTag = "belay.local/pause:1"

// programs are machine code that waits for ever: a loop around pause(2) or, where there is none, ppoll(2) without end.
var programs = map[string]struct {
	machine uint16 // of ELF
	code    []byte
}{
	"amd64": {62, []byte{
		0xb8, 0x22, 0x00, 0x00, 0x00, // mov eax, 34 (pause)
		0x0f, 0x05, // syscall
		0xeb, 0xf7, // jmp back to the mov
	}},
	"arm64": {183, instructions(
		0xd2800000, // mov x0, 0
		0xd2800001, // mov x1, 0
		0xd2800002, // mov x2, 0
		0xd2800003, // mov x3, 0
		0xd2800928, // mov x8, 73 (ppoll)
		0xd4000001, // svc 0
		0x17fffffa, // b back to the first
	)},
}

func instructions(words ...uint32) []byte {
	var out []byte
	for _, w := range words {
		out = binary.LittleEndian.AppendUint32(out, w)
	}
	return out
}

// pauseProgram is a static executable of some 130 bytes: an ELF header, one segment, the code.
func pauseProgram(arch string) ([]byte, error) {
	p, ok := programs[arch]
	if !ok {
		return nil, fmt.Errorf("no pause program for %s", arch)
	}
	const base, headers = 0x400000, 64 + 56
	size := uint64(headers + len(p.code))
	var out bytes.Buffer
	out.Write([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	for _, field := range []any{
		uint16(2), p.machine, uint32(1), // executable
		uint64(base + headers), uint64(64), uint64(0), // entry, program headers, no sections
		uint32(0), uint16(64), uint16(56), uint16(1), uint16(0), uint16(0), uint16(0),
		uint32(1), uint32(5), // a segment to load, readable and executable
		uint64(0), uint64(base), uint64(base), size, size, uint64(0x1000),
	} {
		if err := binary.Write(&out, binary.LittleEndian, field); err != nil {
			return nil, err
		}
	}
	out.Write(p.code)
	return out.Bytes(), nil
}

// pauseImage is the ID of the pause image, which is loaded when the engine has it not. No registry is needed.
func (r *Runtime) pauseImage(ctx context.Context) (string, error) {
	if r.pause != "" {
		return r.pause, nil
	}
	found, err := r.c.ImageInspect(ctx, pauseTag)
	if cerrdefs.IsNotFound(err) {
		if err := r.loadPause(ctx); err != nil {
			return "", fmt.Errorf("load the pause image: %w", err)
		}
		found, err = r.c.ImageInspect(ctx, pauseTag)
	}
	if err != nil {
		return "", err
	}
	r.pause = found.ID
	return r.pause, nil
}

func (r *Runtime) loadPause(ctx context.Context) error {
	program, err := pauseProgram(r.arch)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	if err := (image.Single{Architecture: r.arch, Name: "/pause", Program: program}).Archive(&archive, pauseTag); err != nil {
		return err
	}
	loaded, err := r.c.ImageLoad(ctx, &archive)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, loaded)
	return errors.Join(err, loaded.Close())
}
