// Package image knows container images for the drivers of reconciler/node: their names, what a registry is shown, why a
// pull failed, and where there is no engine that does it, how they are pulled, kept and unpacked.
//
// It owns the registry client. It never starts anything, and never writes outside of the directory it was given: layers
// are hostile.
package image
