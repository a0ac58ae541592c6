// Package service makes Services work: it knows which pods answer for a Service, and keeps the host's listeners of
// NodePort and LoadBalancer Services in front of them.
//
// It owns the choice of endpoints, which follows readiness, the EndpointSlices and Endpoints that tell of them, the
// listeners and connections of its TCP proxy, and a LoadBalancer's status. It never starts or stops a pod, never replays a byte that was sent, and opens nothing that no
// Service asks for.
package service
