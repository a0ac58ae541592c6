package verbs

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/belay-dev/belay/cmd/belay/control"
)

// printRollback prints a rollback as JSON, or as people want it.
func (e *env) printRollback(output string, r control.Rollback, people func(io.Writer, control.Rollback) error) error {
	return e.print(output, r, func(w io.Writer) error { return people(w, r) })
}

// printRolledBack says what was done: the hold first.
func printRolledBack(w io.Writer, r control.Rollback) error {
	var b strings.Builder
	if r.Skipped {
		b.WriteString(skipped(r))
		_, err := io.WriteString(w, b.String())
		return err
	}
	fmt.Fprintf(&b, "%s/%s held%s", r.Namespace, r.Name, at(r))
	if r.Hold != nil && !r.Hold.Until.IsZero() {
		fmt.Fprintf(&b, ", until %s", r.Hold.Until.UTC().Format(time.RFC3339))
	}
	if r.NotDurable != "" {
		fmt.Fprintf(&b, " (%s)", Line(r.NotDurable))
	}
	fmt.Fprintf(&b, "\ngit: %s\n", gitLine(r.Git))
	warnings(&b, r)
	_, err := io.WriteString(w, b.String())
	return err
}

// printPreview says what would be done.
func printPreview(w io.Writer, r control.Rollback) error {
	var b strings.Builder
	if r.Skipped {
		b.WriteString(skipped(r))
		_, err := io.WriteString(w, b.String())
		return err
	}
	fmt.Fprintf(&b, "%s/%s would be held%s", r.Namespace, r.Name, at(r))
	if r.From != nil {
		fmt.Fprintf(&b, ", instead of %s", named(*r.From))
	}
	fmt.Fprintf(&b, "\ngit: %s\n", gitLine(r.Git))
	gitPlan(&b, r.Git)
	section(&b, "undoes", r.Undone, func(row control.Row) string {
		return fmt.Sprintf("%s %s %s  %s", number(row.Revision), short(row.Commit), author(row.Author), Line(row.ChangeCause))
	})
	section(&b, "changes", r.Fields, Line)
	section(&b, "changed since, and stays as it is", r.Changed, Line)
	section(&b, "comes back", r.Recreated, Line)
	if r.Pods == 1 {
		b.WriteString("replaces 1 pod\n")
	} else {
		fmt.Fprintf(&b, "replaces %d pods\n", r.Pods)
	}
	for _, s := range r.Steps {
		b.WriteString("  " + Line(s) + "\n")
	}
	warnings(&b, r)
	_, err := io.WriteString(w, b.String())
	return err
}

func warnings(b *strings.Builder, r control.Rollback) {
	for _, text := range r.Warnings {
		b.WriteString("warning: " + Line(text) + "\n")
	}
}

func skipped(r control.Rollback) string {
	if r.To == nil {
		return fmt.Sprintf("%s/%s skipped: what it would go back to runs\n", r.Namespace, r.Name)
	}
	return fmt.Sprintf("%s/%s skipped: %s runs\n", r.Namespace, r.Name, named(*r.To))
}

// at says where it is held, by whom and why.
func at(r control.Rollback) string {
	h := r.Hold
	if h == nil {
		return ""
	}
	s := " at " + heldAt(*h)
	if h.By != "" {
		s += " by " + Line(h.By)
	}
	if h.Reason != "" {
		s += fmt.Sprintf(" %q", Line(h.Reason))
	}
	return s
}

// named is a row in a few words: its revision, else its commit, and its images.
func named(r control.Row) string { return numbered(r.Revision, r.Commit, r.Images) }

// numbered is a revision, or a commit that has none, with what is in it.
func numbered(revision int64, commit string, images []string, more ...string) string {
	what := "revision " + number(revision)
	switch {
	case revision == 0 && commit == "":
		what = "what ran"
	case revision == 0:
		what = "commit"
	}
	in := strings.TrimSpace(strings.TrimPrefix(short(commit), "-") + " " + strings.Join(images, ","))
	if all := slices.DeleteFunc(append([]string{in}, more...), func(s string) bool { return s == "" }); len(all) > 0 {
		what += " (" + strings.Join(all, ", ") + ")"
	}
	return Line(what)
}

// current is the number that a row's revision has today.
func current(r control.Row) int64 { return cmp.Or(r.Now, r.Revision) }

// gitLine says what becomes of a rollback in Git, and why nothing else.
func gitLine(g control.GitChange) string {
	s := map[string]string{
		"": "unchanged", "none": "unchanged", "queued": g.Mode + " queued", "pushed": g.Mode + " pushed", "branch": g.Mode + " on branch " + g.Branch,
	}[g.State]
	if g.Commit != "" {
		s += " " + short(g.Commit)
	}
	if g.Why != "" {
		s += ": " + g.Why
	}
	if g.URL != "" {
		s += " " + g.URL
	}
	return Line(s)
}

// gitPlan says what would change in Git, and why it is not done another way.
func gitPlan(b *strings.Builder, g control.GitChange) {
	for _, list := range []struct {
		says  string
		items []string
	}{{"reverts", g.Undo}, {"touches", g.Files}, {"also changes", g.Objects}, {"not", g.Failed}} {
		for _, item := range list.items {
			if list.says == "reverts" {
				item = short(item)
			}
			fmt.Fprintf(b, "  %s %s\n", list.says, Line(item))
		}
	}
	if g.Hint != "" {
		fmt.Fprintf(b, "  hint: %s\n", Line(g.Hint))
	}
}

// section prints a heading and what is below it; nothing when nothing is.
func section[T any](b *strings.Builder, heading string, items []T, line func(T) string) {
	if len(items) == 0 {
		return
	}
	b.WriteString(heading + ":\n")
	for _, item := range items {
		b.WriteString("  " + line(item) + "\n")
	}
}

// printRelease says what ended, or would end, and what rolls out then.
func printRelease(w io.Writer, r control.Release) error {
	would, rolls := "released", "rolls out"
	if r.DryRun {
		would, rolls = "would be released", "would roll out"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s/%s %s", r.Namespace, r.Name, would)
	if h := r.Hold; h != nil {
		fmt.Fprintf(&b, " from %s", heldAt(*h))
	}
	b.WriteByte('\n')
	section(&b, "no longer bad", r.Marks, func(m control.Mark) string { return Line(strings.Join(m.Bad, ", ")) })
	if r.Next == nil {
		b.WriteString("what runs is what git wants\n")
	} else {
		fmt.Fprintf(&b, "%s: %s %s\n", rolls, named(*r.Next), Line(r.Next.ChangeCause))
	}
	section(&b, "changes", r.Fields, Line)
	for _, s := range r.Steps {
		b.WriteString("  " + Line(s) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
