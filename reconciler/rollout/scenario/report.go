package scenario

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

// replicaSets returns all ReplicaSets in the order of creation.
func (w *World) replicaSets() []*appsv1.ReplicaSet {
	sets := state.List[*appsv1.ReplicaSet](w.Store, "")
	slices.SortFunc(sets, func(a, b *appsv1.ReplicaSet) int { return cmp.Compare(a.UID, b.UID) })
	return sets
}

var generated = regexp.MustCompile(`^` + deploymentName + `-[456789bcdf]{1,10}$`)

// aliases maps the names of ReplicaSets to short ones: the image, with a prime for each older one of the same image.
// Those whose names were not made by the Deployment controller keep them.
func (w *World) aliases() map[string]string {
	aliases := map[string]string{}
	used := map[string]bool{}
	for _, rs := range w.replicaSets() {
		alias := rs.Name
		if generated.MatchString(rs.Name) {
			alias = rs.Spec.Template.Spec.Containers[0].Image
		}
		for used[alias] {
			alias += "'"
		}
		used[alias], aliases[rs.Name] = true, alias
	}
	return aliases
}

// short puts aliases in place of names; names of pods lose their random part.
func short(text string, aliases map[string]string) string {
	for _, name := range slices.Sorted(maps.Keys(aliases)) {
		text = regexp.MustCompile(regexp.QuoteMeta(name)+`-[a-z0-9]{5}\b`).ReplaceAllString(text, aliases[name]+"-*")
		text = strings.ReplaceAll(text, name, aliases[name])
	}
	return text
}

var scaled = regexp.MustCompile(`^Scaled (?:up|down) replica set (\S+) from (\d+) to (\d+)$`)

