package reconciler_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/rollback"
	"github.com/belay-dev/belay/state"
)

// words are a command's words: those of the form key=value by key, the others in their order.
func words(rest string) (plain []string, named map[string]string) {
	named = map[string]string{}
	for _, word := range strings.Fields(rest) {
		if key, value, ok := strings.Cut(word, "="); ok {
			named[key] = value
			continue
		}
		plain = append(plain, word)
	}
	return plain, named
}

// goBack carries out what a person does past Git. A minute passes after each, but with at-once=yes none does.
func (w *world) goBack(verb, rest string) string {
	plain, named := words(rest)
	number := func(key string) int64 {
		n, _ := strconv.ParseInt(named[key], 10, 64)
		return n
	}
	name := ""
	if len(plain) > 0 {
		name = plain[0]
	}
	why := strings.Join(plain[min(len(plain), 1):], " ")
	by := named["by"]
	if by == "" {
		by = "alice"
	}
	var out string
	ctx := w.t.Context()
	switch verb {
	case "repeat": // PREFIX N COMMIT: N more commits with the files of one that was pushed
		return w.repeat(rest)
	case "rollback", "preview": // NAME [to=REVISION] [commit=HASH] [expect=REVISION] [by=WHO] [role=rollback] [WHY...]
		r := rollback.Request{
			Namespace: "default", Name: name, ToRevision: number("to"), ToCommit: named["commit"], Expect: number("expect"), By: by, Why: why,
			StableOnly: named["role"] == "rollback",
		}
		do := w.loop.Rollback
		if verb == "preview" {
			do = w.loop.PreviewRollback
		}
		res, err := do(ctx, r)
		out = printResult(res, err)
	case "takeback", "preview-takeback": // COMMIT [only=NAME,...] [expect=NAME:REVISION] [by=WHO] [role=rollback] [WHY...]
		r := rollback.CommitRequest{Commit: name, By: by, Why: why, StableOnly: named["role"] == "rollback"}
		for _, one := range strings.FieldsFunc(named["only"], func(r rune) bool { return r == ',' }) {
			r.Only = append(r.Only, "default/"+one)
		}
		if of, at, ok := strings.Cut(named["expect"], ":"); ok {
			n, _ := strconv.ParseInt(at, 10, 64)
			r.Expect = map[string]int64{"default/" + of: n}
		}
		do := w.loop.RollbackCommit
		if verb == "preview-takeback" {
			do = w.loop.PreviewRollbackCommit
		}
		res, err := do(ctx, r)
		if err != nil {
			out = refusal(err)
		}
		for _, d := range res.Deployments {
			out += d.Name + " " + printResult(d.Result, d.Err)
		}
	case "pin": // NAME [to=REVISION] [until=DURATION] [by=WHO] [WHY...]
		r := rollback.PinRequest{Namespace: "default", Name: name, ToRevision: number("to"), By: by, Why: why}
		if d, err := time.ParseDuration(named["until"]); err == nil {
			r.Until = time.Now().Add(d)
		}
		res, err := w.loop.Pin(ctx, r)
		out = printResult(res, err)
	case "release": // NAME [preview=yes]
		res, err := w.loop.Release(ctx, rollback.ReleaseRequest{Namespace: "default", Name: name, Hold: named["hold"], By: by, Preview: named["preview"] != ""})
		out = printReleased(res, err)
	case "kubectl": // scale NAME N | rollout undo|restart|pause|resume NAME [to=REVISION]
		out = w.kubectl(plain, number("to"), by)
	case "holds":
		return w.holds()
	case "ids": // how many rollbacks all holds, and all marks, are of
		holds, marks := map[string]bool{}, map[string]bool{}
		for _, h := range w.store.Holds() {
			holds[h.ID] = true
		}
		for _, m := range w.store.AllMarks() {
			marks[m.ID] = true
		}
		return fmt.Sprintf("%d holds of %d, %d marks of %d\n", len(w.store.Holds()), len(holds), len(w.store.AllMarks()), len(marks))
	case "events":
		return w.events()
	case "configmap": // NAME: what is in it
		c, ok := state.Get[*corev1.ConfigMap](w.store, "default", name)
		if !ok {
			return "no such ConfigMap\n"
		}
		return fmt.Sprintf("%s %v\n", c.Name, c.Data)
	case "secret": // NAME: what is in it
		c, ok := state.Get[*corev1.Secret](w.store, "default", name)
		if !ok {
			return "no such Secret\n"
		}
		return fmt.Sprintf("%s %s\n", c.Name, c.Data)
	case "held": // NAME: its condition
		return w.condition(name)
	default:
		w.t.Fatalf("no such verb: %s", verb)
	}
	if named["at-once"] == "" {
		pass(time.Minute)
	} else {
		synctest.Wait()
	}
	return out
}

