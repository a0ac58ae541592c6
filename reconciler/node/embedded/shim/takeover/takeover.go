// Package takeover makes a binary that imports it a shim when it is started as one, before the packages that sort after it
// are initialised: for belay itself, where no belay-shim lies beside it. It owns nothing and never returns to a process
// that it took over.
package takeover

import "github.com/belay-dev/belay/reconciler/node/embedded/shim"

func init() { shim.Main() }
