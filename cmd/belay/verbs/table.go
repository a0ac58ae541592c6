package verbs

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"
)

// Age says how long ago t was, as kubectl does: 5s, 3m20s, 47h. The zero time is <unknown>.
func Age(t, now time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t))
}

// Table prints rows in columns as kubectl does: three spaces between columns, no space after the last. Nothing
// is written before Flush.
type Table struct {
	rows    flushWriter
	columns int
	err     error
}

// flushWriter is what a table needs of kubectl's tab writer.
type flushWriter interface {
	io.Writer
	Flush() error
}

// NewTable starts a table with a line of column names.
func NewTable(w io.Writer, columns ...string) *Table {
	t := &Table{rows: printers.GetNewTabWriter(w), columns: len(columns)}
	t.Row(columns...)
	return t
}

// Row adds one line; cells that are left out are empty, cells beyond the columns are a mistake that Flush returns.
// A cell is one line of visible text whatever is given: see Line.
func (t *Table) Row(cells ...string) {
	if len(cells) > t.columns {
		t.fail(fmt.Errorf("%d cells in a table of %d columns", len(cells), t.columns))
		return
	}
	row := make([]string, t.columns)
	for i, cell := range cells {
		row[i] = Line(cell)
	}
	_, err := io.WriteString(t.rows, strings.Join(row, "\t")+"\n")
	t.fail(err)
}

// Flush writes the table and returns the first error there was.
func (t *Table) Flush() error {
	t.fail(t.rows.Flush())
	if t.err != nil {
		return fmt.Errorf("print table: %w", t.err)
	}
	return nil
}

func (t *Table) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// Line makes text that came from elsewhere, such as the subject of a commit, safe to print on one line of a
// terminal: white space becomes a space, every other control or direction character the replacement character.
func Line(text string) string { return visible(text, false) }

func visible(text string, newlines bool) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' && newlines:
			return r
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return unicode.ReplacementChar
		default:
			return r
		}
	}, strings.ToValidUTF8(text, string(unicode.ReplacementChar)))
}
