package program

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Process is what a program sees of the world. ctx of Run ends with SIGTERM.
type Process struct {
	Args   []string // without the program's own name
	Env    []string
	Dir    string
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Listen func(port string) (net.Listener, error)
	Root   string // before absolute names of files
	// Size is that of the terminal on standard output; nil, or false: there is none.
	Size   func() (rows, columns int, ok bool)
	Killed <-chan struct{} // closed by SIGKILL, where that does not end the process by itself
}

// OOM is the status of a program that was killed because it took too much memory; in a container the kernel sees to it.
const OOM = 137

// Run does what the first argument says and returns the exit status:
//
//	serve PORT      HTTP until SIGTERM: /ready is 200, or 503 while the file /state/unready is there; all else 200
//	echoes PORT     answers each datagram, and all on a connection, with itself, until SIGTERM
//	measure WHAT N ADDRESS…   how long it takes who echoes there: see measures
//	says ADDRESS T  what is answered to a datagram with the text, which is said again until then
//	exit N          ends with N at once
//	forever         says so, waits for SIGTERM and ends with 0
//	deaf            says so, waits, and ignores SIGTERM
//	print WORDS…    a line, and ends
//	lines N         N numbered lines, then waits for SIGTERM
//	both            a line on either stream, and ends
//	echo            copies standard input to standard output
//	terminal R C    waits until its terminal has R rows and C columns, and says so
//	env NAME…       the values
//	cat FILE…       the contents
//	get URL         what is answered there
//	ask PORT URL…   asks all the time until SIGTERM, over new connections and kept ones; HTTP at PORT says how it goes
//	write FILE TEXT
//	fill FILE N     N bytes
//	eat             takes memory until it is killed
//	test FILE       0 when there is such a file
//	tar …           what kubectl cp asks of tar: cf - FILE, and xmf - [-C DIR]
func Run(ctx context.Context, p Process) int {
	verb, args := "", p.Args
	if len(args) > 0 {
		verb, args = args[0], args[1:]
	}
	if verb == "serve" && len(args) == 1 {
		return serve(ctx, p, args[0])
	}
	run, ok := verbs[verb]
	if !ok {
		fmt.Fprintf(p.Stderr, "unknown verb %q\n", verb)
		return 64
	}
	code, err := run(ctx, p, args)
	if err != nil {
		fmt.Fprintln(p.Stderr, err)
	}
	return code
}

type verb func(ctx context.Context, p Process, args []string) (int, error)

var verbs = map[string]verb{
	"tar": func(_ context.Context, p Process, args []string) (int, error) {
		if err := archive(p, args); err != nil {
			return 1, err
		}
		return 0, nil
	},
	"ask": ask, "echoes": echoes, "says": says, "measure": measure,
	"exit": func(_ context.Context, _ Process, args []string) (int, error) {
		code, err := strconv.Atoi(strings.Join(args, ""))
		return code, err
	},
	"forever": func(ctx context.Context, p Process, _ []string) (int, error) {
		fmt.Fprintln(p.Stdout, "waiting")
		<-ctx.Done()
		return 0, nil
	},
	"deaf": func(ctx context.Context, p Process, _ []string) (int, error) {
		fmt.Fprintln(p.Stdout, "deaf")
		<-p.Killed
		return OOM, nil
	},
	"print": func(_ context.Context, p Process, args []string) (int, error) {
		_, err := fmt.Fprintln(p.Stdout, strings.Join(args, " "))
		return 0, err
	},
	"lines": func(ctx context.Context, p Process, args []string) (int, error) {
		n, err := strconv.Atoi(strings.Join(args, ""))
		out := bufio.NewWriter(p.Stdout)
		for i := range n {
			fmt.Fprintf(out, "line %d\n", i+1)
		}
		if err := out.Flush(); err != nil {
			return 1, err
		}
		<-ctx.Done()
		return 0, err
	},
	"both": func(_ context.Context, p Process, _ []string) (int, error) {
		fmt.Fprintln(p.Stdout, "to stdout")
		fmt.Fprintln(p.Stderr, "to stderr")
		return 0, nil
	},
	"echo": func(_ context.Context, p Process, _ []string) (int, error) {
		_, err := io.Copy(p.Stdout, p.Stdin)
		return 0, err
	},
	"terminal": func(ctx context.Context, p Process, args []string) (int, error) {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for p.Size != nil {
			rows, columns, ok := p.Size()
			if !ok {
				break
			}
			if slices.Equal(args, []string{strconv.Itoa(rows), strconv.Itoa(columns)}) {
				fmt.Fprintln(p.Stdout, rows, "rows", columns, "columns")
				return 0, nil
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return 1, ctx.Err()
			}
		}
		return 1, errors.New("there is no terminal")
	},
	"env": func(_ context.Context, p Process, args []string) (int, error) {
		for _, name := range args {
			i := slices.IndexFunc(p.Env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
			if i < 0 {
				fmt.Fprintln(p.Stdout, name, "is not set")
				continue
			}
			fmt.Fprintln(p.Stdout, p.Env[i])
		}
		return 0, nil
	},
	"cat": func(_ context.Context, p Process, args []string) (int, error) {
		for _, name := range args {
			data, err := os.ReadFile(p.Root + name)
			if err != nil {
				return 1, err
			}
			if _, err := p.Stdout.Write(data); err != nil {
				return 1, err
			}
		}
		return 0, nil
	},
	"get": func(ctx context.Context, p Process, args []string) (int, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.Join(args, ""), nil)
		if err != nil {
			return 64, err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return 1, err
		}
		defer answer.Body.Close()
		_, err = io.Copy(p.Stdout, answer.Body)
		return 0, err
	},
	"write": func(_ context.Context, p Process, args []string) (int, error) {
		if len(args) != 2 {
			return 64, fmt.Errorf("write takes a file and a text")
		}
		if err := os.WriteFile(p.Root+args[0], []byte(args[1]), 0o644); err != nil {
			return 1, err
		}
		return 0, nil
	},
	"fill": func(_ context.Context, p Process, args []string) (int, error) {
		if len(args) != 2 {
			return 64, errors.New("fill takes a file and a number")
		}
		n, err := strconv.Atoi(args[1])
		if err == nil {
			err = os.WriteFile(p.Root+args[0], make([]byte, n), 0o644)
		}
		if err != nil {
			return 1, err
		}
		return 0, nil
	},
	"test": func(_ context.Context, p Process, args []string) (int, error) {
		if _, err := os.Stat(p.Root + strings.Join(args, "")); err != nil {
			return 1, err
		}
		return 0, nil
	},
	"eat": func(ctx context.Context, p Process, _ []string) (int, error) {
		if p.Root != "" {
			return OOM, nil // in-process: nothing is to be taken from the test
		}
		var all [][]byte
		for ctx.Err() == nil {
			piece := make([]byte, 1<<20)
			for i := range piece {
				piece[i] = byte(len(all))
			}
			all = append(all, piece)
		}
		return len(all) % 2, nil
	},
}

func serve(ctx context.Context, p Process, port string) int {
	listener, err := p.Listen(port)
	if err != nil {
		fmt.Fprintln(p.Stderr, err)
		return 1
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/ready", func(w http.ResponseWriter, _ *http.Request) {
		if _, err := os.Stat(p.Root + "/state/unready"); err == nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s\n", r.Method, r.URL.Path)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	select {
	case err = <-done:
		fmt.Fprintln(p.Stderr, err)
		return 1
	case <-ctx.Done():
	}
	if err := server.Shutdown(context.WithoutCancel(ctx)); err != nil {
		return 1
	}
	<-done
	return 0
}
