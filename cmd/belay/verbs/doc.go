// Package verbs is the command line: one file per verb with its flags and its printing, and what all verbs print
// with (Table, Age, PrintError).
//
// It owns words and exit codes. It never reaches a running service except through package control or the Kubernetes
// API, and never decides: what needs no service is asked of package app.
package verbs
