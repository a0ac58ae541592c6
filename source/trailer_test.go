package source

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseTrailer(t *testing.T) {
	t.Parallel()
	for message, want := range map[string][]string{
		"subject\n\nbody\n\nBelay-Release: 01j8-x\n":                  {"01j8-x"},
		"subject\n\nbelay-release:a\r\nBELAY-RELEASE:  b  \n":         {"a", "b"},
		"subject\n\n> Belay-Release: a\n Belay-Release: b\n":          nil,
		"Belay-Release: a b\nBelay-Release:\nBelay-Release: a;rm\n":   nil,
		"Belay-Release: " + strings.Repeat("a", maxTrailer+1) + "\n":  nil,
		"says Belay-Release: a\nBelay-Released: b\nBelay-Release c\n": nil,
	} {
		if diff := cmp.Diff(want, parseTrailer([]byte(message), "Belay-Release")); diff != "" {
			t.Errorf("%q (-want +got):\n%s", message, diff)
		}
	}
	if n := len(parseTrailer([]byte(strings.Repeat("Belay-Release: a\n", 1000)), "Belay-Release")); n != maxReverts {
		t.Errorf("%d values are read", n)
	}
}
