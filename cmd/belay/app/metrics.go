package app

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/reconciler"
	"github.com/belay-dev/belay/reconciler/engine"
	"github.com/belay-dev/belay/reconciler/ledger"
	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

// metrics is what of the service is measured, beside the API server's own. What runs and what is held is read when
// somebody asks.
type metrics struct {
	*prometheus.Registry
	store *state.Store

	polls          *prometheus.CounterVec
	sync           *prometheus.HistogramVec
	live, rollback prometheus.Histogram
	revision, hold *prometheus.Desc
}

var (
	_ reconciler.Observer  = (*metrics)(nil)
	_ prometheus.Collector = (*metrics)(nil)
)

// Results of a look, as the label says them.
const (
	pollChanged   = "changed"
	pollUnchanged = "unchanged"
	pollError     = "error"
)

func newMetrics(store *state.Store) *metrics {
	// From what a machine does by itself to what takes a slow rollout.
	quick, slow := prometheus.ExponentialBuckets(0.001, 4, 9), prometheus.ExponentialBuckets(0.25, 2, 14)
	m := &metrics{
		Registry: prometheus.NewPedanticRegistry(), store: store,
		polls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belay_poll_total", Help: "Looks at a source, by what came of them: changed, unchanged or error.",
		}, []string{"source", "result"}),
		sync: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "belay_sync_duration_seconds", Buckets: quick,
			Help: "Time from when new commits were there until they were recorded and applied.",
		}, []string{"source"}),
		live: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "belay_push_to_live_seconds", Buckets: slow,
			Help: "Time from when a commit was first seen until a Deployment ran it completely.",
		}),
		rollback: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "belay_rollback_seconds", Buckets: slow,
			Help: "Time from when a rollback was asked for until the Deployment ran its target completely.",
		}),
		revision: prometheus.NewDesc("belay_revision_info", "The revision and the commit that a Deployment runs; always 1.",
			[]string{"namespace", "deployment", "revision", "commit"}, nil),
		hold: prometheus.NewDesc("belay_hold", "Deployments that are held while Git may say otherwise; always 1.",
			[]string{"namespace", "deployment", "revision", "manual"}, nil),
	}
	m.MustRegister(m.polls, m.sync, m.live, m.rollback, m)
	return m
}

// Looked counts a look at a source.
func (m *metrics) Looked(source string, took time.Duration, news bool, err error) {
	result := pollUnchanged
	switch {
	case err != nil:
		result = pollError
	case news:
		result = pollChanged
		m.sync.WithLabelValues(source).Observe(took.Seconds())
	}
	m.polls.WithLabelValues(source, result).Inc()
}

// Ended measures how long it took what now runs completely.
func (m *metrics) Ended(r state.Row) {
	if r.Outcome != ledger.Complete || r.RecordedAt.IsZero() || r.Past > 0 {
		return
	}
	took := r.EndedAt.Sub(r.RecordedAt).Seconds()
	switch r.Operation {
	case "":
		m.live.Observe(took)
	case rollback.OperationRollback:
		m.rollback.Observe(took)
	}
}

// Describe names what Collect gives.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	to <- m.revision
	to <- m.hold
}

// Collect reads what runs now and what is held.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	one := func(d *prometheus.Desc, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, 1, labels...)
	}
	for _, d := range state.List[*appsv1.Deployment](m.store, "") {
		if _, ok := m.store.Managed(state.KeyOf(d)); ok {
			one(m.revision, d.Namespace, d.Name, d.Annotations[rollout.RevisionAnnotation], d.Annotations[engine.AnnotationCommit])
		}
	}
	for _, h := range m.store.Holds() {
		one(m.hold, h.Namespace, h.Name, strconv.FormatInt(h.Revision, 10), strconv.FormatBool(h.Manual))
	}
}
