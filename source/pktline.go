package source

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxPkt is the largest payload of a packet line.
const maxPkt = 65516

// pktKind tells the packets without payload from the others.
type pktKind int

const (
	pktData  pktKind = iota
	pktFlush         // 0000 ends a message
	pktDelim         // 0001 ends a section
	pktEnd           // 0002 ends an answer of a stateless server
)

// pktReader cuts the stream of a Git server into packets. Unlike go-git's scanner it knows the packets of protocol
// version 2, and takes a stream that ends where it must not for an error.
type pktReader struct {
	in  *bufio.Reader
	buf []byte
}

func newPktReader(in io.Reader) *pktReader {
	return &pktReader{in: bufio.NewReaderSize(in, 1<<16), buf: make([]byte, maxPkt)}
}

// next returns the next packet; its payload is valid until the following call. The end of the stream is
// io.ErrUnexpectedEOF: who may meet it asks more first.
func (p *pktReader) next() (pktKind, []byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(p.in, head[:]); err != nil {
		return 0, nil, unexpected(err)
	}
	n, err := strconv.ParseUint(string(head[:]), 16, 16)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %s where a packet length should be", errProtocol, quote(string(head[:])))
	}
	switch {
	case n == 0:
		return pktFlush, nil, nil
	case n == 1:
		return pktDelim, nil, nil
	case n == 2:
		return pktEnd, nil, nil
	case n < 4 || n-4 > maxPkt:
		return 0, nil, fmt.Errorf("%w: packet of length %d", errProtocol, n)
	}
	data := p.buf[:n-4]
	if _, err := io.ReadFull(p.in, data); err != nil {
		return 0, nil, unexpected(err)
	}
	if text, ok := bytes.CutPrefix(data, []byte("ERR ")); ok {
		return 0, nil, serverSays(string(text))
	}
	return pktData, data, nil
}

// line returns the next packet as text without its newline, or its kind when it has no payload.
func (p *pktReader) line() (pktKind, string, error) {
	kind, data, err := p.next()
	return kind, strings.TrimSuffix(string(data), "\n"), err
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// message builds what is sent to a Git server.
type message struct{ bytes.Buffer }

func (m *message) line(format string, args ...any) {
	text := fmt.Sprintf(format, args...) + "\n"
	fmt.Fprintf(&m.Buffer, "%04x%s", len(text)+4, text)
}

func (m *message) flush() { m.WriteString("0000") }
func (m *message) delim() { m.WriteString("0001") }

const errProtocol = errorText("the answer is not Git's")

// serverSays makes an error of words that a server chose.
func serverSays(text string) error {
	text = truncate(strings.Join(strings.Fields(strings.Map(printable, strings.ToValidUTF8(text, "?"))), " "), 300)
	e := &Error{Kind: KindServer, Op: "remote says", Err: errorText(text)}
	low := strings.ToLower(text)
	for _, row := range []struct {
		words string
		kind  Kind
		hint  string
	}{
		{"not our ref", KindNetwork, "the branch moved meanwhile: the next poll looks again"},
		{"rate limit", KindRateLimited, ""},
		{"too many requests", KindRateLimited, ""},
		{"repository not found", KindNotFound, hintNotFound},
		{"does not appear to be a git repository", KindNotFound, hintNotFound},
		{"could not be found", KindNotFound, hintNotFound},
		{"repository does not exist", KindNotFound, hintNotFound},
		{"no such file or directory", KindNotFound, hintNotFound},
		{"read only", KindForbidden, hintForbidden},
		{"read-only", KindForbidden, hintForbidden},
		{"permission denied", KindAuth, hintAuth},
		{"authentication", KindAuth, hintAuth},
		{"access denied", KindForbidden, hintForbidden},
		{"not allowed", KindForbidden, hintForbidden},
		{"forbidden", KindForbidden, hintForbidden},
	} {
		if strings.Contains(low, row.words) {
			e.Kind, e.Hint = row.kind, row.hint
			break
		}
	}
	return e
}

const (
	hintNotFound  = "check the address; a private repository also reads as missing without credentials"
	hintAuth      = "check the token or the key, and that it has not expired"
	hintForbidden = "the credentials need read access to the repository"
)
