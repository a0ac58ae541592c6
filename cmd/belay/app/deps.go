//go:build deps

package app

// Required from the first commit on: see state/api/deps.go. Metrics are registered by the wiring.
import (
	_ "github.com/prometheus/client_golang/prometheus"
	_ "github.com/prometheus/client_golang/prometheus/promhttp"
)
