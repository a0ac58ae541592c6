package state

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The ledger holds values only: state keeps them, orders them and makes them durable together with the objects
// of the same transaction, and knows no rule about them (those are the reconciler's).

// Outcome says how far a commit got for one Deployment, or for all of them. The values and the transitions
// between them are the reconciler's; state stores the word.
type Outcome string

// Row is one line of a Deployment's history: one thing that ran, waits to run, or never will.
// A row is found by its ID; it names at most one commit.
type Row struct {
	ID        string    `json:"id"`
	Number    int64     `json:"number"` // order of recording over the whole ledger, set by state at the first put
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid,omitempty"` // of the Deployment; empty until it exists

	Source string `json:"source,omitempty"`
	App    string `json:"app,omitempty"`
	Root   string `json:"root,omitempty"`

	Commit      string    `json:"commit,omitempty"` // full hash
	Author      string    `json:"author,omitempty"`
	CommittedAt time.Time `json:"committedAt,omitzero"`
	Subject     string    `json:"subject,omitempty"`
	ChangeCause string    `json:"changeCause,omitempty"`

	Template string   `json:"template,omitempty"` // key of a Template
	Bare     string   `json:"bare,omitempty"`     // digest of the template without its restartedAt, where that is another
	Images   []string `json:"images,omitempty"`   // of the template's containers, in their order
	// Digests are what Images were on the pods that the row completed with, in the same order: REPOSITORY@sha256:…, or the ID
	// of what came from no registry. Empty where that is not known.
	Digests []string `json:"digests,omitempty"`
	// Configs are the ConfigMaps and Secrets that the template names, sorted by kind and name, as they were when the
	// row was recorded and, from then on, when its template was handed over: those of a fixed name change without the
	// template.
	Configs []ConfigRef `json:"configs,omitempty"`

	Revision   int64  `json:"revision,omitempty"` // 0: never handed to a rollout
	ReplicaSet string `json:"replicaSet,omitempty"`

	Outcome      Outcome `json:"outcome"`
	Open         bool    `json:"open,omitempty"` // the outcome is not final
	Reason       string  `json:"reason,omitempty"`
	Message      string  `json:"message,omitempty"`
	Override     string  `json:"override,omitempty"`     // why a person let it through although something else stopped it
	SupersededBy string  `json:"supersededBy,omitempty"` // row ID
	RolledBackBy string  `json:"rolledBackBy,omitempty"` // row ID
	Suppressed   string  `json:"suppressed,omitempty"`   // why it was not rolled back by itself when it failed
	// Fills is, of a commit that brought Git to what a rollback runs, the ID of the rollback's row: that one has the
	// commit from then on, and both are one revision.
	Fills string `json:"fills,omitempty"`

	// Of what a person asked for past Git, or Belay by itself: which operation, through which door, who and why. Empty
	// for a commit. A rollback's row is filled with the commit that brings Git to the same template.
	Operation string `json:"operation,omitempty"`
	Door      string `json:"door,omitempty"`
	By        string `json:"by,omitempty"`
	Why       string `json:"why,omitempty"`

	// Past is how many commits before the source's first sync the row's commit was; 0 for what was recorded as it
	// came. The greatest is the oldest.
	Past int64 `json:"past,omitempty"`

	RecordedAt time.Time `json:"recordedAt,omitzero"`
	StartedAt  time.Time `json:"startedAt,omitzero"`
	EndedAt    time.Time `json:"endedAt,omitzero"`
	MissedAt   time.Time `json:"missedAt,omitzero"` // when its rollout passed its progress deadline, whatever became of it since
}

