// Package cli tests the command line as its users meet it: every script of testdata runs the real verbs in processes
// of their own, against real Git repositories. It holds tests alone and never anything that other packages use.
package cli
