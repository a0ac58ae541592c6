package edit

import (
	"fmt"
	"strconv"
)

// Reason says why a file is not edited. The list is closed.
type Reason string

// The reasons.
const (
	Syntax      Reason = "Syntax"      // not YAML that can be read
	Encoding    Reason = "Encoding"    // not UTF-8
	LineBreaks  Reason = "LineBreaks"  // line ends that YAML knows and editors do not: a lone CR, NEL, LS, PS
	Anchors     Reason = "Anchors"     // an anchor, alias or merge key in the document
	Duplicate   Reason = "Duplicate"   // one key twice in a mapping
	Template    Reason = "Template"    // the value is filled in by a template
	Tag         Reason = "Tag"         // an explicit tag on the value
	ComplexKey  Reason = "ComplexKey"  // a key that is no plain word
	NotThere    Reason = "NotThere"    // nothing at that path
	WrongShape  Reason = "WrongShape"  // a list where a mapping is expected, and the like
	Ambiguous   Reason = "Ambiguous"   // the same element, or object, twice
	Layout      Reason = "Layout"      // laid out so that no whole lines can be cut or added
	SelfCheck   Reason = "SelfCheck"   // the result would mean something else than asked
	Nothing     Reason = "Nothing"     // the file says so already
	Unknown     Reason = "Unknown"     // nothing in the files is known to make the value
	Unreadable  Reason = "Unreadable"  // the tree does not give the file
	OnlyContent Reason = "OnlyContent" // the last object of a file that a kustomization names
)

// Refusal is why a file is not edited. Line is 1-based, 0 when it is about the
// whole file.
type Refusal struct {
	Reason  Reason
	File    string
	Line    int
	Message string
}

// Error is file:line: message (reason).
func (r *Refusal) Error() string {
	at := r.File
	if r.Line > 0 {
		at += ":" + strconv.Itoa(r.Line)
	}
	return fmt.Sprintf("%s: %s (%s)", at, r.Message, r.Reason)
}

// Hint says what a person can do.
func (r *Refusal) Hint() string {
	switch r.Reason {
	case Anchors, Tag, ComplexKey, Layout, SelfCheck, LineBreaks, Template:
		return "change the file by hand, or write it so that the value stands plainly in one place"
	case Unknown, NotThere:
		return "revert the commit instead"
	default:
		return ""
	}
}
