// Package quota says in the status of ResourceQuotas how much of them is used.
//
// It owns that status. It never refuses anything: what a quota allows is checked where objects are made, in the
// transaction.
package quota
