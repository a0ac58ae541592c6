package api

import (
	"github.com/rs/zerolog"
	auditapi "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// auditPolicy has every request recorded that may change something.
type auditPolicy struct{}

func (auditPolicy) EvaluatePolicyRule(a authorizer.Attributes) audit.RequestAuditConfig {
	level := auditapi.LevelMetadata
	if a.IsReadOnly() || a.GetAPIGroup() == "authorization.k8s.io" {
		level = auditapi.LevelNone
	}
	return audit.RequestAuditConfig{Level: level, OmitStages: []auditapi.Stage{auditapi.StageRequestReceived, auditapi.StageResponseStarted}}
}

// auditLog writes one line a request into the log.
type auditLog struct{ log zerolog.Logger }

var _ audit.Backend = auditLog{}

func (auditLog) Run(<-chan struct{}) error { return nil }
func (auditLog) Shutdown()                 {}
func (auditLog) String() string            { return "log" }

func (l auditLog) ProcessEvents(events ...*auditapi.Event) bool {
	for _, e := range events {
		line := l.log.Info().Str("user", e.User.Username).Str("verb", e.Verb).Str("audit", string(e.AuditID))
		if o := e.ObjectRef; o != nil {
			line = line.Str("resource", o.Resource).Str("namespace", o.Namespace).Str("name", o.Name)
			if o.Subresource != "" {
				line = line.Str("subresource", o.Subresource)
			}
		} else {
			line = line.Str("path", e.RequestURI)
		}
		if e.ResponseStatus != nil {
			line = line.Int32("code", e.ResponseStatus.Code)
		}
		line.Msg("api write")
	}
	return true
}
