//go:build !linux

package shim

// Main does nothing: pods run in namespaces on Linux alone.
func Main() {}
