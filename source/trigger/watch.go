package trigger

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/rs/zerolog"
)

const (
	settleTime  = 2 * time.Millisecond   // from the first of several events to one reading of the branch
	stormTime   = 100 * time.Millisecond // from one report that the branch moved to the next
	recheckTime = 2 * time.Second        // between two checks that the directory watched is the one in use
)

// WatchConfig says which branch of a repository on this machine to watch.
type WatchConfig struct {
	// Dir finds the Git directory. It is asked again when what it named is gone or was replaced.
	Dir func() (string, error)
	// Branch is the short name of a branch.
	Branch string
	// Moved is called whenever the branch is not where it was, and once at the start; it must not block.
	Moved func()
	Log   zerolog.Logger

	open    func() (*fsnotify.Watcher, error) // set by tests
	recheck time.Duration
}

// Watch reports moves of a branch within milliseconds until ctx ends. It may miss some, where the file system does not
// tell or the system has no watches left, and never replaces the interval. Only directories are watched, and only those
// that can hold the branch; that files are written there for any other reason is not reported.
func Watch(ctx context.Context, cfg WatchConfig) {
	if cfg.open == nil {
		cfg.open, cfg.recheck = fsnotify.NewWatcher, recheckTime
	}
	w := watch{cfg: cfg, at: "unknown"}
	defer w.disarm()
	recheck := time.NewTicker(cfg.recheck)
	defer recheck.Stop()
	settled := time.NewTimer(0)
	defer settled.Stop()
	pending := true
	for {
		var events chan fsnotify.Event
		var faults chan error
		if w.fs != nil {
			events, faults = w.fs.Events, w.fs.Errors
		}
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if pending || strings.HasSuffix(e.Name, ".lock") {
				continue
			}
		case <-faults: // events were lost
			if pending {
				continue
			}
		case <-recheck.C:
		case <-settled.C:
			pending = false
			w.look()
			continue
		}
		pending = true
		settled.Reset(max(settleTime, time.Until(w.quiet)))
	}
}

// watch is the state of one Watch.
type watch struct {
	cfg   WatchConfig
	fs    *fsnotify.Watcher      // nil: nothing is watched
	dirs  map[string]os.FileInfo // what is watched
	root  string                 // the Git directory
	at    string                 // where the branch was seen last
	quiet time.Time              // no look before
	told  bool                   // that watching does not work
}

// look watches what must be watched by now and reports when the branch moved.
func (w *watch) look() {
	if !w.intact() {
		w.disarm()
		w.arm()
	}
	w.extend()
	at := ""
	if w.root != "" {
		at = readRef(w.root, "refs/heads/"+w.cfg.Branch, 0)
	}
	if at == w.at {
		return
	}
	w.at = at
	w.quiet = time.Now().Add(stormTime)
	w.cfg.Moved()
}

// intact reports whether everything watched is still what lies at its path.
func (w *watch) intact() bool {
	if w.fs == nil {
		return false
	}
	if dir, err := w.cfg.Dir(); err != nil || dir != w.root {
		return false
	}
	for name, was := range w.dirs {
		is, err := os.Stat(name)
		if err != nil && errors.Is(err, fs.ErrNotExist) && name != w.root {
			continue // Git removes directories of branches that become empty
		}
		if err != nil || !os.SameFile(was, is) {
			return false
		}
	}
	return true
}

// arm begins to watch the Git directory, if there is one.
func (w *watch) arm() {
	dir, err := w.cfg.Dir()
	if err != nil {
		return // whoever looks says what is wrong
	}
	w.root = dir
	w.fs, err = w.cfg.open()
	if err != nil {
		w.fs = nil
		w.fault(err)
	}
}

// extend watches the directories on the way to the branch, as far as they exist.
func (w *watch) extend() {
	if w.fs == nil {
		return
	}
	name := w.root
	parts := append([]string{"", "refs", "heads"}, strings.Split(w.cfg.Branch, "/")...)
	for _, part := range parts[:len(parts)-1] {
		name = filepath.Join(name, part)
		info, err := os.Stat(name)
		if err != nil || !info.IsDir() {
			delete(w.dirs, name)
			continue
		}
		if was, ok := w.dirs[name]; ok && os.SameFile(was, info) {
			continue
		}
		if err := w.fs.Add(name); err != nil {
			w.fault(err)
			continue
		}
		w.dirs[name] = info
	}
}

func (w *watch) fault(err error) {
	if w.told || errors.Is(err, fs.ErrNotExist) {
		return
	}
	w.told = true
	w.cfg.Log.Warn().Str("branch", w.cfg.Branch).Err(err).Msg("cannot watch the repository: new commits are seen at the interval only")
}

func (w *watch) disarm() {
	if w.fs != nil {
		_ = w.fs.Close() // it only gives up what it holds
	}
	w.fs, w.dirs, w.root = nil, map[string]os.FileInfo{}, ""
}

// readRef returns where a reference points: the content of its file, else its line in packed-refs; empty when it does
// not exist or cannot be read. A symbolic one is followed.
func readRef(dir, name string, depth int) string {
	if depth > 5 || !filepath.IsLocal(name) {
		return ""
	}
	if at := readLine(filepath.Join(dir, filepath.FromSlash(name))); at != "" {
		if target, ok := strings.CutPrefix(at, "ref: "); ok {
			return readRef(dir, strings.TrimSpace(target), depth+1)
		}
		return at
	}
	f, err := os.Open(filepath.Join(dir, "packed-refs"))
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if at, ref, ok := strings.Cut(lines.Text(), " "); ok && ref == name {
			return at
		}
	}
	return ""
}

func readLine(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
