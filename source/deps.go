//go:build deps

package source

// Required from the first commit on: see state/api/deps.go. The package works on go-git's storage and formats; its
// porcelain will push.
import (
	_ "github.com/go-git/go-git/v5"
)
