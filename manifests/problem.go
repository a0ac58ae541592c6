package manifests

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Reason says what kind of problem it is; the set is closed.
type Reason string

// The reasons of problems: Describe says what each means.
const (
	AppPathMissing    Reason = "AppPathMissing"
	Unreadable        Reason = "Unreadable"
	TooLarge          Reason = "TooLarge"
	TooComplex        Reason = "TooComplex"
	TooDeep           Reason = "TooDeep"
	Encoding          Reason = "Encoding"
	LinkOutside       Reason = "LinkOutside"
	LinkBroken        Reason = "LinkBroken"
	Submodule         Reason = "Submodule"
	LFSPointer        Reason = "LFSPointer"
	Syntax            Reason = "Syntax"
	NotAnObject       Reason = "NotAnObject"
	UnknownKind       Reason = "UnknownKind"
	Unsupported       Reason = "Unsupported"
	UnknownField      Reason = "UnknownField"
	DuplicateKey      Reason = "DuplicateKey"
	WrongType         Reason = "WrongType"
	Invalid           Reason = "Invalid"
	NoName            Reason = "NoName"
	SelectorImmutable Reason = "SelectorImmutable"
	ImmutableField    Reason = "ImmutableField"
	Duplicate         Reason = "Duplicate"
	KustomizeFailed   Reason = "KustomizeFailed"
	RemoteRefused     Reason = "RemoteRefused"
	PluginRefused     Reason = "PluginRefused"
	SchemaRefused     Reason = "SchemaRefused"
	RenderPanicked    Reason = "RenderPanicked"
	RenderStalled     Reason = "RenderStalled"
	RenderChanged     Reason = "RenderChanged"
	Warned            Reason = "Warned"
)

// Describe says in a few words what the reason means.
func (r Reason) Describe() string {
	if text, ok := descriptions[r]; ok {
		return text
	}
	return string(r)
}

var descriptions = map[Reason]string{
	AppPathMissing:    "the app's path is not a directory of the tree",
	Unreadable:        "the tree could not give the file; tried again",
	TooLarge:          "a file above the size limit",
	TooComplex:        "YAML that expands to too many nodes (aliases)",
	TooDeep:           "YAML or JSON nested too deeply",
	Encoding:          "not UTF-8",
	LinkOutside:       "a link that leaves the tree",
	LinkBroken:        "a link to nothing, or to itself",
	Submodule:         "a submodule where manifests are expected",
	LFSPointer:        "a Git LFS pointer instead of the file",
	Syntax:            "not YAML, not JSON",
	NotAnObject:       "YAML without apiVersion and kind",
	UnknownKind:       "Kubernetes serves no such kind in that version",
	Unsupported:       "a kind or field that is not honoured; the rest is applied",
	UnknownField:      "a field that the kind does not have",
	DuplicateKey:      "one key twice in a mapping",
	WrongType:         "a value that the field cannot hold",
	Invalid:           "refused by Kubernetes' validation",
	NoName:            "generateName: an object from Git needs a name",
	SelectorImmutable: "a Deployment's selector changed",
	ImmutableField:    "another field that may not change did",
	Duplicate:         "another manifest owns this object",
	KustomizeFailed:   "kustomize refused the root",
	RemoteRefused:     "kustomize: a remote resource",
	PluginRefused:     "kustomize: a plugin, function or helm chart",
	SchemaRefused:     "kustomize: openapi or crds",
	RenderPanicked:    "kustomize ended abnormally",
	RenderStalled:     "kustomize did not end in time",
	RenderChanged:     "the same files render differently in this version",
	Warned:            "Kubernetes warns of it; it is applied",
}

// Blocks tells whether a problem of this kind makes its root stale. The others
// are listed while the rest of the root is applied.
func (r Reason) Blocks() bool {
	switch r {
	case Unsupported, Duplicate, RenderChanged, Warned:
		return false
	default:
		return true
	}
}

// Problem is one thing that keeps a manifest from being applied. File is
// relative to the tree; Line is 1-based, 0 when nothing is known. Message is
// Kubernetes' or kustomize's own text where theirs exists. Texts and paths
// hold no control characters, and no value of a Secret.
type Problem struct {
	Reason  Reason `json:"reason"`
	Source  string `json:"source,omitempty"`
	App     string `json:"app,omitempty"`
	Root    string `json:"root,omitempty"`
	Commit  string `json:"commit,omitempty"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
	ID      ID     `json:"object,omitzero"`
}

// String is the problem in one line: file:line: field: message (reason).
func (p Problem) String() string {
	var b strings.Builder
	switch {
	case p.File != "" && p.Line > 0:
		fmt.Fprintf(&b, "%s:%d: ", p.File, p.Line)
	case p.File != "":
		b.WriteString(p.File + ": ")
	case p.Root != "":
		b.WriteString(p.Root + ": ")
	}
	if p.Field != "" && !strings.Contains(p.Message, p.Field) {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	fmt.Fprintf(&b, " (%s)", p.Reason)
	return b.String()
}

// before orders problems as a reader meets them: by file, line, field, text.
func (p Problem) before(o Problem) bool {
	switch {
	case p.App != o.App:
		return p.App < o.App
	case p.Root != o.Root:
		return p.Root < o.Root
	case p.File != o.File:
		return p.File < o.File
	case p.Line != o.Line:
		return p.Line < o.Line
	case p.Field != o.Field:
		return p.Field < o.Field
	case p.Reason != o.Reason:
		return p.Reason < o.Reason
	default:
		return p.Message < o.Message
	}
}

// clean makes a text from the tree fit for a terminal, a log line and JSON:
// valid UTF-8, control characters escaped.
func clean(s string) string {
	plain := utf8.ValidString(s)
	for i := 0; plain && i < len(s); i++ {
		plain = s[i] >= 0x20 && s[i] != 0x7f
	}
	if plain && !strings.ContainsFunc(s, unprintable) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unprintable(r) {
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unprintable(r rune) bool { return r != ' ' && !strconv.IsPrint(r) }
