package verbs

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type hinting struct {
	error
	hint string
}

func (e hinting) Hint() string  { return e.hint }
func (e hinting) Unwrap() error { return e.error }

func TestPrintError(t *testing.T) {
	t.Parallel()
	plain := errors.New("no such branch")
	hinted := hinting{plain, "the remote has main"}
	tests := map[string]struct {
		err  error
		want string
		code int
	}{
		"none":                   {nil, "", 0},
		"plain":                  {plain, "belay: no such branch\n", 1},
		"hint":                   {hinted, "belay: no such branch\nhint: the remote has main\n", 1},
		"wrapped hint":           {fmt.Errorf("sync shop: %w", hinted), "belay: sync shop: no such branch\nhint: the remote has main\n", 1},
		"outermost hint":         {hinting{hinted, "look again"}, "belay: no such branch\nhint: look again\n", 1},
		"empty outer hint":       {hinting{hinted, ""}, "belay: no such branch\nhint: the remote has main\n", 1},
		"joined":                 {errors.Join(plain, hinted), "belay: no such branch\nbelay: no such branch\nhint: the remote has main\n", 1},
		"text from elsewhere":    {errors.New("bad \x1b[2J\tpath\r"), "belay: bad �[2J path \n", 1},
		"silent":                 {&ExitError{Code: 3}, "", 3},
		"silent and wrapped":     {fmt.Errorf("status: %w", &ExitError{Code: 3}), "", 3},
		"own code":               {fmt.Errorf("status: %w", &ExitError{Code: 2, Err: hinted}), "belay: status: no such branch\nhint: the remote has main\n", 2},
		"usage":                  {UsageError("belay status", errors.New("unknown flag: --x")), "belay: unknown flag: --x\nhint: `belay status --help` shows its arguments and flags\n", 2},
		"usage that has a cause": {UsageError("belay serve", hinted), "belay: no such branch\nhint: `belay serve --help` shows its arguments and flags\n", 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			PrintError(&b, tt.err)
			if diff := cmp.Diff(tt.want, b.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := ExitCode(tt.err); got != tt.code {
				t.Errorf("exit code %d, want %d", got, tt.code)
			}
		})
	}
}
