package manifests

import (
	"errors"
	"io/fs"
	"path"
	"strings"
)

// outcome is what rendering a root gave: objects in the order of files, the
// problems, and everything that was read or looked for.
type outcome struct {
	objects  []Object
	problems []Problem
	deps     map[string]string
	retry    bool // a problem may pass by itself
}

func (o outcome) blocked() bool { return blocking(o.problems) }

func blocking(problems []Problem) bool {
	for _, p := range problems {
		if p.Reason.Blocks() {
			return true
		}
	}
	return false
}

// renderPlain decodes the manifests that lie directly in the decoder's root.
func renderPlain(v *view, d *decoder) outcome {
	r := v.reader()
	top, err := r.resolve(d.root)
	if err != nil || top.dir == nil {
		d.unreadable(d.root, err)
		return d.outcome(r.deps)
	}
	for _, e := range r.list(top) {
		if !isManifest(e.name) || e.mode.IsDir() {
			continue
		}
		name := path.Join(d.root, e.name)
		data, _, err := r.read(path.Join(top.real, e.name))
		if err != nil {
			d.unreadable(name, err)
			continue
		}
		d.file(name, data)
	}
	return d.outcome(r.deps)
}

func (d *decoder) outcome(deps map[string]string) outcome {
	out := outcome{objects: d.objects, problems: d.problems, deps: deps}
	for _, p := range d.problems {
		out.retry = out.retry || p.Reason == Unreadable
	}
	return out
}

// unreadable reports a file that cannot be read.
func (d *decoder) unreadable(name string, err error) {
	var bad *pathError
	switch {
	case errors.As(err, &bad):
		text := strings.TrimPrefix(bad.text, bad.path+": ")
		d.report(Problem{Reason: bad.reason, File: name, Message: text})
	case err == nil:
		d.report(Problem{Reason: Unreadable, File: name, Message: "is not a directory"})
	case errors.Is(err, fs.ErrNotExist):
		d.report(Problem{Reason: LinkBroken, File: name, Message: "is a symbolic link to nothing"})
	default:
		d.report(Problem{Reason: Unreadable, File: name, Message: err.Error()})
	}
}
