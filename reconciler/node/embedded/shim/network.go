//go:build linux

package shim

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// networkUp makes the loopback interface work, and lets every user of the pod listen on every port.
func networkUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring the network up: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("bring the network up: %w", err)
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bring the network up: %w", err)
	}
	return sysctl("net.ipv4.ip_unprivileged_port_start", "0")
}

// sysctl sets a parameter of the pod's namespaces.
func sysctl(name, value string) error {
	if strings.ContainsAny(name, "/\x00") || strings.Contains(name, "..") {
		return fmt.Errorf("sysctl %q: invalid name", name)
	}
	path := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("sysctl %s: %w", name, err)
	}
	return nil
}

// dialTimeout bounds a connection within the pod: nothing is far there.
const dialTimeout = 5 * time.Second

// dial connects to a port of the pod, which may have an address; the caller closes the descriptor.
func dial(port int, address netip.Addr) (*os.File, error) {
	if port < 1 || port > 65535 {
		return nil, fmt.Errorf("port %d: out of range", port)
	}
	d := net.Dialer{Timeout: dialTimeout}
	var errs []error
	hosts := []string{"127.0.0.1", "::1"}
	if address.IsValid() { // a program may listen there alone
		hosts = append(hosts, address.String())
	}
	for _, host := range hosts {
		c, err := d.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f, err := c.(*net.TCPConn).File()
		_ = c.Close() // f is a copy
		return f, err
	}
	return nil, errors.Join(errs[:1]...) // the others say no more
}
