// Command belay makes a Git repository of Kubernetes Deployment manifests run.
package main

import (
	"os"

	"github.com/belay-dev/belay/cmd/belay/verbs"
)

func main() { os.Exit(verbs.Main()) }
