// Command belay makes a Git repository of Kubernetes Deployment manifests run.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/belay-dev/belay/cmd/belay/verbs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal is not caught: it aborts a stop that takes too long
	os.Exit(verbs.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
