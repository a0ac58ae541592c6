// Package app is Belay as one value that starts and stops: configuration, data directory, wiring, and the order in
// which the parts come up and go down. The binary and the whole-system tests run the same app.
//
// It owns what a person can configure (Config, Flags), what a data directory is (DataDir, Lock, Service) and which
// part is given which collaborator. It never decides: what to do about a commit, a Deployment or a rollback is
// asked of the packages below.
package app
