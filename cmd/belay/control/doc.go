// Package control is Belay's own API: JSON over HTTP on a unix socket, its handler and its client.
//
// It owns the wire types and the addresses. It never decides and keeps no state: what it answers comes from a Reader,
// what it is asked to do goes to an Operator, both given by the wiring.
package control
