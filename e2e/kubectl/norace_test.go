//go:build !race

package kubectl

// raced says that this binary has the race detector.
const raced = false
