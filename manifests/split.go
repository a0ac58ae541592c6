package manifests

import (
	"bytes"
	"unicode/utf8"
)

// document is one YAML document of a file: its bytes, where they begin, and the
// number of lines before it.
type document struct {
	data   []byte
	offset int
	before int
}

// Document is one YAML document of a file: Text is the part of the file that
// begins at Offset, with the marker in front of it if it has one, and Before is
// the number of lines above it.
type Document struct {
	Text           []byte
	Offset, Before int
}

// Documents cuts a file into its documents. Documents of blank lines and
// comments only are left out.
func Documents(data []byte) []Document {
	var out []Document
	for _, d := range split(data) {
		out = append(out, Document{Text: d.data, Offset: d.offset, Before: d.before})
	}
	return out
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// split cuts a file into its documents at the markers "---" and "..." in the
// first column, which YAML allows nowhere else. Documents of blank lines and
// comments only are left out.
func split(data []byte) []document {
	var docs []document
	start, startLine, line := 0, 0, 0
	if bytes.HasPrefix(data, byteOrderMark) {
		start = len(byteOrderMark)
	}
	flush := func(end int) {
		if part := data[start:end]; !blank(part) {
			docs = append(docs, document{data: part, offset: start, before: startLine})
		}
	}
	for at := start; at < len(data); line++ {
		end := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		switch text := data[at:end]; {
		case marker(text, "---"):
			flush(at)
			start, startLine = at, line
		case marker(text, "..."):
			flush(at)
			start, startLine = end, line+1
		}
		at = end
	}
	flush(len(data))
	return docs
}

func marker(line []byte, mark string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(mark))
	return ok && (len(rest) == 0 || rest[0] == ' ' || rest[0] == '\t' || rest[0] == '\r' || rest[0] == '\n')
}

// blank tells whether a document holds nothing but its marker, directives,
// comments and spaces.
func blank(part []byte) bool {
	for len(part) > 0 {
		var text []byte
		if i := bytes.IndexByte(part, '\n'); i >= 0 {
			text, part = part[:i], part[i+1:]
		} else {
			text, part = part, nil
		}
		if marker(text, "---") {
			text = text[3:]
		}
		text = bytes.TrimSpace(text)
		if len(text) > 0 && text[0] != '#' && text[0] != '%' {
			return false
		}
	}
	return true
}

// encodingProblem tells why bytes are not the UTF-8 text that is expected.
func encodingProblem(data []byte) string {
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return "is UTF-16: save it as UTF-8"
	case bytes.IndexByte(data, 0) >= 0:
		return "holds a NUL byte: it is no text"
	case !utf8.Valid(data):
		return "is not valid UTF-8"
	}
	return ""
}
