package verbs

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// note says what else is to know of a Deployment in a status; of a held one that it is, and a line below says more.
func note(d control.Deployment) string {
	var parts []string
	if d.Hold != nil {
		parts = append(parts, "HELD")
	}
	switch {
	case d.Hold != nil && d.Health == control.Healthy:
	case d.Reason != "":
		parts = append(parts, d.Outcome+": "+d.Reason)
	case d.Outcome != "" && d.Health != control.Healthy:
		parts = append(parts, d.Outcome)
	}
	for _, o := range d.Overrides {
		said := overridden(o)
		if o.GitChange != nil && o.GitChange.State != "none" {
			said += ", git change " + changing(*o.GitChange)
		}
		parts = append(parts, said)
	}
	if d.Wants != nil && d.Hold == nil {
		parts = append(parts, "git wants "+wanted(*d.Wants))
	}
	if d.Next != "" && d.Hold == nil {
		parts = append(parts, "next: "+d.Next)
	}
	return strings.Join(parts, " | ")
}

// overridden says what a person set beside Git.
func overridden(o control.Override) string {
	switch {
	case o.Field == "restartedAt":
		return "restarted by " + o.By
	case o.Field == "paused" && o.Value == "true":
		return "paused by " + o.By
	case o.Field == "paused":
		return "resumed by " + o.By
	}
	return fmt.Sprintf("%s %s by %s", o.Field, o.Value, o.By)
}

// wanted is what Git wants, and by what that is held off.
func wanted(w control.Wants) string {
	s := strings.TrimSpace(short(w.Commit) + " " + strings.Join(w.Images, ","))
	if w.Tainted != "" {
		s += " (tainted: " + w.Tainted + ")"
	}
	return s
}

// changing is how far a change in Git is.
func changing(c control.GitChange) string {
	var s string
	switch c.State {
	case "pushed":
		s = "pushed as " + short(c.Commit)
	case "branch":
		s = c.Branch + " not merged"
	case "queued":
		s = "queued"
	default:
		s = "none"
	}
	if c.Why != "" {
		s += " (" + c.Why + ")"
	}
	return s
}

// printHeld says of each held Deployment in one line where it is, who wanted that, what Git wants, and what is next.
func printHeld(w io.Writer, ds []control.Deployment, now time.Time) error {
	var b strings.Builder
	for _, d := range ds {
		if d.Hold == nil {
			continue
		}
		parts := []string{fmt.Sprintf("%s  HELD at %s", deploymentIn(d, ds), heldBy(*d.Hold, now))}
		if d.Wants != nil {
			parts = append(parts, "git wants "+wanted(*d.Wants))
		}
		if d.GitChange != nil {
			parts = append(parts, "git change: "+changing(*d.GitChange))
		}
		if d.Next != "" {
			parts = append(parts, "next: "+d.Next)
		}
		b.WriteString(Line(strings.Join(parts, " | ")) + "\n")
	}
	if b.Len() == 0 {
		return nil
	}
	_, err := io.WriteString(w, "\n"+b.String())
	return err
}

// deploymentIn is a Deployment's name, with its namespace where another one of those shown has the name too.
func deploymentIn(d control.Deployment, ds []control.Deployment) string {
	for _, o := range ds {
		if o.Name == d.Name && o.Namespace != d.Namespace {
			return d.Namespace + "/" + d.Name
		}
	}
	return d.Name
}

// heldAt is where a hold keeps a Deployment.
func heldAt(h control.Hold) string {
	if h.Stable {
		return numbered(h.Revision, h.Commit, h.Images, "stable")
	}
	return numbered(h.Revision, h.Commit, h.Images)
}

// heldBy is where a hold keeps a Deployment, and who wanted that, when and why.
func heldBy(h control.Hold, now time.Time) string {
	s := fmt.Sprintf("%s by %s %s", heldAt(h), h.By, clock(h.Since, now))
	if h.Reason != "" {
		s += fmt.Sprintf(" %q", Line(h.Reason))
	}
	if h.Manual {
		s += ", pinned"
	}
	if !h.Until.IsZero() {
		s += " until " + clock(h.Until, now)
	}
	return s
}

// clock is a time of today as people say it, and any other with its day; in the time zone of who reads.
func clock(t, now time.Time) string {
	t = t.In(now.Location())
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}
