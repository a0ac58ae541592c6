package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/belay-dev/belay/reconciler/rollout"
	"github.com/belay-dev/belay/state"
)

// refusal is an answer to a verb that a person would get from kubectl; the scenario goes on.
type refusal string

func (r refusal) Error() string { return string(r) }

// verbs says what each does. All settle the world afterwards, but for those that only show something.
var verbs = map[string]func(*World, context.Context, []string) error{
	"create":      (*World).create,   // create FIELD=VALUE…: a Deployment web with image A
	"boot":        (*World).boot,     // the same, and everything ready
	"set":         (*World).set,      // set FIELD=VALUE…: one write
	"image":       (*World).image,    // image B: a new template
	"scale":       (*World).scaleTo,  // scale 5
	"pause":       (*World).pause,    // pause
	"resume":      (*World).resume,   // resume
	"annotate":    (*World).annotate, // annotate KEY=VALUE, or KEY= to remove
	"undo":        (*World).undo,     // undo [REVISION]: as kubectl rollout undo
	"rollback":    (*World).rollback, // rollback N: the legacy annotation
	"delete":      (*World).remove,   // delete deployment|rs NAME [orphan]|pod N IMAGE
	"ready":       (*World).ready,    // ready N|all [IMAGE]: pods become ready
	"unready":     (*World).unready,  // unready N|all [IMAGE]: pods stop being ready
	"fail":        (*World).fail,     // fail N [IMAGE]: pods end, as by eviction
	"bad":         (*World).setBad,   // bad IMAGE: its pods never become ready
	"good":        (*World).setGood,  // good IMAGE
	"linger":      (*World).linger,   // deleted pods stay until `vanish`
	"vanish":      (*World).vanish,   // vanish [N]: deleted pods disappear; without N from now on at once
	"tick":        (*World).tick,     // tick 10s
	"restart":     (*World).restart,  // the controllers start anew
	"hush":        (*World).hush,     // the controllers do not look until `heed`
	"heed":        (*World).heed,     // heed
	"quota":       (*World).quota,    // quota pods|replicasets N, or - to lift it
	"scale-rs":    (*World).scaleRS,  // scale-rs IMAGE N: behind the Deployment's back
	"add-rs":      (*World).addRS,    // add-rs NAME IMAGE N [KEY=VALUE…]: a ReplicaSet nobody controls
	"label-rs":    (*World).labelRS,  // label-rs NAME KEY=VALUE
	"squat":       (*World).squat,    // squat IMAGE: another object takes the name of its ReplicaSet
	"history":     (*World).show,     // shows revisions and causes
	"conditions":  (*World).show,     // shows conditions with their messages
	"annotations": (*World).show,     // annotations IMAGE|deployment: shows them
}

// timeless are the verbs before which no second passes.
var timeless = map[string]bool{"tick": true, "restart": true, "history": true, "conditions": true, "annotations": true}

// Do carries out one verb and reports what can be seen after it.
func (w *World) Do(ctx context.Context, line string) (string, error) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return "", errors.New("no verb")
	}
	verb, ok := verbs[words[0]]
	if !ok {
		return "", fmt.Errorf("no verb %q", words[0])
	}
	if !timeless[words[0]] {
		// Objects of different verbs have different ages.
		if err := w.sleep(ctx, time.Second); err != nil {
			return "", err
		}
	}
	var answer refusal
	if err := verb(w, ctx, words[1:]); errors.As(err, &answer) {
		return "error: " + string(answer), nil
	} else if err != nil {
		return "", err
	}
	switch words[0] {
	case "history":
		return w.historyReport(), nil
	case "conditions":
		return w.conditionReport(), nil
	case "annotations":
		return w.annotationReport(words[1:])
	}
	if err := w.settle(ctx); err != nil {
		return "", err
	}
	return w.report(), nil
}

func (w *World) show(context.Context, []string) error { return nil }

func (w *World) deployment() (*appsv1.Deployment, error) {
	d, ok := state.Get[*appsv1.Deployment](w.Store, namespace, deploymentName)
	if !ok {
		return nil, errors.New("there is no Deployment")
	}
	return d.DeepCopy(), nil
}

// edit changes the Deployment as a user's write does.
func (w *World) edit(change func(*appsv1.Deployment) error) error {
	d, err := w.deployment()
	if err != nil {
		return err
	}
	if err := change(d); err != nil {
		return err
	}
	return w.commit(state.Update(d))
}

func (w *World) commit(writes ...state.Write) error {
	_, err := w.Store.Commit(writes...)
	return err
}

func (w *World) create(_ context.Context, words []string) error {
	d := newDeployment()
	if err := setFields(d, words); err != nil {
		return err
	}
	return w.commit(state.Create(d))
}

func (w *World) boot(ctx context.Context, words []string) error {
	if err := w.create(ctx, words); err != nil {
		return err
	}
	if err := w.settle(ctx); err != nil {
		return err
	}
	if err := w.ready(ctx, []string{"all"}); err != nil {
		return err
	}
	d, err := w.deployment()
	if err == nil && d.Spec.MinReadySeconds > 0 {
		err = w.sleep(ctx, time.Duration(d.Spec.MinReadySeconds)*time.Second)
	}
	return err
}

