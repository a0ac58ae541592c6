// Package e2e tests Belay as a whole, in-process, through the app that the binary runs: scenarios, the order of
// imports, benchmarks.
//
// It owns what no single package can promise. It is never imported, and never reaches into a package's insides.
package e2e
