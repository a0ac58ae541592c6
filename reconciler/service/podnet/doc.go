// Package podnet is the network of pods that have none of the machine's: a switch among their devices, and a TCP/IP stack
// in this process that answers for the addresses of Services and leads outside through the machine's own sockets. It takes
// no right over the machine's network.
//
// It owns the packets between devices and what its stack has open. Pods are not trusted: a packet must come from the
// address of its pod, what a pod has open at a time is bounded, and the machine's loopback and link-local addresses are
// never reached. It never decides which Services there are, or who answers for them.
package podnet
