package control

import (
	"encoding/json"
	"time"
)

// Status is what `belay status -o json` prints. Lists are never null, times are UTC.
type Status struct {
	Sources     []Source     `json:"sources"`
	Apps        []App        `json:"apps"`
	Deployments []Deployment `json:"deployments"`
	Problems    []Problem    `json:"problems"`
}

// Source is one branch of one repository. Error is why the last look failed.
type Source struct {
	Name      string    `json:"name"`
	URL       string    `json:"url"`
	Branch    string    `json:"branch"`
	Head      string    `json:"head,omitempty"`
	Commit    string    `json:"commit,omitempty"` // last one taken; differs from head while suspended or failing
	LastPoll  time.Time `json:"lastPoll,omitzero"`
	NextPoll  time.Time `json:"nextPoll,omitzero"`
	Suspended bool      `json:"suspended,omitempty"`
	Activity  string    `json:"activity,omitempty"` // what is going on now
	Error     string    `json:"error,omitempty"`
	Hint      string    `json:"hint,omitempty"`
}

// App is one path of a source. Commit is the one its objects come from; Stale says that newer ones do not render.
type App struct {
	Source string `json:"source"`
	Name   string `json:"name"`
	Path   string `json:"path"`
	Commit string `json:"commit,omitempty"`
	Stale  bool   `json:"stale,omitempty"`
	// Closed is the window that keeps changes from beginning now.
	Closed *Closed `json:"closed,omitempty"`
}

// Closed is a window during which no change begins; without Until nobody knows when it ends.
type Closed struct {
	By    string    `json:"by"`
	Until time.Time `json:"until,omitzero"`
}

// Health sums a Deployment up in one word of the field.
type Health string

const (
	Healthy     Health = "Healthy"
	Progress    Health = "Progressing"
	Degraded    Health = "Degraded"
	Suspended   Health = "Suspended" // paused
	Missing     Health = "Missing"
	UnknownLive Health = "Unknown"
)

// Deployment is one managed Deployment: what runs, and what Git wants where that differs.
type Deployment struct {
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	App       string   `json:"app"`
	Revision  int64    `json:"revision,omitempty"`
	Commit    string   `json:"commit,omitempty"`
	Images    []string `json:"images"`
	Replicas  int32    `json:"replicas"`
	Updated   int32    `json:"updated"`
	Ready     int32    `json:"ready"`
	Available int32    `json:"available"`
	Health    Health   `json:"health"`
	Reason    string   `json:"reason,omitempty"`
	Outcome   string   `json:"outcome,omitempty"`
	Wants     *Wants   `json:"wants,omitempty"`
	Hold      *Hold    `json:"hold,omitempty"`
	// GitChange is what becomes of the hold in Git; nil where nothing is to be changed there.
	GitChange *GitChange `json:"gitChange,omitempty"`
	// Overrides are what people set beside Git.
	Overrides []Override `json:"overrides,omitempty"`
	Next      string     `json:"next,omitempty"` // what happens next, or what to do
}

// Wants is what Git wants of a Deployment that runs something else.
type Wants struct {
	Commit string   `json:"commit"`
	Images []string `json:"images"`
	// Tainted says by what it is held off: image, fields or template; empty: nothing of it is bad.
	Tainted string `json:"tainted,omitempty"`
	// Bad is what was found bad in it: images as container=image, or the paths of fields.
	Bad []string `json:"bad,omitempty"`
}

