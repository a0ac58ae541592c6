package conformance

import (
	"bytes"
	"io"
	"strings"

	"k8s.io/client-go/tools/remotecommand"

	"github.com/belay-dev/belay/reconciler/node"
)

// sizes are what a client's terminal becomes, one after the other.
type sizes chan remotecommand.TerminalSize

// Next waits for a size; nil: there are no more.
func (s sizes) Next() *remotecommand.TerminalSize {
	size, ok := <-s
	if !ok {
		return nil
	}
	return &size
}

// terminal runs commands with a terminal that changes its size, and attaches one to a container.
func terminal(b *bench) {
	if b.NoTerminal != "" {
		b.Skip("no terminal: ", b.NoTerminal)
	}
	p := b.pod()
	id := b.start(b.container(p, "forever"))
	if code, err := b.Runtime.Exec(b.Context(), id, []string{"/program", "terminal", "24", "80"}, remotecommand.StreamOptions{Stdout: io.Discard}); code != 1 || err != nil {
		b.Errorf("without a terminal: %d, %v", code, err)
	}
	queue := make(sizes, 2)
	queue <- remotecommand.TerminalSize{Width: 80, Height: 24}
	queue <- remotecommand.TerminalSize{Width: 132, Height: 43}
	close(queue)
	var out bytes.Buffer
	code, err := b.Runtime.Exec(b.Context(), id, []string{"/program", "terminal", "43", "132"}, remotecommand.StreamOptions{
		Stdout: &out, Tty: true, TerminalSizeQueue: queue,
	})
	if got := out.String(); code != 0 || err != nil || got != "43 rows 132 columns\r\n" {
		b.Errorf("with a terminal: %d %q %v", code, got, err)
	}
	out.Reset()
	code, err = b.Runtime.Exec(b.Context(), id, []string{"/program", "both"}, remotecommand.StreamOptions{Stdout: &out, Tty: true})
	if got := out.String(); code != 0 || err != nil || got != "to stdout\r\nto stderr\r\n" {
		b.Errorf("both streams on a terminal: %d %q %v", code, got, err)
	}

	c := b.container(p, "echo")
	c.Name, c.TTY, c.Stdin = "echo", true, true
	id = b.start(c)
	out.Reset()
	const endOfInput = "\x04" // as a terminal has it
	ended := make(chan error, 1)
	go func() {
		ended <- b.Runtime.Attach(b.Context(), id, remotecommand.StreamOptions{
			Stdin: strings.NewReader("over and back\n" + endOfInput), Stdout: &out, Tty: true,
		})
	}()
	if err := b.ended("attaching to a terminal", ended); err != nil {
		b.Error(err)
	}
	if r := b.over(p.UID, id); r.Exit != 0 {
		b.Errorf("ended with %+v", r)
	}
	if got := out.String(); !strings.Contains(got, "over and back\r\n") {
		b.Errorf("the terminal shows %q", got)
	}
	if got := b.log(id, node.LogOptions{}); !strings.Contains(got, "over and back") {
		b.Errorf("the log has %q", got)
	}
}
