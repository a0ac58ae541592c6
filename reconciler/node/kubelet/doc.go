// Package kubelet runs pods on any driver of containers (node.Runtime): it pulls images, starts and restarts containers in
// their order, probes them, runs their hooks, stops them with grace, and says in the kubelet's words how they are.
//
// It owns what is to be done next (plan.go, memory.go: values in, values out), the few goroutines that do it, and the
// volumes below its directory. It keeps nothing that an engine, or a pod's status, does not tell a later process, so that
// running pods are taken over untouched. It never reads a clock in a plan and never knows which engine it drives.
package kubelet
