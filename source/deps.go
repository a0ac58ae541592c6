//go:build deps

package source
import (
 _ "github.com/go-git/go-git/v5"
)
