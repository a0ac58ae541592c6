// Package forge owns what Git hosts have beside Git: the address at which a person compares a branch and merges it.
//
// It goes by the shape of a repository's address alone. It never asks a host, and knows no credentials.
package forge
