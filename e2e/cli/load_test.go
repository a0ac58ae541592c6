package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/rogpeppe/go-internal/testscript"
)

// loads are the clients that scripts started, by script and address.
var loads sync.Map

// clients ask an address again and again, each with a connection of its own.
type clients struct {
	stop        context.CancelFunc
	wg          sync.WaitGroup
	asked, lost atomic.Int64
	first       sync.Once
	why         error
}

const perLoad = 4

// load is `load start URL`, and `load stop URL`, which fails when a request was not answered with 200.
func load(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: load start|stop URL")
	}
	key := ts.Getenv("WORK") + " " + args[1]
	if args[0] == "start" {
		ctx, cancel := context.WithCancel(context.Background())
		c := &clients{stop: cancel}
		for range perLoad {
			c.wg.Go(func() { c.ask(ctx, args[1]) })
		}
		loads.Store(key, c)
		ts.Defer(func() { cancel(); c.wg.Wait() })
		return
	}
	v, ok := loads.LoadAndDelete(key)
	if !ok {
		ts.Fatalf("load: nothing asks %s", args[1])
	}
	c := v.(*clients)
	c.stop()
	c.wg.Wait()
	_, err := fmt.Fprintf(ts.Stdout(), "%d failed\n", c.lost.Load())
	ts.Check(err)
	if c.lost.Load() > 0 || c.asked.Load() == 0 {
		ts.Fatalf("%d of %d requests failed: %v", c.lost.Load(), c.asked.Load(), c.why)
	}
}

func (c *clients) ask(ctx context.Context, url string) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for ctx.Err() == nil {
		c.asked.Add(1)
		res, err := client.Get(url) // to its end also when the load stops: a broken one would not be the service's fault
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if err == nil && res.StatusCode != http.StatusOK {
				err = fmt.Errorf("answer %s", res.Status)
			}
		}
		if err != nil {
			c.lost.Add(1)
			c.first.Do(func() { c.why = err })
		}
	}
}