// Commit is what the ledger keeps of one step of a source.
type Commit struct {
	Source      string    `json:"source"`
	Step        int64     `json:"step"` // counts the steps of the source from 1; a commit that comes again has a new one
	Hash        string    `json:"hash"`
	Commits     []string  `json:"commits,omitempty"` // all hashes the step covers, when more than one
	Author      string    `json:"author,omitempty"`
	CommittedAt time.Time `json:"committedAt,omitzero"`
	Subject     string    `json:"subject,omitempty"`
	Rows        []string  `json:"rows,omitempty"`    // IDs of the rows it made, and of those that it runs in since, sorted
	Objects     int       `json:"objects,omitempty"` // how many objects other than Deployments it changed
	Invalid     bool      `json:"invalid,omitempty"` // some of what it changed did not render
	RecordedAt  time.Time `json:"recordedAt,omitzero"`
}

// Cursor says how far a source has been recorded. There is one per source.
type Cursor struct {
	Source     string            `json:"source"`
	Commit     string            `json:"commit,omitempty"` // last recorded step's hash
	Step       int64             `json:"step,omitempty"`
	Roots      map[string]string `json:"roots,omitempty"` // "app\x00root path" → last good commit, where it is not Commit
	Suspended  bool              `json:"suspended,omitempty"`
	PruneWaits string            `json:"pruneWaits,omitempty"` // why nothing of the source is pruned unasked; empty: it may be
	// Past says how far commits older than the first sync are recorded; nil: as far as they will ever be.
	Past *Past `json:"past,omitempty"`
}

// Past is how far the commits before a source's first sync are recorded.
type Past struct {
	Commit string `json:"commit"` // the oldest that was looked at
	Count  int64  `json:"count"`  // how many were
	// Rendered is the oldest that was rendered, once those before it are compared by hashes alone; empty: it is Commit.
	Rendered string `json:"rendered,omitempty"`
}

// Template is a pod template that ran, or waits to run, stored once under its digest.
type Template struct {
	Hash     string                 `json:"hash"`
	Template corev1.PodTemplateSpec `json:"template"`
}

// ConfigRef names a ConfigMap or Secret in the namespace of a row.
type ConfigRef struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name"`
	// Hash is the key of the Config that it held. Empty: nothing is known of what it held. There may be no such Config:
	// what is too large to be kept is known by its hash alone.
	Hash string `json:"hash,omitempty"`
}

// Config is what a ConfigMap or Secret held while a template named it, stored once under its digest, so that it can be
// made again with the template. The values of a Secret lie in the same file as the Secret itself, and are given only
// for a Secret that Git declares: they are in Git's history as well.
type Config struct {
	Hash string            `json:"hash"`
	Kind Kind              `json:"kind"`
	Type corev1.SecretType `json:"type,omitempty"` // of a Secret
	Text map[string]string `json:"text,omitempty"` // of a ConfigMap
	Data map[string][]byte `json:"data,omitempty"` // of a Secret; of a ConfigMap its binary data
}

// Managed says that Git manages an object, and from where. The set of these is the inventory.
type Managed struct {
	Key    Key    `json:"key"`
	Source string `json:"source"`
	App    string `json:"app"`
	Root   string `json:"root"`
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Commit string `json:"commit"` // the commit that last changed the object
	// RemovedBy is the commit whose tree no longer has the manifest; the object waits to be deleted.
	RemovedBy string `json:"removedBy,omitempty"`
}

// Hold keeps one Deployment's pod template at a chosen revision, whatever Git says.
type Hold struct {
	ID        string    `json:"id"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Template  string    `json:"template"`           // key of a Template
	Revision  int64     `json:"revision,omitempty"` // of the held template: the one it had, then the one its rollout gave it
	Commit    string    `json:"commit,omitempty"`   // that brought the held template
	Reason    string    `json:"reason,omitempty"`
	By        string    `json:"by,omitempty"`
	Since     time.Time `json:"since,omitzero"`
	Until     time.Time `json:"until,omitzero"`
	Manual    bool      `json:"manual,omitempty"`
	Door      string    `json:"door,omitempty"`
	Row       string    `json:"row,omitempty"`    // ID of the row that is held
	Wanted    string    `json:"wanted,omitempty"` // digest of the template that Git wanted when it was held off; empty: none
}
