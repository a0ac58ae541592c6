// Command image is both programs of the guestbook, the page and its database; the name that it is called by says which. It
// owns nothing of Belay's, and never leaves the example.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	var err error
	switch {
	case path.Base(os.Args[0]) == "redis":
		err = database()
	case len(os.Args) > 2 && os.Args[1] == "sign": // writes into the book of this pod's page
		_, err = http.PostForm("http://127.0.0.1:5000/", url.Values{"entry": {strings.Join(os.Args[2:], " ")}})
	default:
		server := os.Getenv("REDIS_SERVER")
		page := &http.Server{Addr: ":5000", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { book(w, r, server) }), ReadHeaderTimeout: time.Minute}
		err = page.ListenAndServe()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// book shows what people wrote, and takes what they write.
func book(w http.ResponseWriter, r *http.Request, server string) {
	if entry := r.PostFormValue("entry"); r.Method == http.MethodPost && entry != "" {
		if _, err := ask(server, "RPUSH", "guestbook", entry); err != nil {
			http.Error(w, "Waiting for database connection...", http.StatusServiceUnavailable)
			return
		}
	}
	entries, err := ask(server, "LRANGE", "guestbook", "0", "-1")
	if err != nil {
		fmt.Fprintln(w, "Waiting for database connection...")
		return
	}
	host, _ := os.Hostname() // for people to see who answered
	fmt.Fprintf(w, "<h1>Guestbook</h1>\n<p>%s</p>\n", html.EscapeString(host))
	for _, entry := range entries {
		fmt.Fprintf(w, "<li>%s</li>\n", html.EscapeString(entry))
	}
	fmt.Fprintln(w, `<form method="post"><input name="entry"></form>`)
}

// ask sends one command to the database, found by its name, and reads the answer.
func ask(server string, words ...string) ([]string, error) {
	c, err := net.DialTimeout("tcp", net.JoinHostPort(server, "6379"), time.Second)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := io.WriteString(c, list(words)); err != nil {
		return nil, err
	}
	return read(bufio.NewReader(c))
}

// list is an array of strings as redis speaks.
func list(words []string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&out, "$%d\r\n%s\r\n", len(w), w)
	}
	return out.String()
}

const maxWords, maxWord = 10_000, 64 << 10

// read reads an array of strings, or a number as one.
func read(r *bufio.Reader) ([]string, error) {
	kind, n, err := head(r)
	if err != nil || kind == ':' {
		return []string{strconv.Itoa(n)}, err
	}
	if kind != '*' || n < 0 || n > maxWords {
		return nil, errors.New("not a list")
	}
	var words []string
	for range n {
		kind, size, err := head(r)
		if err != nil || kind != '$' || size < 0 || size > maxWord {
			return nil, errors.Join(err, errors.New("not a string"))
		}
		word := make([]byte, size+2)
		if _, err := io.ReadFull(r, word); err != nil {
			return nil, err
		}
		words = append(words, string(word[:size]))
	}
	return words, nil
}

// head reads a line that says what follows, and how much of it.
func head(r *bufio.Reader) (kind byte, n int, err error) {
	line, err := r.ReadString('\n')
	line = strings.TrimSpace(line)
	if err != nil || len(line) < 2 {
		return 0, 0, errors.Join(err, io.ErrUnexpectedEOF)
	}
	n, err = strconv.Atoi(line[1:])
	return line[0], n, err
}

// database keeps lists in memory, and knows the commands that the page needs.
func database() error {
	l, err := net.Listen("tcp", ":6379")
	if err != nil {
		return err
	}
	var mu sync.Mutex
	lists := map[string][]string{}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() { // ends with its connection, or with the process
			defer c.Close()
			for r := bufio.NewReader(c); ; {
				words, err := read(r)
				if err != nil {
					return
				}
				mu.Lock()
				answer := "-ERR unknown command\r\n"
				switch {
				case len(words) == 3 && strings.EqualFold(words[0], "RPUSH"):
					lists[words[1]] = append(lists[words[1]], words[2])
					answer = fmt.Sprintf(":%d\r\n", len(lists[words[1]]))
				case len(words) == 4 && strings.EqualFold(words[0], "LRANGE"): // always the whole list
					answer = list(lists[words[1]])
				}
				mu.Unlock()
				if _, err := io.WriteString(c, answer); err != nil {
					return
				}
			}
		}()
	}
}
