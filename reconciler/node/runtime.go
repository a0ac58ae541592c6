package node

import (
	"context"
	"io"
	"net"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/remotecommand"
)

// Runtime is a driver: it runs containers and decides nothing. The agent of reconciler/node/kubelet, the same over every
// driver, says what runs when. Every driver passes the suite in reconciler/node/conformance.
//
// Methods are called side by side, also for one pod. A call ends soon after its context does; what it had begun may go on
// and is found again by List. What runs outlives the process, and a driver made later over the same engine knows it all.
type Runtime interface {
	Sandboxes
	Containers
	Images
	Streams
}

// Sandboxes hold what the containers of one pod share: the network with its address, IPC and the host name.
type Sandboxes interface {
	// RunPod sees to it that the pod has a running sandbox. One that runs is kept as it is; one that ended is replaced
	// by another with an ID of its own, after what was left of its containers was stopped.
	RunPod(ctx context.Context, pod Sandbox) (SandboxState, error)
	// RemovePod ends without grace whatever runs of a pod and removes it, with the containers and their logs. It is
	// idempotent, and nil means that nothing is left.
	RemovePod(ctx context.Context, uid types.UID) error
	// Pod is all there is of one pod; false: nothing.
	Pod(ctx context.Context, uid types.UID) (PodState, bool, error)
	// List is all there is of every pod of this driver, whichever data directory started it, ordered by UID.
	List(ctx context.Context) ([]PodState, error)
	// Watch calls changed with the UID of each pod that something happened to: soon, at least once, and as a hint. It
	// returns ctx's error when that ends, and another as soon as the engine does not answer any more.
	Watch(ctx context.Context, changed func(types.UID)) error
}

// Containers run inside a pod's running sandbox.
type Containers interface {
	// Start creates a container and starts it. When it comes back with a *StartError there is no such container, and
	// the same one may be started again.
	Start(ctx context.Context, c Container) (id string, err error)
	// Stop sends the image's stop signal (SIGTERM unless it names one), waits for grace, and kills. It returns when the
	// container has ended. One that ended, or is not there, is stopped already.
	Stop(ctx context.Context, id string, grace time.Duration) error
	// Remove removes a container that has ended, with its logs. It is idempotent.
	Remove(ctx context.Context, id string) error
}

// Images are what containers are made from.
type Images interface {
	// Image finds an image by the reference that a pod names, without the network; false: it is not there.
	Image(ctx context.Context, ref string) (Image, bool, error)
	// Pull fetches an image and returns it as Image would. The credentials are tried in their order; none means an
	// anonymous pull. Errors are *image.PullError of reconciler/node/image where the registry or the image is at fault.
	Pull(ctx context.Context, ref string, credentials []Credential) (Image, error)
}

// Collector is a driver that can take images off the machine again. What it did not pull is never its to remove: whoever
// calls it says what was.
type Collector interface {
	// Discard takes away the names that an image was pulled under, and the image with the last of all its names. False: it
	// stays, because something is made from it. One that is not there is discarded already.
	Discard(ctx context.Context, i PulledImage) (bool, error)
	// Filled is how much of the disk that holds the images is in use: 0 to 1.
	Filled(ctx context.Context) (float64, error)
}

// PulledImage is an image that was fetched, under the name it was fetched by.
type PulledImage struct {
	Ref    string // as Images.Pull was given it
	ID     string // Image.ID
	Digest string // Image.Digest
}

// Streams reach into running pods.
type Streams interface {
	// Logs reads what a container wrote, standard output and error as they came. With Follow, Read waits for more until
	// the container has ended. The caller closes the reader.
	Logs(ctx context.Context, id string, o LogOptions) (io.ReadCloser, error)
	// Exec runs a command in a running container until it ends, and returns its exit status. An error says that it did
	// not run. With o.Tty standard error comes with standard output.
	Exec(ctx context.Context, id string, command []string, o remotecommand.StreamOptions) (exit int, err error)
	// Attach connects the streams to the container's main process until that ends or ctx does.
	Attach(ctx context.Context, id string, o remotecommand.StreamOptions) error
	// Dial connects to a TCP port of the pod: the only way in, for probes, port-forward and Services.
	Dial(ctx context.Context, uid types.UID, port int32) (net.Conn, error)
}

// Sandbox is what a pod's sandbox is made of. A driver keeps all of it beside the sandbox, outside of any data directory.
type Sandbox struct {
	UID       types.UID
	Namespace string
	Name      string
	Hostname  string
	Origin    Origin
	DNS       DNS
	Hosts     []HostAlias
	Sysctls   map[string]string
	// HostNetwork shares the machine's network instead of having one of its own.
	HostNetwork bool
	Ports       []int32        // TCP ports that containers declare
	Memory      []MemoryVolume // only for a MemoryHolder
}

// MemoryVolume is a volume in memory that the containers of a pod share. It lives as long as the sandbox.
type MemoryVolume struct {
	Name string
	Size int64  // bytes that it may hold; 0: half of the machine's memory
	GID  *int64 // group that it and what is made in it belong to; nil: 0, and what makes it
}

