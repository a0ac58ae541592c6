package manifests

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// runner runs kustomize. Runs cannot be stopped from outside, so one that does
// not end in time is given up: it gets no more files, its root is reported, and
// the next may go.
type runner struct {
	turn  turn
	limit time.Duration // how long a run may take
	warm  sync.Once
	given atomic.Int32 // runs given up that have not ended
	build func(filesys.FileSystem, string) (resmap.ResMap, error)
}

// maxGivenUp is how many runs may go on after they were given up before no
// more are started.
const maxGivenUp = 2

// kustomize keeps its schema in variables of the process, so there is one
// runner for all caches.
var kustomizeRuns = &runner{limit: 30 * time.Second, build: build}

func build(fsys filesys.FileSystem, root string) (resmap.ResMap, error) {
	return krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fsys, root)
}

// warmUp makes kustomize load its full schema before any tree is rendered.
func (k *runner) warmUp() {
	mem := filesys.MakeFsInMemory()
	for name, text := range map[string]string{
		"/kustomization.yaml": "resources: [d.yaml]\npatches: [{patch: '{apiVersion: apps/v1, kind: Deployment, metadata: {name: w}}'}]\n",
		"/d.yaml":             "{apiVersion: apps/v1, kind: Deployment, metadata: {name: w}}\n",
	} {
		if mem.WriteFile(name, []byte(text)) != nil {
			return
		}
	}
	_, _ = build(mem, "/") // only the schema matters
}

// built is one resource as kustomize gives it.
type built struct {
	json                  []byte
	kind, name, namespace string // as declared, before prefixes and the like
}

var (
	errPanicked = errors.New("kustomize ended abnormally")
	errStalled  = errors.New("kustomize did not end")
)

// run renders a root and returns its resources in kustomize's order.
func (k *runner) run(ctx context.Context, fsys *treeFS, root string, background bool) ([]built, error) {
	if err := k.turn.take(ctx, background); err != nil {
		return nil, err
	}
	defer k.turn.give()
	if n := k.given.Load(); n >= maxGivenUp {
		return nil, fmt.Errorf("%w: %d other runs are still going on", errStalled, n)
	}
	k.warm.Do(k.warmUp)
	type result struct {
		list []built
		err  error
	}
	done := make(chan result, 1)
	var left atomic.Int32 // set once: by the run when it ends, or by giving it up
	const ended, givenUp = 1, 2
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				r = result{err: fmt.Errorf("%w: %v", errPanicked, p)}
			}
			if !left.CompareAndSwap(0, ended) {
				k.given.Add(-1)
			}
			done <- r
		}()
		r.list, r.err = k.resources(fsys, root)
	}()
	timer := time.NewTimer(k.limit)
	defer timer.Stop()
	cancelled := ctx.Done()
	for {
		select {
		case r := <-done:
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			return r.list, r.err
		case <-cancelled:
			fsys.stop()
			cancelled = nil
		case <-timer.C:
			k.given.Add(1)
			if !left.CompareAndSwap(0, givenUp) {
				k.given.Add(-1) // it ended at the same moment
				continue
			}
			fsys.stop()
			return nil, fmt.Errorf("%w within %s", errStalled, k.limit)
		}
	}
}

func (k *runner) resources(fsys *treeFS, root string) ([]built, error) {
	m, err := k.build(fsys, "/"+root)
	if err != nil {
		return nil, err
	}
	var list []built
	for _, res := range m.Resources() {
		data, err := res.MarshalJSON()
		if err != nil {
			return nil, err
		}
		id := res.OrgId()
		list = append(list, built{json: data, kind: id.Kind, name: id.Name, namespace: id.Namespace})
	}
	return list, nil
}

// renderKustomize renders the kustomization of the decoder's root. Its error is
// that of ctx only.
func renderKustomize(ctx context.Context, k *runner, v *view, in *inspections, d *decoder, background bool) (outcome, error) {
	r := v.reader()
	top, err := r.resolve(d.root)
	if err != nil || top.dir == nil {
		d.unreadable(d.root, err)
		return d.outcome(r.deps), nil
	}
	fsys := newTreeFS(r, in)
	list, err := k.run(ctx, fsys, top.real, background)
	if ctx.Err() != nil {
		return outcome{}, ctx.Err()
	}
	fsys.mu.Lock() // a run that was given up may still hold on to it
	defer fsys.mu.Unlock()
	file := kustomizationFile(top, d.root)
	if err != nil {
		d.report(fsys.explain(err, file))
		return d.outcome(fsys.takeDeps()), nil
	}
	for _, b := range list {
		src := fsys.sourceOf(b)
		at := place{file: file}
		if src != nil {
			at = place{file: src.file, before: src.line}
		}
		before := len(d.problems)
		d.value(b.json, at, "", "", "")
		if src != nil && len(d.problems) > before {
			fsys.addLines(d.problems[before:], src)
		}
	}
	return d.outcome(fsys.takeDeps()), nil
}

