//go:build unix

package network

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
)

// protocol is the version of what services and processes say to each other. A process goes on with the binary that it was
// started from, so a service may meet one of another version: it starts another one, which takes over.
const protocol = 3

// Setup says how a process works. One with another setup is replaced.
type Setup struct {
	Protocol int    `json:"protocol"` // set by Open and Main
	Build    string `json:"build"`    // tells binaries apart
	// Range are the ClusterIPs to make addresses of this machine, or of the network of pods; empty: none.
	Range string `json:"range,omitempty"`
	// Addresses are those of pods that have devices of their own, which this process is the network of; empty: there are none.
	Addresses string `json:"addresses,omitempty"`
	// Pods is where pods are found that have no address on this machine: for who makes the Pods of Main.
	Pods string `json:"pods,omitempty"`
}

// hello is what a process says of itself.
type hello struct {
	Setup Setup  `json:"setup"`
	PID   int    `json:"pid"`
	Names string `json:"names,omitempty"` // where names are answered
	Error string `json:"error,omitempty"` // why the range is not
}

// answer tells what came of a request.
type answer struct {
	Bound  map[string]string `json:"bound,omitempty"`
	Owners []string          `json:"owners,omitempty"`
	Error  string            `json:"error,omitempty"`
}

// Names of the files in a process's directory.
const (
	socketFile = "socket"
	logFile    = "log"
)

// maxBody bounds a request: thousands of endpoints are some hundred kilobytes.
const maxBody = 16 << 20

// place is a directory with sockets in it. Their names are short enough for a socket whatever the directory's is.
type place struct {
	dir  *os.File
	path string
}

func openPlace(dir string) (*place, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	p := &place{dir: d, path: dir}
	if runtime.GOOS == "linux" {
		p.path = fmt.Sprintf("/proc/self/fd/%d", d.Fd())
	}
	return p, nil
}

func (p *place) close() error { return p.dir.Close() }

func (p *place) name(file string) string { return filepath.Join(p.path, file) }

func (p *place) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", p.name(socketFile))
}

// listen opens the socket and puts it in the place of the one that is there.
func (p *place) listen() (*net.UnixListener, os.FileInfo, error) {
	fresh := p.name(fmt.Sprintf("%s.%d", socketFile, os.Getpid()))
	if err := os.Remove(fresh); err != nil && !os.IsNotExist(err) {
		return nil, nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(fresh, 0o600); err != nil {
		return nil, nil, err
	}
	if err := os.Rename(fresh, p.name(socketFile)); err != nil {
		return nil, nil, err
	}
	info, err := os.Stat(p.name(socketFile))
	return l, info, err
}

// mine says whether the socket that is there is the one of info, and whether there is a directory at all.
func (p *place) mine(dir string, info os.FileInfo) (mine, there bool) {
	here, err := os.Stat(filepath.Join(dir, socketFile))
	if err != nil {
		return false, false
	}
	return os.SameFile(here, info), true
}
