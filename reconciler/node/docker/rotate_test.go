package docker_test

import (
	"bufio"
	"fmt"
	"testing"

	"github.com/belay-dev/belay/reconciler/node"
)

// TestFollowedLogHasAll follows a container that writes faster than its log is read, so that the engine rotates the files
// under the reader: no line is missing, comes twice, or out of order.
func TestFollowedLogHasAll(t *testing.T) {
	const lines = 300_000 // two files and a half, as the engine writes them
	r, ctx := open(t), within(t)
	ref := present(t, r)
	img, _, err := r.Image(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	sandboxOf(ctx, t, r, "followed")
	id, err := r.Start(ctx, node.Container{Pod: "followed", Name: "c", Ref: ref, Image: img.ID, Args: []string{"lines", fmt.Sprint(lines)}})
	if err != nil {
		t.Fatal(err)
	}
	logs, err := r.Logs(ctx, id, node.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	read := bufio.NewScanner(logs)
	for n := 1; n <= lines; n++ {
		if !read.Scan() {
			t.Fatalf("the log ends before line %d: %v", n, read.Err())
		}
		if want := fmt.Sprint("line ", n); read.Text() != want {
			t.Fatalf("%q comes where %q should", read.Text(), want)
		}
	}
	if err := r.Stop(ctx, id, 0); err != nil {
		t.Fatal(err)
	}
	if read.Scan() || read.Err() != nil {
		t.Errorf("after the end comes %q, %v", read.Text(), read.Err())
	}
}
