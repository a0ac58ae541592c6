//go:build !linux

package network

import (
	"errors"
	"net/netip"
)

// addRoute adds no route here.
func addRoute(netip.Prefix) error { return errors.New("only Linux can") }
