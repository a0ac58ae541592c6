//go:build linux

package shim

import (
	"encoding/json"
	"net/netip"
	"time"
)

// Version is that of the protocol: it goes with every request and every answer. A shim goes on with the binary that it was
// started from, so a service speaks to shims of older versions, and after a downgrade of newer ones. What was once in the
// protocol stays as it is; what a shim does not know it answers with an error, which the client tells as a *VersionError.
const Version = 2

// unversioned is the version of a shim that does not tell it.
const unversioned = 1

// Names of the files in a pod's directory.
const (
	PodFile   = "pod.json"
	StateFile = "state.json"
	Socket    = "shim.sock"
	LogFile   = "shim.log"
	MemoryDir = "memory" // of directories, on which only the pod's own processes see the volumes
)

// Pod is what a shim is told of its pod before it starts.
type Pod struct {
	Hostname string            `json:"hostname"`
	Sysctls  map[string]string `json:"sysctls,omitempty"` // of the namespaces that a pod has
	// Beacon is another directory to listen in, for when that of the pod is lost.
	Beacon  string   `json:"beacon,omitempty"`
	Network Network  `json:"network,omitzero"`
	Memory  []Memory `json:"memory,omitempty"`
	// Record is the driver's own: it is kept, never read.
	Record json.RawMessage `json:"record,omitempty"`
}

// Memory is a volume that is held in memory for as long as the pod lives: its containers find it in MemoryDir, under its name.
type Memory struct {
	Name string `json:"name"`           // of a directory
	Size int64  `json:"size,omitempty"` // bytes; 0: the kernel's default
	GID  *int64 `json:"gid,omitempty"`  // whom it and what is made in it belong to
}

// Container is one container to start.
type Container struct {
	Name    string `json:"name"`
	Attempt int    `json:"attempt"` // how often it was started before; part of its identity

	Rootfs   string   `json:"rootfs"`  // directory of the unpacked image; never written to
	Scratch  string   `json:"scratch"` // directory for what the container writes over it; must exist
	ReadOnly bool     `json:"readOnly,omitempty"`
	Mounts   []Mount  `json:"mounts,omitempty"`
	Cgroups  []string `json:"cgroups,omitempty"` // directories of control groups to join; must exist
	Log      string   `json:"log"`               // file for its output, in CRI's format

	Args   []string `json:"args"` // the first is looked up in the PATH of Env
	Env    []string `json:"env,omitempty"`
	Dir    string   `json:"dir,omitempty"` // created when missing; empty: /
	UID    uint32   `json:"uid,omitempty"`
	GID    uint32   `json:"gid,omitempty"`
	Groups []uint32 `json:"groups,omitempty"`
	// Capabilities are the names (CAP_CHOWN) of those that stay.
	Capabilities    []string `json:"capabilities,omitempty"`
	NoNewPrivileges bool     `json:"noNewPrivileges,omitempty"`
	// Unmasked leaves all of /proc and /sys as the kernel gives it, and lets device nodes be devices.
	Unmasked bool `json:"unmasked,omitempty"`
	// NoSetuid has set-user-ID programs run as who runs them.
	NoSetuid bool `json:"noSetuid,omitempty"`
	// Processes and threads that its user may have in the pod; 0: no limit. It binds nobody who is root on the machine.
	Processes int `json:"processes,omitempty"`

	Stdin     bool `json:"stdin,omitempty"`     // Attach can write to it
	StdinOnce bool `json:"stdinOnce,omitempty"` // the end of the first Attach is the end of its input
	TTY       bool `json:"tty,omitempty"`
}

// Mount is one thing of the host, or a file system in memory, that a container sees.
type Mount struct {
	Source   string `json:"source,omitempty"` // path of the host; empty: memory
	Target   string `json:"target"`           // absolute, inside the container; links are followed inside it
	ReadOnly bool   `json:"readOnly,omitempty"`
	Size     int64  `json:"size,omitempty"` // of memory in bytes; 0: the kernel's default
}

// Phase says how far a container is.
type Phase string

// The phases of a container.
const (
	Running Phase = "running"
	Exited  Phase = "exited"
	// Refused: it could not be started; Status.Message says why.
	Refused Phase = "refused"
)

// Status is how a container is.
type Status struct {
	Name     string    `json:"name"`
	Attempt  int       `json:"attempt"`
	Phase    Phase     `json:"phase"`
	PID      int       `json:"pid,omitempty"` // inside the pod
	ExitCode int       `json:"exitCode,omitempty"`
	Signal   int       `json:"signal,omitempty"` // that ended it; ExitCode is 128 + Signal then
	OOM      bool      `json:"oom,omitempty"`    // the kernel killed something of it for want of memory
	Message  string    `json:"message,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
}

// op is what a request asks for.
type op string

const (
	opStart    op = "start"    // Container → Status
	opSignal   op = "signal"   // Name, Signal
	opRemove   op = "remove"   // Name: forget a container that has ended
	opState    op = "state"    // → States
	opWatch    op = "watch"    // → States at once and after every change, until the connection ends
	opDial     op = "dial"     // Port → one descriptor
	opDevice   op = "device"   // → Address, and one descriptor; the connection ends with the pod
	opExec     op = "exec"     // Exec and descriptors for its input, output and errors → ExitCode
	opAttach   op = "attach"   // Name and such descriptors → when the container, or the peer, has ended
	opResize   op = "resize"   // Name, Rows, Columns of its terminal
	opShutdown op = "shutdown" // ends the pod
)

// request is one line of JSON; a connection carries one request. Descriptors come with it.
type request struct {
	Version   int        `json:"version"`
	Op        op         `json:"op"`
	Container *Container `json:"container,omitempty"`
	Name      string     `json:"name,omitempty"`
	Signal    int        `json:"signal,omitempty"`
	Port      int        `json:"port,omitempty"`
	Rows      uint16     `json:"rows,omitempty"`
	Columns   uint16     `json:"columns,omitempty"`
	Exec      *Exec      `json:"exec,omitempty"`
}

// response is one line of JSON.
type response struct {
	Version  int      `json:"version,omitempty"` // of the shim; 0: unversioned
	Unknown  bool     `json:"unknown,omitempty"` // the shim does not know what was asked for; Error says so too
	Error    string   `json:"error,omitempty"`
	Errno    int      `json:"errno,omitempty"` // the system's number of the error, where it has one
	Status   *Status  `json:"status,omitempty"`
	States   []Status `json:"states,omitempty"`
	ExitCode int      `json:"exitCode,omitempty"`

	Address netip.Addr `json:"address,omitzero"`
}

// Exec is a command to run beside a container's own process, as the container's user.
type Exec struct {
	Container string   `json:"container"`
	Args      []string `json:"args"`
	TTY       bool     `json:"tty,omitempty"` // the descriptors are one terminal, to be the command's own
}

// maxRequest bounds a line of the protocol: environment and arguments of a container are the most of it.
const maxRequest = 4 << 20
