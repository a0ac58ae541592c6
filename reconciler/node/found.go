package node

import "context"

// Found is a pod that runs and belongs to another data directory: one that was lost, or that this one was restored
// from a copy of.
type Found struct {
	Instance   string // of the state that started it
	Source     string // address of its repository
	Namespace  string
	Deployment string
	Pod        string
	Commit     string // whose template it runs
	Images     []string
}

// Finder is a PodRunner whose pods outlive the data directory: it knows them by what it wrote on them.
type Finder interface {
	PodRunner
	// Find lists the pods of all instances but this one whose data directory no process holds. It touches nothing.
	Find(ctx context.Context, instance string) ([]Found, error)
	// Retire ends pods that were found, once a person has said so. It is idempotent.
	Retire(ctx context.Context, pods []Found) error
}
