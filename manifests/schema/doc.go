// Package schema turns the JSON of one Kubernetes object into the typed object
// as a Kubernetes API server of the linked version would store it: strictly
// decoded, defaulted, normalised and validated, with Kubernetes' own error
// texts.
//
// It knows the kinds that Belay runs (Deployment, Service, ConfigMap, Secret,
// Namespace) and tells the rest of Kubernetes' kinds from misspelt ones. It
// never reads files, knows nothing of lines, and keeps no state. Together with
// the Kubernetes API of the state it is the only importer of
// k8s.io/kubernetes.
package schema