func kustomizationFile(top found, root string) string {
	for _, name := range kustomizationNames {
		if top.dir.find(name) != nil {
			return path.Join(root, name)
		}
	}
	return root
}

// sourceOf finds the document that declares a resource, nil for a generated
// one. kustomize does not say, and it may have put something before or after
// the name: the longest name of the same kind within it is taken, of the file
// read first. Names of ConfigMaps and Secrets must be equal, as generated ones
// often begin like others.
func (f *treeFS) sourceOf(b built) *source {
	var best *source
	rank := func(s *source) (int, bool) {
		switch {
		case s.kind != b.kind:
			return 0, false
		case s.name == b.name && s.namespace == b.namespace:
			return len(b.name) + 2, true
		case s.name == b.name:
			return len(b.name) + 1, true
		case b.kind == "ConfigMap" || b.kind == "Secret" || s.name == "":
			return 0, false
		}
		return len(s.name), strings.Contains(b.name, s.name)
	}
	for i := range f.sources {
		if n, ok := rank(&f.sources[i]); ok {
			if best == nil {
				best = &f.sources[i]
			} else if m, _ := rank(best); n > m {
				best = &f.sources[i]
			}
		}
	}
	return best
}

// addLines turns the line of the document into that of the field.
func (f *treeFS) addLines(problems []Problem, src *source) {
	data, _, err := f.read(src.file)
	if err != nil {
		return
	}
	docs, _ := nodes(data)
	var doc *yaml.Node
	for _, n := range docs {
		in := inspection{}
		in.declare(n)
		for _, d := range in.documents {
			if d == src.declared {
				doc = n
			}
		}
	}
	if doc == nil || len(doc.Content) != 1 || doc.Content[0].Line != src.line {
		return
	}
	for i := range problems {
		problems[i].Line = lineOf(doc, problems[i].Field)
	}
}

// explain turns the error of a run into a problem that says what to do.
func (f *treeFS) explain(err error, file string) Problem {
	switch {
	case errors.Is(err, errStalled):
		p := Problem{Reason: RenderStalled, File: file, Message: err.Error()}
		if f.last != "" {
			p.Message += ", last file " + f.last
		}
		return p
	case errors.Is(err, errPanicked):
		return Problem{Reason: RenderPanicked, File: file, Message: err.Error()}
	case f.refusal != nil:
		return *f.refusal
	}
	text := trimKustomize(err.Error())
	if f.unwell != nil && yamlError(text) {
		return *f.unwell
	}
	p := Problem{Reason: KustomizeFailed, File: file, Message: text}
	if strings.HasPrefix(text, "unable to find one of 'kustomization.yaml'") && isKustomization(path.Base(file)) {
		p.Message = "is a symbolic link to a file outside of its directory"
	}
	if m := fileInText.FindStringSubmatch(text); m != nil {
		p.Message = strings.TrimSpace(strings.Replace(text, m[0], "", 1))
	}
	return p
}

var (
	fileInText  = regexp.MustCompile(` in File: \S+$`)
	againInText = regexp.MustCompile(`(?s)^accumulating (?:resources|components) from '[^']*': '[^']*' must resolve to a file': (.+)$`)
	outerInText = regexp.MustCompile(`^(accumulating (resources|components): )?(accumulation err='|accumulateDirectory: "|loader\.New ")`)
)

func yamlError(text string) bool {
	return strings.Contains(text, "yaml: ") || strings.Contains(text, "MalformedYAML") || strings.Contains(text, "already defined at line")
}

// trimKustomize cuts what kustomize says about its own attempts off its errors:
// every file that fails is tried as a directory as well, and that failure is
// put around the real one.
func trimKustomize(text string) string {
	for range 20 {
		before := text
		if i := strings.Index(text, "': must build at directory:"); i >= 0 {
			text = text[:i]
		}
		if m := outerInText.FindString(text); m != "" {
			text = strings.TrimSuffix(strings.TrimPrefix(text, m), `"`)
			// What kustomize says after the quoted error is about the second
			// attempt: for a directory that is the one that matters.
			if i := strings.Index(text, "': recursed accumulation of path"); i >= 0 {
				text = text[i+len("': recursed accumulation of path "):]
				if _, rest, ok := strings.Cut(text, "': "); ok {
					text = rest
				}
			}
		}
		if m := againInText.FindStringSubmatch(text); m != nil {
			text = m[1]
		}
		text = strings.TrimPrefix(text, "accumulating resources: ")
		if text == before {
			break
		}
	}
	text = strings.ReplaceAll(strings.TrimSpace(text), "\n", " ")
	return strings.ReplaceAll(text, `\"`, `"`)
}
