// Package image will resolve, pull and keep container images for the drivers of reconciler/node.
//
// It owns the registry client and never starts anything. Today it holds the module requirement alone (deps.go).
package image
