//go:build linux

package shim

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// children are the processes that this one has started and waits for. Others become its own when who started them is killed,
// as who entered a container for a command: this is the first process of its PID namespace, and waits for them too.
type children struct {
	mu  sync.Mutex
	own map[int]int // by number, which may be another's as soon as one was waited for: how many are
}

// start starts a process, for ended to be called when it was waited for.
func (c *children) start(cmd *exec.Cmd) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := cmd.Start()
	if err == nil {
		if c.own == nil {
			c.own = map[int]int{}
		}
		c.own[cmd.Process.Pid]++
	}
	return err
}

func (c *children) ended(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.own[pid]--; c.own[pid] <= 0 {
		delete(c.own, pid)
	}
}

// adopt waits for the others for as long as the process lives.
func (c *children) adopt() {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGCHLD)
	for range changed {
		for c.reap() {
			<-time.After(reapPause) // another one waits for the first that has ended, and what comes behind it is not seen
		}
	}
}

const reapPause = 10 * time.Millisecond

// reap waits for those that have ended, up to the first that somebody else waits for: more says that there is one.
func (c *children) reap() (more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		pid := endedChild()
		if pid <= 0 || c.own[pid] > 0 {
			return pid > 0
		}
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // nobody asks how it ended
	}
}

// endOthers kills those that this process did not start: nobody knows of them any more.
func (c *children) endOthers() {
	c.mu.Lock()
	defer c.mu.Unlock()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		fmt.Fprintln(os.Stderr, "end orphans:", err)
		return
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || c.own[pid] > 0 {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // it has gone
		}
		after := strings.LastIndexByte(string(stat), ')') + 1 // state, parent, …
		if fields := strings.Fields(string(stat[after:])); len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			_ = unix.Kill(pid, unix.SIGKILL) // it is waited for before its number can be another's
		}
	}
}

// endedChild is a child that has ended and was not waited for; 0: there is none.
func endedChild() int {
	var info struct { // siginfo_t, as waitid(2) fills it
		_   [3]int32
		_   [unsafe.Sizeof(uintptr(0)) - 4]byte
		pid int32
		_   [128]byte
	}
	const options = unix.WEXITED | unix.WNOHANG | unix.WNOWAIT
	if _, _, number := unix.Syscall6(unix.SYS_WAITID, unix.P_ALL, 0, uintptr(unsafe.Pointer(&info)), options, 0, 0); number != 0 { //nolint:gosec // a system call
		return 0
	}
	return int(info.pid)
}
