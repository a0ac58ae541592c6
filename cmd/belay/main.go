// Command belay makes a Git repository of Kubernetes Deployment manifests run. It owns the process alone, and never does
// anything itself: see cmd/belay/verbs.
package main

import (
	"context"
	"os"

	"github.com/belay-dev/belay/cmd/belay/app"
	"github.com/belay-dev/belay/cmd/belay/kube"
	"github.com/belay-dev/belay/cmd/belay/verbs"
	_ "github.com/belay-dev/belay/reconciler/node/embedded/shim/takeover"
)

func main() { os.Exit(verbs.Main(context.Background(), kube.New, app.Seams{})) }
