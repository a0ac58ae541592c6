package source

import (
	"errors"
	"io/fs"
	"os"
)

// Point is a step by which a mirror makes something durable on this machine, or a push at a remote, for Config.Points. A
// process that ends before the step, amid it or after it leaves what the next one goes on from.
type Point string

const (
	// PointDirectory makes directories, PointFile a file of the mirror that says what it is.
	PointDirectory Point = "mirror directory"
	PointFile      Point = "mirror file"
	// PointIndex gives the index of a pack its name, PointPack the pack.
	PointIndex Point = "mirror index"
	PointPack  Point = "mirror pack"
	// PointKept keeps a head that a branch has left, PointHead moves a branch of the mirror.
	PointKept Point = "mirror kept ref"
	PointHead Point = "mirror head"
	// PointForgotten drops the branches of a repository that the mirror is no more of.
	PointForgotten Point = "mirror refs forgotten"
	// PointMerged drops a pack whose objects are in a larger one, PointMergedIndex its index.
	PointMerged      Point = "mirror pack dropped"
	PointMergedIndex Point = "mirror index dropped"
	// PointCleared drops what an interrupted fetch, or an interrupted exchange of the mirror, left.
	PointCleared Point = "mirror cleared"
	// PointAside moves a damaged mirror out of the way, PointExchanged puts the one made anew in its place.
	PointAside     Point = "mirror set aside"
	PointExchanged Point = "mirror exchanged"
	// PointObject puts an object of a commit into a repository on this machine, PointLock takes Git's lock on the branch, or
	// takes away one that a killed push left, PointBranch moves the branch, PointUnlock drops what is left of the lock.
	PointObject Point = "push object"
	PointLock   Point = "push lock"
	PointBranch Point = "push branch"
	PointUnlock Point = "push unlock"
	// PointSend sends a commit to a remote, and ends with the remote's answer.
	PointSend Point = "push send"
)

// points is told before and after each step; nil: nobody is.
type points func(p Point, done bool)

// do takes a step. Nothing in this package makes anything durable by another way.
func (s points) do(p Point, f func() error) error {
	if s != nil {
		s(p, false)
	}
	err := f()
	if s != nil {
		s(p, true)
	}
	return err
}

// mkdir makes a directory with all above it, unless it is there.
func (s points) mkdir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	return s.do(PointDirectory, func() error { return os.MkdirAll(dir, 0o755) })
}

// discard drops a temporary file, unless it has its name already.
func discard(f *os.File) error {
	if err := os.Remove(f.Name()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
