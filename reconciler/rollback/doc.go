// Package rollback decides how a Deployment goes back: which revision a wish means, what is bad from then on, what taints
// a template that Git wants, what a hold holds off, and what a person may set past Git. It is the one function behind
// every door.
//
// Everything here is pure: values in, values out, the time too; nothing is edited. The package never writes, and never
// decides when a template is handed to the rollout: that is the reconciler's plan.
package rollback
