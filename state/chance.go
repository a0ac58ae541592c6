package state

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"
)

const (
	suffixAlphabet = "bcdfghjklmnpqrstvwxz2456789"
	suffixLength   = 5
	maxNameLength  = 63
)

// chance is the random part of one created object, drawn before the lock is taken.
type chance struct {
	id    [16]byte
	seed  uint64
	names *rand.Rand
}

// draw reads n chances from the source of randomness.
func (s *Store) draw(n int) ([]chance, error) {
	if n == 0 {
		return nil, nil
	}
	const size = 24
	buf := make([]byte, size*n)
	s.randomMu.Lock()
	_, err := io.ReadFull(s.options.Random, buf)
	s.randomMu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("draw a uid: %w", err)
	}
	drawn := make([]chance, n)
	for i := range drawn {
		part := buf[i*size:]
		copy(drawn[i].id[:], part)
		drawn[i].seed = binary.BigEndian.Uint64(part[16:])
	}
	return drawn, nil
}

// uid is a version 4 UUID.
func (c *chance) uid() types.UID {
	id := c.id
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return types.UID(uuid.UUID(id).String())
}

// name is base with five random characters, 63 characters at most; each call gives another.
func (c *chance) name(base string) string {
	if c.names == nil {
		c.names = rand.New(rand.NewPCG(c.seed, 0))
	}
	base = base[:min(len(base), maxNameLength-suffixLength)]
	suffix := make([]byte, suffixLength)
	for i := range suffix {
		suffix[i] = suffixAlphabet[c.names.IntN(len(suffixAlphabet))]
	}
	return base + string(suffix)
}
