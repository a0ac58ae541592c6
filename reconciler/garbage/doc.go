// Package garbage deletes what nobody owns any more, and Events that nobody needs any more.
//
// It owns Kubernetes' rules about owner references (background, foreground and orphaning deletion), about what is in a
// namespace that is being deleted, and the life time of Events. It never deletes an object without owner references in
// a namespace that stays, never one whose owner is of a kind that is not kept here, and never decides that an object
// should go: the deletion of its owner, or of its namespace, did.
package garbage
