// Package event records Kubernetes Events: what a controller did to an object, told to people.
//
// It owns the wording-free part of Events: names, involved object, source, times, counting, combining and
// throttling, all as client-go's recorder does it. It never decides that something is worth an Event, never reads
// Events to decide anything, and never deletes them (package garbage does, after an hour).
package event
