// Package simulated is a driver of reconciler/node that runs nothing: it says of every pod what a kubelet would say,
// in the kubelet's words and at the kubelet's times.
//
// It owns how a pod would behave, as a function of the pod, its image's Behaviour and the time. It starts no
// process, no goroutine and no timer, and never decides what a pod's status leads to.
package simulated
