// Package controller is the one shell that every controller of Belay runs in: it watches state, keeps a queue of
// keys, calls Reconcile for one key at a time and wakes it again when Reconcile asked for that.
//
// It owns the goroutines, the queue, the retries and the timer, and, for controllers whose objects own others, whose keys a
// change of those concerns. It never decides anything: what to do with a key is the Reconcile function's, which is
// level-triggered. It is told which key to look at, never what happened. A Pause keeps the workers from the next key while people
// wait for an answer.
//
//	state ── watch ──▶ Keys(event) ──▶ queue ──▶ Reconcile(ctx, key, now) ──▶ wakeAt ─┐
//	  ▲                                  ▲                 │                          │
//	  └───────────── writes ─────────────┼─────────────────┘                          │
//	                                     └──────────── error: back-off ◀── timer ◀────┘
package controller
