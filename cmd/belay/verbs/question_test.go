package verbs

import (
	"errors"
	"strings"
	"testing"
)

func TestQuestion(t *testing.T) {
	t.Parallel()
	for answer, yes := range map[string]bool{
		"y\n": true, "yes\n": true, " YES \n": true, "n\n": false, "\n": false, "yep\n": false, "": false, "y": true,
	} {
		var out strings.Builder
		e := &env{in: strings.NewReader(answer), out: &out}
		err := e.question("Roll back?")
		if (err == nil) != yes || !yes && !errors.Is(err, errDeclined) {
			t.Errorf("%q: %v", answer, err)
		}
		if out.String() != "Roll back? [y/N] " {
			t.Errorf("asked %q", out.String())
		}
	}
	if err := (&env{in: strings.NewReader("y\n")}).mayAsk(); err == nil || hintOf(err) == "" {
		t.Errorf("asks without a terminal: %v", err)
	}
}