func (w *world) kubectl(plain []string, to int64, by string) string {
	if plain[0] == "scale" {
		return w.override(plain[1], rollback.FieldReplicas, plain[2], by)
	}
	name := plain[2]
	switch plain[1] {
	case "undo":
		res, err := w.loop.Rollback(w.t.Context(), rollback.Request{Namespace: "default", Name: name, ToRevision: to, By: by, Door: rollback.DoorUndo})
		return printResult(res, err)
	case "restart":
		return w.override(name, rollback.FieldRestartedAt, "", by)
	case "pause":
		return w.override(name, rollback.FieldPaused, "true", by)
	case "resume":
		return w.override(name, rollback.FieldPaused, "false", by)
	}
	w.t.Fatalf("no such command of kubectl: %v", plain)
	return ""
}

func (w *world) override(name, field, value, by string) string {
	_, err := w.loop.Override(w.t.Context(), rollback.OverrideRequest{Namespace: "default", Name: name, Field: field, Value: value, By: by})
	return refusal(err)
}

func refusal(err error) string {
	if r, ok := errors.AsType[*rollback.Refusal](err); ok {
		return fmt.Sprintf("refused (%s): %s\n", r.Reason, r.Message)
	}
	return failure(err)
}

func printResult(r rollback.Result, err error) string {
	switch {
	case err != nil:
		return refusal(err)
	case r.Skipped:
		return "skipped\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "held at revision %d (%s %s)", r.Hold.Revision, r.Hold.Commit, strings.Join(r.To.Images, ","))
	for _, u := range r.Undone {
		fmt.Fprintf(&b, ", undone %s", u.Commit+u.Operation)
	}
	b.WriteString("\n")
	if r.Mark != nil {
		b.WriteString("bad: " + printMark(*r.Mark) + "\n")
	}
	for _, text := range r.Warnings {
		fmt.Fprintln(&b, "warning:", text)
	}
	for _, name := range r.Recreate {
		fmt.Fprintln(&b, "comes back:", name)
	}
	for _, name := range r.Changed {
		fmt.Fprintln(&b, "changed since:", name)
	}
	for _, f := range r.Fields {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

func printReleased(r rollback.Released, err error) string {
	if err != nil {
		return refusal(err)
	}
	if r.Next.ID == "" {
		return "released, nothing rolls out\n"
	}
	return fmt.Sprintf("released, next %s %s %s\n", r.Next.Commit, strings.Join(r.Next.Images, ","), r.Next.Outcome)
}

func printMark(m state.Mark) string {
	var parts []string
	for _, i := range m.Images {
		parts = append(parts, fmt.Sprintf("%s %s of %s", i.Container, i.Image, i.Commit))
	}
	for _, l := range m.Leaves {
		value := l.Value
		if l.Absent {
			value = "absent"
		}
		parts = append(parts, fmt.Sprintf("%s=%s of %s", l.Path, value, l.Commit))
	}
	return strings.Join(append(parts, fmt.Sprintf("%d templates", len(m.Templates))), ", ")
}

// holds prints holds, marks and overrides.
func (w *world) holds() string {
	var b strings.Builder
	for _, h := range w.store.Holds() {
		kind := "held"
		if h.Manual {
			kind = "pinned"
		}
		fmt.Fprintf(&b, "%s %s at revision %d by %s %q\n", h.Name, kind, h.Revision, h.By, h.Reason)
	}
	for _, d := range w.names() {
		for _, m := range w.store.Marks("default", d) {
			fmt.Fprintf(&b, "%s bad: %s\n", d, printMark(m))
		}
		for _, o := range w.store.Overrides("default", d) {
			value := o.Value
			if o.Field == rollback.FieldRestartedAt {
				value = "some time"
			}
			fmt.Fprintf(&b, "%s %s set to %s by %s\n", d, o.Field, value, o.By)
		}
	}
	if b.Len() == 0 {
		return "none\n"
	}
	return b.String()
}

func (w *world) names() []string {
	names := []string{"web"}
	for _, d := range state.List[*appsv1.Deployment](w.store, "default") {
		names = append(names, d.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// events prints what Belay says of Deployments.
func (w *world) events() string {
	var lines []string
	for _, e := range state.List[*corev1.Event](w.store, "default") {
		if e.Source.Component == "belay" {
			lines = append(lines, fmt.Sprintf("%s %s %s %s\n", e.FirstTimestamp.Format("15:04:05"), e.Type, e.Reason, withoutID(e.Message)))
		}
	}
	slices.Sort(lines)
	var b strings.Builder
	for i := 0; i < len(lines); {
		n := 1
		for i+n < len(lines) && lines[i+n] == lines[i] {
			n++
		}
		if n > 1 {
			fmt.Fprintf(&b, "%d × ", n)
		}
		b.WriteString(lines[i])
		i += n
	}
	return b.String()
}

// withoutID leaves out the ID of a hold: its place in the text is enough.
func withoutID(message string) string {
	fields := strings.SplitN(message, " ", 3)
	if len(fields) == 3 && fields[0] == "Hold" {
		return fields[0] + " " + fields[2]
	}
	return message
}

func (w *world) condition(name string) string {
	d, ok := state.Get[*appsv1.Deployment](w.store, "default", name)
	if !ok {
		return "no such Deployment\n"
	}
	for _, c := range d.Status.Conditions {
		if c.Type == "Held" {
			return fmt.Sprintf("%s %s: %s\n", c.Status, c.Reason, c.Message)
		}
	}
	return "none\n"
}
