// Package embedded is a driver of reconciler/node that needs no engine: each pod is a process of its own, the shim, in
// Linux namespaces, with images unpacked from a registry. It works for root, and for an ordinary user in a user namespace.
//
// It owns the directories of pods, which tell everything about them to whoever opens the driver next, and the control groups
// of their containers. It never decides what runs when: the kubelet does; and it never weakens the isolation to make
// something work: what a machine does not allow, Open says.
//
//	UID/pod.json             the node.Sandbox
//	UID/SANDBOX/             a shim's directory: see package shim
//	UID/SANDBOX/RUN/         what a run wrote over its image, run.json and its log
package embedded
