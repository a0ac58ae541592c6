package api

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/apiserver/pkg/endpoints/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// metricsPath is where /metrics lies.
const metricsPath = "/metrics"

// metricsHandler answers with the API server's own metrics, which are the process's, and those of the service.
func metricsHandler(service prometheus.Gatherer) http.Handler {
	metrics.Register()
	all := prometheus.Gatherers{legacyregistry.DefaultGatherer}
	if service != nil {
		all = append(all, service)
	}
	return promhttp.HandlerFor(all, promhttp.HandlerOpts{})
}
