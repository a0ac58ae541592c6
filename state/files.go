package state

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// FilePoint is a step by which a file beside the state's becomes durable, or goes. Whoever writes the file names it.
type FilePoint string

// Files is told before and after each such step, also of one that fails; nil: nobody is. A process that ends before the
// step, amid it or after it leaves what the next one goes on from.
type Files func(p FilePoint, done bool)

// Do takes a step.
func (f Files) Do(p FilePoint, step func() error) error {
	if f != nil {
		f(p, false)
	}
	err := step()
	if f != nil {
		f(p, true)
	}
	return err
}

// Replace replaces a file in one step: a reader, or a crash at any moment, finds the old content or the new one. Nobody
// else may read it at any moment: its mode is 0600.
func (f Files) Replace(p FilePoint, path string, data []byte) error {
	fill := func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
	return writeAs(path, fill, func(fresh string) error {
		return f.Do(p, func() error { return replaceFile(fresh, path) })
	})
}

// Clear removes what processes left that were killed while they replaced files: those that a pattern of package filepath
// names. Nobody replaces one of them meanwhile.
func (f Files) Clear(p FilePoint, pattern string) error {
	left, err := filepath.Glob(pattern + freshSuffix)
	for _, name := range left {
		err = errors.Join(err, f.Do(p, func() error { return os.Remove(name) }))
	}
	return err
}

// freshSuffix is the end of the name that a file has until it replaces another.
const freshSuffix = ".*.tmp"

// writeAs writes a file under a name of its own, durably, and calls name to give it the one that it is to have. Nothing
// stays of it when one of them fails.
func writeAs(path string, fill func(io.Writer) error, name func(fresh string) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+freshSuffix) // mode 0600
	if err != nil {
		return &Error{Op: "write", Path: path, Err: bare(err)}
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // it may have its final name already
		}
	}()
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return name(f.Name())
}