// MemoryHolder is a driver that has volumes in memory, if HoldsMemory says so.
type MemoryHolder interface{ HoldsMemory() bool }

// Limiter is a driver that cannot hold every container to its limits on every machine.
type Limiter interface {
	// Unenforced says which of a container's limits does not hold, and why; empty: all do.
	Unenforced(limits Resources) string
}

// Origin is where a pod comes from: enough to tell, without the data directory that started it, whose it is.
type Origin struct {
	Instance   string // of the state that started it
	Directory  string // data directory of that state
	Source     string // address of the repository; empty when no source made the pod
	Path       string // of the app in it
	Deployment string
	Hash       string // label pod-template-hash
	Commit     string
	Images     []string // as the containers name them
}

// DNS is a resolv.conf; the zero value leaves it to the driver.
type DNS struct {
	Servers, Searches, Options []string
}

// HostAlias is a line of /etc/hosts.
type HostAlias struct {
	IP    string
	Names []string
}

// Container is one run of one container of a pod, ready to be started: nothing of it refers to an object any more.
type Container struct {
	Pod     types.UID
	Name    string
	Attempt int32 // how often it was started before: with Pod and Name its identity

	Ref   string // the image as the pod names it
	Image string // Image.ID

	Command    []string // replaces the image's entrypoint and, where Args is empty, drops its arguments
	Args       []string // replaces the image's arguments
	Env        []string // NAME=value, added to the image's
	WorkingDir string   // empty: the image's
	Mounts     []Mount
	Stdin      bool
	StdinOnce  bool
	TTY        bool

	Resources Resources
	Security  Security
}

// Mount puts a file or directory of the machine, or a volume in memory, into a container.
type Mount struct {
	Source   string // absolute
	Memory   string // MemoryVolume.Name; Source is empty then
	Target   string // absolute, in the container
	ReadOnly bool
}

// Resources bound what a container takes; 0: no bound.
type Resources struct {
	MilliCPU        int64 // limit, thousandths of a core
	MilliCPURequest int64 // share when the machine is busy
	Memory          int64 // limit, bytes; swap is not given beyond it
}

// Security says what a container's process may do.
type Security struct {
	User           string // "uid" or "uid:gid"; empty: the image's
	Groups         []int64
	Privileged     bool
	ReadOnlyRoot   bool
	NoNewPrivilege bool
	AddCaps        []string // without CAP_
	DropCaps       []string // ALL drops every one
	Unconfined     bool     // no seccomp profile
	NoAppArmor     bool     // no AppArmor profile, where the engine gives one
}

// SandboxState is a sandbox as it is.
type SandboxState struct {
	ID      string // of this one: another after it was replaced
	IP      string // empty with HostNetwork
	Running bool
	Created time.Time
}

// PodState is all that an engine has of one pod.
type PodState struct {
	Pod     Sandbox // as RunPod was given it
	Sandbox SandboxState
	// Containers are ordered by name and attempt. They may be of former sandboxes.
	Containers []ContainerState
}

// ContainerState is one run of a container as it is.
type ContainerState struct {
	ID      string
	Sandbox string // SandboxState.ID that it runs or ran in
	Name    string
	Attempt int32
	Ref     string // Container.Ref
	Image   string // Image.ID
	Digest  string // Image.Digest; empty when the engine knows none

	Phase    ContainerPhase
	Started  time.Time
	Finished time.Time // of PhaseExited
	Exit     int32     // of PhaseExited: the status, 128+n after signal n
	OOM      bool      // it was killed because it exceeded its memory limit
	Message  string    // why it could not be told how it ended; empty otherwise
}

// ContainerPhase is the closed set of phases of one run.
type ContainerPhase string

// The phases.
const (
	PhaseCreated ContainerPhase = "Created" // and never started: its start was interrupted
	PhaseRunning ContainerPhase = "Running"
	PhaseExited  ContainerPhase = "Exited"
)

// Image is an image that is present.
type Image struct {
	ID     string // sha256:… of its configuration: what containers are started from
	Digest string // REPOSITORY@sha256:… it was pulled as; empty when it did not come from a registry
	Size   int64  // bytes
	User   string // that its configuration names; empty: 0
}

// Credential is what a registry is shown. The zero value is anonymous.
type Credential struct {
	Username, Password string
	IdentityToken      string // to be exchanged for an access token
	RegistryToken      string // sent as it is
}

// LogOptions say which part of a log is wanted.
type LogOptions struct {
	Follow     bool
	Timestamps bool      // RFC 3339 with nanoseconds before each line
	Since      time.Time // zero: from the beginning
	Tail       *int64    // at most so many lines from the end; nil: all
}

// StartError says that a container could not be created or started, for a reason that lies in what was asked.
type StartError struct {
	Reason string // ReasonCreateContainer or ReasonRunContainer
	Err    error  // the engine's words
}

// Reasons of a StartError, as waiting containers show them.
const (
	ReasonCreateContainer = "CreateContainerError"
	ReasonRunContainer    = "RunContainerError"
)

func (e *StartError) Error() string { return e.Err.Error() }

// Unwrap is the engine's error.
func (e *StartError) Unwrap() error { return e.Err }
