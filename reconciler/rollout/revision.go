package rollout

import (
	"maps"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// Annotations the controller keeps.
const (
	RevisionAnnotation        = "deployment.kubernetes.io/revision"
	RevisionHistoryAnnotation = "deployment.kubernetes.io/revision-history"
	DesiredAnnotation         = "deployment.kubernetes.io/desired-replicas"
	MaxAnnotation             = "deployment.kubernetes.io/max-replicas"
)

// maxHistoryLength bounds the revision history annotation, in characters.
const maxHistoryLength = 2000

// copied reports whether an annotation travels between a Deployment and its ReplicaSets.
func copied(key string) bool {
	switch key {
	case corev1.LastAppliedConfigAnnotation, RevisionAnnotation, RevisionHistoryAnnotation, DesiredAnnotation,
		MaxAnnotation, appsv1.DeprecatedRollbackTo:
		return false
	}
	return true
}

// Revision returns the revision number of a ReplicaSet or Deployment by its annotations. 0 and true: it has none
// yet; false: the annotation is no number.
func Revision(annotations map[string]string) (int64, bool) {
	text, ok := annotations[RevisionAnnotation]
	if !ok {
		return 0, true
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// maxRevision returns the highest readable revision, 0 when there is none.
func maxRevision(list []*member) int64 {
	var highest int64
	for _, m := range list {
		if n, ok := Revision(m.Annotations); ok {
			highest = max(highest, n)
		}
	}
	return highest
}

// previousRevision returns the second highest readable revision, 0 when there are not two.
func previousRevision(list []*member) int64 {
	var highest, second int64
	for _, m := range list {
		n, ok := Revision(m.Annotations)
		switch {
		case !ok:
		case n >= highest:
			second, highest = highest, n
		case n > second:
			second = n
		}
	}
	return second
}

// newAnnotations returns the annotations the new ReplicaSet should have: its own, those of the Deployment that travel,
// and the revision raised to target with the former number kept in the history. Annotations gone from the Deployment
// stay. A present revision that is no number is left alone.
func newAnnotations(d *appsv1.Deployment, rs *appsv1.ReplicaSet, target int64) map[string]string {
	annotations := maps.Clone(rs.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	for key, value := range d.Annotations {
		if copied(key) {
			annotations[key] = value
		}
	}
	former, had := annotations[RevisionAnnotation]
	number, err := strconv.ParseInt(former, 10, 64)
	if err != nil && former != "" {
		return annotations
	}
	if number >= target {
		return annotations
	}
	annotations[RevisionAnnotation] = strconv.FormatInt(target, 10)
	if had {
		if history, ok := appendHistory(annotations[RevisionHistoryAnnotation], former); ok {
			annotations[RevisionHistoryAnnotation] = history
		}
	}
	return annotations
}

// appendHistory adds a number to a comma-separated list and drops the oldest while it is too long; false when even
// that does not help.
func appendHistory(history, number string) (string, bool) {
	if history == "" || strings.HasPrefix(history, ",") {
		return number, true
	}
	list := history + "," + number
	for len(list) > maxHistoryLength {
		_, rest, more := strings.Cut(list, ",")
		if !more {
			return "", false
		}
		list = rest
	}
	return list, true
}

// sizeAnnotations returns annotations with the Deployment's size and ceiling noted, and whether that changed them.
func sizeAnnotations(annotations map[string]string, b bounds) (map[string]string, bool) {
	desired, ceiling := strconv.Itoa(int(b.replicas)), strconv.Itoa(int(b.ceiling()))
	if annotations[DesiredAnnotation] == desired && annotations[MaxAnnotation] == ceiling {
		return annotations, false
	}
	annotations = maps.Clone(annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[DesiredAnnotation], annotations[MaxAnnotation] = desired, ceiling
	return annotations, true
}

// rollbackAsked returns the revision a legacy rollback request names; 0 means the previous one.
func rollbackAsked(d *appsv1.Deployment) (int64, bool) {
	n, err := strconv.ParseInt(d.Annotations[appsv1.DeprecatedRollbackTo], 10, 64)
	return n, err == nil
}

// rolledBackAnnotations returns the Deployment's annotations after a rollback to rs: those that never travel are its
// own, all others are the ReplicaSet's.
func rolledBackAnnotations(d *appsv1.Deployment, rs *appsv1.ReplicaSet) map[string]string {
	annotations := map[string]string{}
	for key, value := range d.Annotations {
		if !copied(key) {
			annotations[key] = value
		}
	}
	for key, value := range rs.Annotations {
		if copied(key) {
			annotations[key] = value
		}
	}
	return annotations
}
