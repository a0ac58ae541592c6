// Command site is what the images of the demo run, built on the spot: it says its name and version to whoever asks. It
// owns one port, needs nothing but the standard library, and never ends before it has answered.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server := &http.Server{
		Addr: ":80", ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, os.Getenv("SITE")) }),
	}
	answered := make(chan error, 1)
	go func() {
		<-ctx.Done()
		answered <- server.Shutdown(context.WithoutCancel(ctx))
	}()
	err := server.ListenAndServe()
	if ctx.Err() != nil {
		err = <-answered
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
