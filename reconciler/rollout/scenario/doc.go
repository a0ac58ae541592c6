// Package scenario is the language in which the behaviour of Deployments is written down and tested: files of verbs,
// each followed by all that can be seen when everything has come to rest after it.
//
//	Case 5: one replica, surge 1, unavailable 0.
//
//	-- boot replicas=1 --
//	A 1/1/1 revision 1
//	...
//	-- image B --
//	event B 0→1
//	...
//
// A World is one store with one pair of controllers, run in lock-step: the Deployment controller until it rests, then
// the ReplicaSet controller, then the kubelet, until nothing changes. The controllers are an Engine, so that the same
// file runs against other ones. The kubelet only does what the verbs say: a pod becomes ready when told.
//
// The package serves tests. It never decides what is right: it prints what happened.
package scenario
