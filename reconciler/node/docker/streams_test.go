package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/tools/remotecommand"
)

// TestFollowSizes has an engine that refuses the first size it is told, and one that takes sizes before there is a terminal,
// and loses them.
func TestFollowSizes(t *testing.T) {
	for _, forgets := range []bool{false, true} {
		t.Run(fmt.Sprint("forgets ", forgets), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				sizes, done := make(chan remotecommand.TerminalSize), make(chan struct{})
				var told []uint16
				go func() {
					defer close(done)
					follow(ctx, sizes, func(_ context.Context, size remotecommand.TerminalSize) error {
						told = append(told, size.Width)
						if len(told) == 1 {
							return errors.New("it has not begun")
						}
						return nil
					}, forgets)
				}()
				sizes <- remotecommand.TerminalSize{Width: 80}
				sizes <- remotecommand.TerminalSize{Width: 132}
				close(sizes)
				<-time.After(10 * time.Second)
				cancel()
				<-done
				want := []uint16{80, 80, 132}
				if forgets {
					want = append(want, 132, 132, 132, 132, 132, 132) // after 0.1, 0.3, 0.7, 1.5, 3.1 and 6.3 seconds
				}
				if !slices.Equal(told, want) {
					t.Errorf("told %v, want %v", told, want)
				}
			})
		})
	}
}
