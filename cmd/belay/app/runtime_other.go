//go:build !linux

package app

import (
	"context"
	"errors"
)

// openEmbedded says that there is none.
func (a *App) openEmbedded(context.Context) (chosen, error) {
	return chosen{}, &hinted{errors.New("runtime embedded: it takes Linux"), "start a Docker engine, or choose --runtime simulated"}
}