// Problem is one thing that is wrong in Git, or that cannot be done, at its place where that is known.
type Problem struct {
	Reason  string `json:"reason"`
	Source  string `json:"source,omitempty"`
	App     string `json:"app,omitempty"`
	Root    string `json:"root,omitempty"`
	Commit  string `json:"commit,omitempty"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
	// Warning says that all is done as it is written: the rest is for people to know.
	Warning bool `json:"warning,omitempty"`
}

// Row is one line of a Deployment's history. Revision is absent while, and where, nothing was rolled out; Now is the
// number that the revision's ReplicaSet has today, where it was re-used since.
type Row struct {
	Namespace    string    `json:"namespace"`
	Name         string    `json:"name"`
	ID           string    `json:"id"`
	Revision     int64     `json:"revision,omitempty"`
	Now          int64     `json:"now,omitempty"`
	Commit       string    `json:"commit,omitempty"`
	Author       string    `json:"author,omitempty"`
	CommittedAt  time.Time `json:"committedAt,omitzero"`
	Subject      string    `json:"subject,omitempty"`
	ChangeCause  string    `json:"changeCause,omitempty"`
	Outcome      string    `json:"outcome"`
	Reason       string    `json:"reason,omitempty"`
	Message      string    `json:"message,omitempty"`
	Override     string    `json:"override,omitempty"` // why a person let it through a closed window
	SupersededBy string    `json:"supersededBy,omitempty"`
	RolledBackBy string    `json:"rolledBackBy,omitempty"`
	// Of what a person, or Belay by itself, did beside Git: rollback, pin or restart; by which door, who and why.
	Operation  string    `json:"operation,omitempty"`
	Door       string    `json:"door,omitempty"`
	By         string    `json:"by,omitempty"`
	Why        string    `json:"why,omitempty"`
	ReplicaSet string    `json:"replicaSet,omitempty"`
	StartedAt  time.Time `json:"startedAt,omitzero"`
	EndedAt    time.Time `json:"endedAt,omitzero"`
	Images     []string  `json:"images"`
	// Digests are what the images were when the revision completed, in the same order; absent where nothing is known.
	Digests []string `json:"digests,omitempty"`
}

// HistoryQuery names the Deployment. An empty Namespace means the only one that has it. All includes rows of
// Deployments of that name that are gone; At asks for what ran at a time, as one row.
type HistoryQuery struct {
	Namespace string
	Name      string
	All       bool
	At        time.Time
}

// DiffQuery asks what a sync of a source would change; an empty Commit means the head of the branch, an empty Path
// every app.
type DiffQuery struct {
	Source string
	Commit string
	Path   string
	Patch  bool // add a unified diff to each object
}

// Diff is what a sync would change, object by object.
type Diff struct {
	Source   string       `json:"source"`
	Commit   string       `json:"commit"`
	Commits  []CommitDiff `json:"commits"` // that a sync would take, oldest first, at most the newest 50
	Objects  []ObjectDiff `json:"objects"` // of what runs
	Problems []Problem    `json:"problems"`
}

// CommitDiff is what one commit changes of the one before.
type CommitDiff struct {
	Commit  string       `json:"commit"`
	Author  string       `json:"author,omitempty"`
	Subject string       `json:"subject,omitempty"`
	Objects []ObjectDiff `json:"objects"`
}

// ObjectDiff is what would change of one object. Action is create, update or delete.
type ObjectDiff struct {
	Action    string   `json:"action"`
	Kind      string   `json:"kind"`
	Namespace string   `json:"namespace,omitempty"`
	Name      string   `json:"name"`
	File      string   `json:"file,omitempty"`
	Line      int      `json:"line,omitempty"`
	Fields    []string `json:"fields"`          // path: before → after
	Patch     string   `json:"patch,omitempty"` // unified diff of the two objects; asked for
}

// PlanQuery asks how a rollout would go: with other images (container → image), another number of replicas, or a
// whole manifest.
type PlanQuery struct {
	Namespace string            `json:"namespace,omitempty"`
	Name      string            `json:"name"`
	Images    map[string]string `json:"images,omitempty"`
	Replicas  *int32            `json:"replicas,omitempty"`
	Manifest  string            `json:"manifest,omitempty"` // YAML of the Deployment
	File      string            `json:"file,omitempty"`     // what to call the manifest in an error
}

// Forecast is a rollout step by step.
type Forecast struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Paused    bool      `json:"paused,omitempty"` // the steps come when it is resumed
	Steps     []string  `json:"steps"`
	Problems  []Problem `json:"problems,omitempty"` // of the manifest that was asked about; none of them stops it
}

// SyncRequest asks for a look now. An empty Source means all of them.
type SyncRequest struct {
	Source       string `json:"source,omitempty"`
	Wait         bool   `json:"wait,omitempty"`
	Prune        bool   `json:"prune,omitempty"`
	AcceptRender bool   `json:"acceptRender,omitempty"`
	// OverrideWindow says why changes may begin although a window is closed; it is kept with them.
	OverrideWindow string `json:"overrideWindow,omitempty"`
}

// SyncResult ends a sync. Ended is false when a rollout that it began waits, is held or paused.
type SyncResult struct {
	Sources []SyncedSource `json:"sources"`
	Rows    []Row          `json:"rows"` // what it began, as it stands
	Ended   bool           `json:"ended"`
	OK      bool           `json:"ok"` // everything ended well
}

// SyncedSource is how a look at one source went.
type SyncedSource struct {
	Name     string    `json:"name"`
	Commit   string    `json:"commit,omitempty"`
	Outcome  string    `json:"outcome,omitempty"` // of the commit
	Error    string    `json:"error,omitempty"`
	Hint     string    `json:"hint,omitempty"`
	Problems []Problem `json:"problems"`
}

// WebhookTest is how the service answered a push that it sent to itself.
type WebhookTest struct {
	URL    string `json:"url"`
	Status int    `json:"status"`
	Answer string `json:"answer"`
}

// event is one line of a streamed answer: a row that moved, the result, or an error that ended it.
type event[T any] struct {
	Row    *Row   `json:"row,omitempty"`
	Result *T     `json:"result,omitempty"`
	Error  *Error `json:"error,omitempty"`
}

// ObjectQuery asks for live Kubernetes objects; Kind is Deployment, ReplicaSet or Pod.
type ObjectQuery struct {
	Kind      string
	Namespace string // empty: all
	Name      string // empty: all
	After     int64  // wait until something changed after this version; 0: answer at once
}

// Objects are live objects as the Kubernetes API would show them, with the version they were read at.
type Objects struct {
	Version int64             `json:"version"`
	Items   []json.RawMessage `json:"items"`
}
