//go:build linux

package shim

import (
	"fmt"
	"os"
)

// The verbs that the binary takes instead of its own arguments.
const (
	verbShim  = "__shim"
	verbInit  = "__init"
	verbExec  = "__nsexec"
	verbProbe = "__probe"

	verbDevice    = "__device"    // ProbeDevice
	verbProcesses = "__processes" // ProbeProcesses
)

var returned bool

// Own is the path with which this process starts shims from its own binary; false: that did not call Main, and would go on
// as what it is.
func Own() (file string, ok bool) { return selfExe, returned }

// Main takes over the process, and ends it, when the arguments say that it is to be a part of a pod. It is called
// before everything else by the binaries that a shim may be started from: belay-shim, and belay itself.
func Main() {
	returned = true // or it does not return
	if len(os.Args) < 2 {
		return
	}
	var code int
	switch os.Args[1] {
	case verbShim:
		code = run(os.Args[2:])
	case verbInit:
		code = initialise()
	case verbExec:
		code = nsexec()
	case verbProbe:
		code = probe()
	case verbDevice:
		code = probeDevice(os.Args[2:])
	case verbProcesses:
		code = probeProcesses()
	default:
		return
	}
	os.Exit(code)
}

// fail says what went wrong where nobody asked yet.
func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}
