// Package fake is a driver of reconciler/node in memory: its containers are functions of this process. It keeps what a
// driver promises, under the clock of a testing/synctest bubble too, and lets a test break it.
//
// It owns pods that nothing outside of it can see, and never starts a process or opens a socket.
package fake
