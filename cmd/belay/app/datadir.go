package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/belay-dev/belay/state"
)

const (
	lockFile    = "lock"
	serviceFile = "service.json"

	// dataDirVariable names the data directory in the environment.
	dataDirVariable = "BELAY_DATA_DIR"
)

// DataDir returns the absolute path of the data directory: the flag's, else that of BELAY_DATA_DIR, else belay in
// the user's state directory (XDG_STATE_HOME, by default ~/.local/state). It creates nothing.
func DataDir(flag string) (string, error) {
	dir := orDefault(flag, os.Getenv(dataDirVariable))
	if dir == "" {
		// A relative XDG_STATE_HOME is to be ignored, says its specification.
		state := os.Getenv("XDG_STATE_HOME")
		if !filepath.IsAbs(state) {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", &hinted{fmt.Errorf("data directory: %w", err), "name one with --data-dir or " + dataDirVariable}
			}
			state = filepath.Join(home, ".local", "state")
		}
		dir = filepath.Join(state, "belay")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	return abs, nil
}

// Lock is the right to use a data directory, for one process at a time. It ends with Release or with the process.
type Lock struct{ file *os.File }

// InUseError says that another process holds the data directory.
type InUseError struct {
	Dir string
	PID int // 0 when the holder has not written it yet
}

func (e *InUseError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("data directory %s is in use by another belay", e.Dir)
	}
	return fmt.Sprintf("data directory %s is in use by process %d", e.Dir, e.PID)
}

// Hint says how to go on.
func (e *InUseError) Hint() string {
	if e.PID == 0 {
		return "use another --data-dir, or stop the other one first"
	}
	return fmt.Sprintf("use another --data-dir, or stop the other one first: kill %d", e.PID)
}

// LockDataDir creates the data directory if needed (mode 0700) and takes its lock, or fails at once with an
// *InUseError. What a killed holder left of its announcement is removed. The lock file stays when the lock is released: removing it would let two processes hold two files
// of one name.
func LockDataDir(dir string) (*Lock, error) { return lockDataDir(dir, nil) }

func lockDataDir(dir string, files state.Files) (*Lock, error) {
	if err := files.Do(FileDirectory, func() error { return os.MkdirAll(dir, 0o700) }); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if info.Mode().Perm()&0o002 != 0 {
		return nil, &hinted{fmt.Errorf("data directory %s may be written by everyone", dir), "chmod 700 it, or name a directory of belay's own"}
	}
	var f *os.File
	err = files.Do(FileLock, func() error {
		f, err = os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := flock(f); err != nil {
		defer f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &InUseError{Dir: dir, PID: holder(f)}
		}
		return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
	}
	l := &Lock{file: f}
	if err := errors.Join(files.Do(FileLock, l.sign), clearService(dir, files)); err != nil {
		return nil, errors.Join(fmt.Errorf("lock data directory %s: %w", dir, err), l.Release())
	}
	return l, nil
}

// sign writes the pid of this process, for whoever finds the lock taken. The pid of a holder that died is
// overwritten in one write, and what is left of a longer one is cut after it.
func (l *Lock) sign() error {
	pid := strconv.Itoa(os.Getpid()) + "\n"
	if _, err := l.file.WriteAt([]byte(pid), 0); err != nil {
		return err
	}
	return l.file.Truncate(int64(len(pid)))
}

// clearService removes an announcement, and what an interrupted write of one left, while nobody else can announce.
func clearService(dir string, files state.Files) error {
	return errors.Join(files.Clear(FileCleared, filepath.Join(dir, serviceFile)), removeService(dir, files))
}

// Release gives the lock back. The caller has stopped everything that uses the directory.
func (l *Lock) Release() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("release data directory: %w", err)
	}
	return nil
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// holder reads the pid in a lock file, 0 when there is none.
func holder(f *os.File) int {
	buf := make([]byte, 32)
	n, _ := f.ReadAt(buf, 0) // a short file ends in io.EOF
	line, _, found := strings.Cut(string(buf[:n]), "\n")
	pid, err := strconv.Atoi(line)
	if !found || err != nil {
		return 0
	}
	return pid
}

// Service is how a verb finds the service of a data directory.
type Service struct {
	PID        int    `json:"pid"`
	Socket     string `json:"socket,omitempty"`     // of Belay's own API
	Address    string `json:"address,omitempty"`    // host:port
	Kubeconfig string `json:"kubeconfig,omitempty"` // file
	Webhook    string `json:"webhook,omitempty"`    // host:port
}

// NotRunningError says that no service announces itself in the data directory.
type NotRunningError struct{ Dir string }

func (e *NotRunningError) Error() string {
	return fmt.Sprintf("no service is running on data directory %s", e.Dir)
}

// Hint says how to go on.
func (e *NotRunningError) Hint() string {
	return "start one with `belay serve`, or name its directory with --data-dir or " + dataDirVariable
}

// writeService announces the service; the holder of the lock does so when it is ready to answer.
func writeService(dir string, s Service, files state.Files) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("announce service: %w", err)
	}
	if err := files.Replace(FileService, filepath.Join(dir, serviceFile), append(data, '\n')); err != nil {
		return fmt.Errorf("announce service: %w", err)
	}
	return nil
}

// ReadService finds the service of a data directory; an absent one is a *NotRunningError. A service that was killed
// is still announced: connecting to it fails.
func ReadService(dir string) (Service, error) {
	data, err := os.ReadFile(filepath.Join(dir, serviceFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Service{}, &NotRunningError{Dir: dir}
	}
	if err != nil {
		return Service{}, fmt.Errorf("find service: %w", err)
	}
	var s Service
	if err := json.Unmarshal(data, &s); err != nil {
		return Service{}, fmt.Errorf("find service: %s: %w", filepath.Join(dir, serviceFile), err)
	}
	return s, nil
}

// removeService takes the announcement back; it is fine when there is none.
func removeService(dir string, files state.Files) error {
	err := files.Do(FileWithdrawn, func() error { return os.Remove(filepath.Join(dir, serviceFile)) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("withdraw service: %w", err)
	}
	return nil
}