// eventReport prints Events: sizes one by one, pods counted where they follow each other.
func eventReport(told []Told, aliases map[string]string) []string {
	var lines []string
	count := 0
	told = byReason(told)
	for i, e := range told {
		text := short(e.Message, aliases)
		if m := scaled.FindStringSubmatch(text); m != nil && e.Kind == string(state.KindDeployment) {
			lines = append(lines, fmt.Sprintf("event %s %s→%s", m[1], m[2], m[3]))
			continue
		}
		if e.Kind == string(state.KindReplicaSet) && strings.HasPrefix(e.Reason, "Successful") {
			if count++; i+1 < len(told) && told[i+1].Kind == e.Kind && told[i+1].Name == e.Name && told[i+1].Reason == e.Reason {
				continue
			}
			lines = append(lines, fmt.Sprintf("event %s %s ×%d", short(e.Name, aliases), e.Reason, count))
			count = 0
			continue
		}
		// How often something refused is tried again is nobody's business.
		line := fmt.Sprintf("event %s %s %s: %s", short(e.Name, aliases), e.Type, e.Reason, text)
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// byReason sorts Events that follow each other about one ReplicaSet: pods may be created side by side.
func byReason(told []Told) []Told {
	sorted := slices.Clone(told)
	for i := 0; i < len(sorted); {
		end := i + 1
		for end < len(sorted) && sorted[i].Kind == string(state.KindReplicaSet) && sorted[end].Name == sorted[i].Name {
			end++
		}
		slices.SortStableFunc(sorted[i:end], func(a, b Told) int { return cmp.Compare(a.Reason, b.Reason) })
		i = end
	}
	return sorted
}

// report prints everything a user can see.
func (w *World) report() string {
	aliases := w.aliases()
	told := w.engine.Events()
	for _, e := range told {
		// A ReplicaSet may be gone by now.
		if _, ok := aliases[e.Name]; !ok && e.Kind == string(state.KindReplicaSet) {
			aliases[e.Name] = "gone"
		}
	}
	lines := eventReport(told, aliases)
	d, err := w.deployment()
	for _, rs := range w.replicaSets() {
		lines = append(lines, replicaSetReport(rs, d, aliases[rs.Name]))
	}
	if err != nil {
		return strings.Join(append(lines, "no Deployment"), "\n")
	}
	s := d.Status
	terminating := "?"
	if s.TerminatingReplicas != nil {
		terminating = fmt.Sprint(*s.TerminatingReplicas)
	}
	line := fmt.Sprintf("web %d desired, %d total, %d updated, %d ready, %d available, %d unavailable, %s terminating; revision %s",
		*d.Spec.Replicas, s.Replicas, s.UpdatedReplicas, s.ReadyReplicas, s.AvailableReplicas, s.UnavailableReplicas,
		terminating, cmp.Or(d.Annotations[rollout.RevisionAnnotation], "-"))
	if s.CollisionCount != nil {
		line += fmt.Sprintf(", collisions %d", *s.CollisionCount)
	}
	if s.ObservedGeneration != d.Generation {
		line += fmt.Sprintf(", generation %d observed %d", d.Generation, s.ObservedGeneration)
	}
	lines = append(lines, line)
	for _, c := range s.Conditions {
		lines = append(lines, short(fmt.Sprintf("  %s %s %s", c.Type, c.Status, c.Reason), aliases))
	}
	return strings.Join(append(lines, rolloutStatus(d)), "\n")
}

func replicaSetReport(rs *appsv1.ReplicaSet, d *appsv1.Deployment, alias string) string {
	line := fmt.Sprintf("%s %d/%d/%d", alias, *rs.Spec.Replicas, rs.Status.Replicas, rs.Status.AvailableReplicas)
	if n := rs.Annotations[rollout.RevisionAnnotation]; n != "" {
		line += " revision " + n
	}
	if h := rs.Annotations[rollout.RevisionHistoryAnnotation]; h != "" {
		line += " was " + h
	}
	if desired := rs.Annotations[rollout.DesiredAnnotation]; desired != "" {
		line += fmt.Sprintf(" (of %s, max %s)", desired, rs.Annotations[rollout.MaxAnnotation])
	}
	if len(rs.OwnerReferences) == 0 {
		line += ", nobody's"
	}
	for _, c := range rs.Status.Conditions {
		line += fmt.Sprintf(", %s %s %s", c.Type, c.Status, c.Reason)
	}
	if d != nil && rs.Spec.MinReadySeconds != 0 {
		line += fmt.Sprintf(", min ready %ds", rs.Spec.MinReadySeconds)
	}
	return line
}

// rolloutStatus is what `kubectl rollout status` says, without the name.
func rolloutStatus(d *appsv1.Deployment) string {
	s := d.Status
	for _, c := range s.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Reason == "ProgressDeadlineExceeded" && d.Generation <= s.ObservedGeneration {
			return fmt.Sprintf("error: deployment %q exceeded its progress deadline", d.Name)
		}
	}
	switch {
	case d.Generation > s.ObservedGeneration:
		return "waiting for deployment spec update to be observed..."
	case s.UpdatedReplicas < *d.Spec.Replicas:
		return fmt.Sprintf("%d out of %d new replicas have been updated...", s.UpdatedReplicas, *d.Spec.Replicas)
	case s.Replicas > s.UpdatedReplicas:
		return fmt.Sprintf("%d old replicas are pending termination...", s.Replicas-s.UpdatedReplicas)
	case s.AvailableReplicas < s.UpdatedReplicas:
		return fmt.Sprintf("%d of %d updated replicas are available...", s.AvailableReplicas, s.UpdatedReplicas)
	}
	return "successfully rolled out"
}

func (w *World) historyReport() string {
	byRevision := map[int64]string{}
	for _, rs := range w.replicaSets() {
		if n, ok := rollout.Revision(rs.Annotations); ok && len(rs.OwnerReferences) > 0 {
			byRevision[n] = cmp.Or(rs.Annotations[changeCause], "<none>")
		}
	}
	var lines []string
	for _, n := range slices.Sorted(maps.Keys(byRevision)) {
		lines = append(lines, fmt.Sprintf("%d %s", n, byRevision[n]))
	}
	return strings.Join(lines, "\n")
}

func (w *World) conditionReport() string {
	d, err := w.deployment()
	if err != nil {
		return err.Error()
	}
	aliases := w.aliases()
	var lines []string
	for _, c := range d.Status.Conditions {
		lines = append(lines, short(fmt.Sprintf("%s %s %s: %s", c.Type, c.Status, c.Reason, c.Message), aliases))
	}
	return strings.Join(lines, "\n")
}

func (w *World) annotationReport(words []string) (string, error) {
	if len(words) != 1 {
		return "", fmt.Errorf("annotations IMAGE|deployment")
	}
	var annotations map[string]string
	if words[0] == "deployment" {
		d, err := w.deployment()
		if err != nil {
			return "", err
		}
		annotations = d.Annotations
	} else {
		rs, err := w.replicaSet(words[0])
		if err != nil {
			return "", err
		}
		annotations = rs.Annotations
	}
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		lines = append(lines, key+": "+annotations[key])
	}
	return strings.Join(lines, "\n"), nil
}
