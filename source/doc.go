// Package source owns Git: a bare mirror of one branch of one repository, looking for new commits, the commits
// between two heads as steps, and the file tree of one commit as a read-only snapshot. It also builds commits on such
// trees, in memory, and pushes them: reverts with git's own results, and edits of files.
//
// The mirror is a cache. What it holds is verified by hash whenever it is read; a mirror that turns out damaged
// is set aside and made anew, and the caller goes on from the commit it remembers itself.
//
// A push names the commit that the branch is to be moved from, so that the remote moves it from there or not at all. It is
// never forced.
//
// The package never runs the git binary, never checks a tree out, and does not know what a Deployment is.
package source
