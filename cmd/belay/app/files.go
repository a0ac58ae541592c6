package app

import "github.com/belay-dev/belay/state"

// The steps by which what a service keeps beside its state becomes durable. Those of its mirrors are package source's, those of
// the Kubernetes API's files package api's.
const (
	// FileDirectory makes the data directory, FileLock the file that says whose it is.
	FileDirectory state.FilePoint = "data directory"
	FileLock      state.FilePoint = "lock"
	// FileService announces the service, FileWithdrawn takes that back, FileCleared drops what a killed process left of it.
	FileService   state.FilePoint = "service announced"
	FileWithdrawn state.FilePoint = "service withdrawn"
	FileCleared   state.FilePoint = "service cleared"
	// FileSocket is where Belay's own API answers, FileSocketGone takes away the one of a killed process.
	FileSocket     state.FilePoint = "socket"
	FileSocketGone state.FilePoint = "socket gone"
	// FileCache makes a directory of the cache, FileCached gives a result of rendering its name, FileForgotten drops one,
	// FileCacheCleared what killed processes left of some.
	FileCache        state.FilePoint = "cache directory"
	FileCached       state.FilePoint = "cached"
	FileForgotten    state.FilePoint = "cached gone"
	FileCacheCleared state.FilePoint = "cache cleared"
	// FileMirrorGone drops the copy of a repository that nobody follows.
	FileMirrorGone state.FilePoint = "mirror gone"
)
