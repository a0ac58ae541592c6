package trigger

import (
	"context"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/rs/zerolog"
)

const (
	filesSettle = 50 * time.Millisecond // from the first of several events to one reading: who writes a file writes on
	maxFile     = 1 << 20
)

// FilesConfig says which files to watch.
type FilesConfig struct {
	// List names them; it is asked again at each check.
	List func() []string
	// Changed is called with a file whose content is another than at the check before, or that came or went. It may block.
	Changed func(name string)
	Log     zerolog.Logger
}

// WatchFiles reports files that change until ctx ends: at once where the file system tells, else within seconds. What a
// path leads to counts, however it is exchanged: the file itself, a link to it, or a directory on the way.
func WatchFiles(ctx context.Context, cfg FilesConfig) {
	w := fileWatch{cfg: cfg, seen: map[string]content{}, dirs: map[string]os.FileInfo{}}
	defer w.disarm()
	w.check(ctx)
	recheck := time.NewTicker(recheckTime)
	defer recheck.Stop()
	settled := time.NewTimer(time.Hour)
	settled.Stop()
	pending := false
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
			if !w.concerns(e.Name) {
				continue
			}
		case <-faults: // events were lost
		case <-recheck.C:
			w.check(ctx)
			continue
		case <-settled.C:
			pending = false
			w.check(ctx)
			continue
		}
		if !pending {
			pending = true
			settled.Reset(filesSettle)
		}
	}
}

// content is what a file was at a check.
type content struct {
	info os.FileInfo // nil: it could not be read
	sum  [sha256.Size]byte
}

// fileWatch is the state of one WatchFiles.
type fileWatch struct {
	cfg  FilesConfig
	fs   *fsnotify.Watcher
	dirs map[string]os.FileInfo // watched
	ways []string               // paths that lead to the files
	seen map[string]content
	told bool
}

// check reports what changed, and watches what leads to the files now.
func (w *fileWatch) check(ctx context.Context) {
	names := w.cfg.List()
	w.arm(names)
	for _, name := range names {
		was, known := w.seen[name]
		is := read(name, was)
		w.seen[name] = is
		if known && is.sum != was.sum && ctx.Err() == nil {
			w.cfg.Changed(name)
		}
	}
}

// read looks at a file, into it only when it is not the one it was.
func read(name string, was content) content {
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return content{}
	}
	if was.info != nil && os.SameFile(info, was.info) && info.Size() == was.info.Size() && info.ModTime().Equal(was.info.ModTime()) &&
		time.Since(info.ModTime()) > recheckTime { // one written twice within a tick of the clock looks the same
		return was
	}
	f, err := os.Open(name)
	if err != nil {
		return content{}
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, maxFile)); err != nil {
		return content{}
	}
	return content{info: info, sum: [sha256.Size]byte(h.Sum(nil))}
}

// arm watches the directories of the files, of what they are links to, and of the links between.
func (w *fileWatch) arm(names []string) {
	want := map[string]bool{}
	w.ways = nil
	for _, name := range names {
		for range 8 { // links to links
			want[filepath.Dir(name)] = true
			w.ways = append(w.ways, name)
			target, err := os.Readlink(name)
			if err != nil {
				break
			}
			if !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(name), target)
			}
			name = target
		}
		if real, err := filepath.EvalSymlinks(name); err == nil {
			want[filepath.Dir(real)] = true
			w.ways = append(w.ways, real)
		}
	}
	if w.fs == nil {
		var err error
		if w.fs, err = fsnotify.NewWatcher(); err != nil {
			w.fs = nil
			w.fault(err)
			return
		}
	}
	for dir := range w.dirs {
		if !want[dir] {
			_ = w.fs.Remove(dir) // it may be gone
			delete(w.dirs, dir)
		}
	}
	for dir := range want {
		info, err := os.Stat(dir)
		if err != nil {
			delete(w.dirs, dir)
			continue
		}
		if was, ok := w.dirs[dir]; ok {
			if os.SameFile(was, info) {
				continue
			}
			_ = w.fs.Remove(dir) // the watch is of the one that was there
		}
		if err := w.fs.Add(dir); err != nil {
			delete(w.dirs, dir)
			w.fault(err)
			continue
		}
		w.dirs[dir] = info
	}
}

// concerns reports whether a path is on the way to a file. Directories hold others that are written all the time.
func (w *fileWatch) concerns(name string) bool {
	return slices.ContainsFunc(w.ways, func(way string) bool { return way == name || strings.HasPrefix(way, name+string(filepath.Separator)) })
}

func (w *fileWatch) fault(err error) {
	if w.told {
		return
	}
	w.told = true
	w.cfg.Log.Warn().Err(err).Msg("cannot watch configuration files: changes are seen some seconds later")
}

func (w *fileWatch) disarm() {
	if w.fs != nil {
		_ = w.fs.Close() // it only gives up what it holds
	}
}
