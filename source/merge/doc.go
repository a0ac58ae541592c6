// Package merge owns the three-way merge: of the lines of a file and of the trees of a commit, with the results that
// git merge, git revert and git cherry-pick give. It is pure: objects are read through a Store, and what comes out is a
// list of edits.
//
// It never follows a renamed file. Where git might follow one and come to another result, it refuses, so that its
// answer is git's or none. It never writes conflict markers: a conflict is an error that names the file and the line.
package merge
