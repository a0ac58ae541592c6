// Package source owns Git: a bare mirror of one branch of one repository, looking for new commits, the commits
// between two heads as steps, and the file tree of one commit as a read-only snapshot.
//
// The mirror is a cache. What it holds is verified by hash whenever it is read; a mirror that turns out damaged
// is set aside and made anew, and the caller goes on from the commit it remembers itself.
//
// The package never runs the git binary, never checks a tree out, and does not know what a Deployment is.
package source
