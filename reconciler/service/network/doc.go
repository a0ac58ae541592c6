// Package network is how pods and this machine reach Services: their listeners and connections, the addresses of the
// cluster, and the names.
//
// It owns what it opens. It never decides what a Service is or who answers for it: reconciler/service does.
package network
