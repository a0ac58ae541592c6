// Package shim is the process that holds one pod: it is the first process of the pod's namespaces, starts containers in
// them, keeps their output and how they ended, and hands connections into the pod to whoever may open its socket. It
// outlives the service that started it; when it dies, the kernel ends the pod with it.
//
// It owns what happens inside a pod: mounts, capabilities, exit codes, logs. It never decides when a container runs or
// stops, and needs nothing but the standard library and golang.org/x/sys: the size of its binary is paid for each pod.
//
// A pod lies in a directory of its own:
//
//	pod.json    a Pod, written before the shim is started
//	state.json  how its containers are, for when the shim is dead
//	shim.sock   the shim; a connection proves that the pod lives
//	shim.log    what the shim could tell nobody else
package shim
