// Package names answers what pods ask by name: Services, as the DNS of a Kubernetes cluster has them, and everything else
// as the machine's own name servers do.
//
// It owns the names of Services and the DNS server in front of them. It never decides which Services there are, and never
// asks other servers about a name of the cluster.
package names
