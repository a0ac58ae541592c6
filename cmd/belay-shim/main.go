// Command belay-shim holds one pod: belay starts it where it lies beside belay, because it is small. It owns the process
// alone, and never does anything itself: see reconciler/node/embedded/shim.
package main

import (
	"fmt"
	"os"

	"github.com/belay-dev/belay/reconciler/node/embedded/shim"
)

func main() {
	shim.Main()
	fmt.Fprintln(os.Stderr, "belay-shim: it is belay that starts it")
	os.Exit(2)
}
