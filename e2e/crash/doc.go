// Package crash kills a real service at every moment at which something becomes durable or leaves the process, starts
// it again, and compares what comes of it with a run that nobody disturbed. It holds tests alone and never anything
// that other packages use.
package crash
