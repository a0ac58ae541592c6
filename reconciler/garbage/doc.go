// Package garbage deletes what nobody owns any more, and Events that nobody needs any more.
//
// It owns Kubernetes' rules about owner references (background, foreground and orphaning deletion) and the life
// time of Events. It never deletes an object without owner references, never one whose owner is of a kind that is
// not kept here, and never decides that an object should go: its owner's deletion did.
package garbage
