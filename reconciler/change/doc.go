// Package change plans what Belay writes to Git: the revert of commits, the fields of a Deployment set back in its
// files, the manifest of a removed one put back, and the one acceptance check that every change which nobody looks at
// has to pass.
//
// It is a function of trees and values: it renders trees before and after and compares. It never makes a commit, never
// pushes, and never decides that there should be a change: that is rollback's.
package change
