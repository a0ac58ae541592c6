package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	askPause = 10 * time.Millisecond // between two requests of one client
	askTime  = time.Minute           // that one answer may take
)

// asked is what became of requests.
type asked struct {
	good, failed, connections atomic.Int64
	first                     atomic.Pointer[error] // mistake
}

// String is one line, and one more with the first mistake.
func (a *asked) String() string {
	text := fmt.Sprintf("%d answers, %d failed, %d connections kept\n", a.good.Load(), a.failed.Load(), a.connections.Load())
	if err := a.first.Load(); err != nil {
		text += (*err).Error() + "\n"
	}
	return text
}

// ask asks URLs all the time, each over a new connection for each request and over one that is kept, and says at a port how
// it goes.
func ask(ctx context.Context, p Process, args []string) (int, error) {
	if len(args) < 2 {
		return 64, errors.New("ask takes a port and URLs")
	}
	listener, err := p.Listen(args[0])
	if err != nil {
		return 1, err
	}
	said := &asked{}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, said)
	})}
	var going sync.WaitGroup
	for _, url := range args[1:] {
		for _, keep := range []bool{false, true} {
			going.Go(func() { said.client(ctx, url, keep) })
		}
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	<-ctx.Done()
	going.Wait()
	_ = server.Close() // whoever asks at this moment asks in vain
	<-done
	fmt.Fprint(p.Stdout, said)
	return 0, nil
}

// client asks one URL until ctx ends.
func (a *asked) client(ctx context.Context, url string, keep bool) {
	client := &http.Client{Timeout: askTime, Transport: &http.Transport{
		DisableKeepAlives: !keep,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if keep {
				a.connections.Add(1)
			}
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		},
	}}
	defer client.CloseIdleConnections()
	for ctx.Err() == nil {
		switch err := once(ctx, client, url); {
		case err == nil:
			a.good.Add(1)
		case ctx.Err() == nil:
			a.failed.Add(1)
			a.first.CompareAndSwap(nil, &err)
		}
		select {
		case <-time.After(askPause):
		case <-ctx.Done():
		}
	}
}

func once(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return nil
}
