// Package quota says in the status of ResourceQuotas how much of them is used.
//
// It owns that status. It refuses nothing: what a quota allows is checked where objects are made, in the transaction.
package quota
