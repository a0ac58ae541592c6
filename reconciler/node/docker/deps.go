//go:build deps

package docker

// Required from the first commit on: see state/api/deps.go.
import (
	_ "github.com/moby/moby/api/types/container"
	_ "github.com/moby/moby/client"
)