func (w *World) set(_ context.Context, words []string) error {
	return w.edit(func(d *appsv1.Deployment) error { return setFields(d, words) })
}

func (w *World) image(ctx context.Context, words []string) error {
	return w.set(ctx, []string{"image=" + strings.Join(words, " ")})
}

func (w *World) scaleTo(ctx context.Context, words []string) error {
	return w.set(ctx, []string{"replicas=" + strings.Join(words, " ")})
}

func (w *World) pause(ctx context.Context, _ []string) error {
	return w.set(ctx, []string{"paused=true"})
}
func (w *World) resume(ctx context.Context, _ []string) error {
	return w.set(ctx, []string{"paused=false"})
}

func (w *World) annotate(_ context.Context, words []string) error {
	return w.edit(func(d *appsv1.Deployment) error {
		for _, word := range words {
			key, value, _ := strings.Cut(word, "=")
			setAnnotation(&d.ObjectMeta, key, value)
		}
		return nil
	})
}

// keptByUndo are the annotations of a Deployment that a rollback leaves alone.
var keptByUndo = []string{corev1.LastAppliedConfigAnnotation, rollout.RevisionAnnotation, rollout.RevisionHistoryAnnotation,
	rollout.DesiredAnnotation, rollout.MaxAnnotation, appsv1.DeprecatedRollbackTo}

// undo does what kubectl does: it writes the template and the annotations of an old ReplicaSet back.
func (w *World) undo(_ context.Context, words []string) error {
	d, err := w.deployment()
	if err != nil {
		return err
	}
	byRevision := map[int64]*appsv1.ReplicaSet{}
	var revisions []int64
	for _, rs := range state.List[*appsv1.ReplicaSet](w.Store, namespace) {
		if n, ok := rollout.Revision(rs.Annotations); ok && metav1.IsControlledBy(rs, d) {
			byRevision[n] = rs
			revisions = append(revisions, n)
		}
	}
	slices.Sort(revisions)
	var target *appsv1.ReplicaSet
	switch {
	case len(words) > 0:
		n, err := strconv.ParseInt(words[0], 10, 64)
		if err != nil {
			return err
		}
		if target = byRevision[n]; target == nil {
			return refusal(fmt.Sprintf("unable to find specified revision %d in history", n))
		}
	case len(revisions) < 2:
		return refusal(fmt.Sprintf("no rollout history found for deployment %q", d.Name))
	default:
		target = byRevision[revisions[len(revisions)-2]]
	}
	if d.Spec.Paused {
		return refusal(fmt.Sprintf("you cannot rollback a paused deployment; resume it first with 'kubectl rollout resume deployment/%s' and try again", d.Name))
	}
	if rollout.Equal(&target.Spec.Template, &d.Spec.Template) {
		return refusal("skipped rollback (current template already matches)")
	}
	d.Spec.Template = *target.Spec.Template.DeepCopy()
	delete(d.Spec.Template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	annotations := map[string]string{}
	for _, key := range keptByUndo {
		if v, ok := d.Annotations[key]; ok {
			annotations[key] = v
		}
	}
	for key, v := range target.Annotations {
		if !slices.Contains(keptByUndo, key) {
			annotations[key] = v
		}
	}
	d.Annotations = annotations
	return w.commit(state.Update(d))
}

func (w *World) rollback(ctx context.Context, words []string) error {
	return w.annotate(ctx, []string{appsv1.DeprecatedRollbackTo + "=" + strings.Join(words, " ")})
}

func (w *World) tick(ctx context.Context, words []string) error {
	d, err := time.ParseDuration(strings.Join(words, " "))
	if err != nil {
		return err
	}
	return w.sleep(ctx, d)
}

func (w *World) hush(context.Context, []string) error {
	w.hushed = true
	return nil
}

func (w *World) heed(context.Context, []string) error {
	w.hushed = false
	return nil
}

func (w *World) restart(ctx context.Context, _ []string) error { return w.Restart(ctx) }

func (w *World) quota(_ context.Context, words []string) error {
	if len(words) != 2 {
		return errors.New("quota pods|replicasets N|-")
	}
	key := state.Key{Kind: state.KindResourceQuota, Namespace: namespace, Name: words[0]}
	if _, ok := w.Store.Get(key); ok {
		if err := w.commit(state.Delete(key, state.DeleteOptions{})); err != nil {
			return err
		}
	}
	if words[1] == "-" {
		return nil
	}
	name := corev1.ResourcePods
	if words[0] == "replicasets" {
		name = "count/replicasets.apps"
	}
	hard, err := resource.ParseQuantity(words[1])
	if err != nil {
		return err
	}
	return w.commit(state.Create(&corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: words[0], Namespace: namespace},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{name: hard}},
	}))
}
