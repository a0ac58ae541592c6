package e2e

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

type layer struct {
	pkg  string
	sees []string
}

type home struct {
	module string
	pkgs   []string
}

type ban struct {
	pkgs, imports []string
	reason        string
}

// goFile is what the check knows of a Go file.
type goFile struct {
	file    string // slash-separated path below the root
	pkg     string // directory
	name    string // of the package clause
	doc     string
	imports []string
	lines   int
	sleeps  bool
	test    bool // _test.go
	deps    bool // built with the tag deps only
}

// check returns what is wrong with a tree, given as file contents by path; sorted.
func check(files map[string]string) []string {
	var problems []string
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }

	var parsed []goFile
	for name, text := range files {
		checkPlace(name, report)
		checkText(name, text, report)
		if path.Ext(name) != ".go" || strings.Contains("/"+name, "/testdata/") {
			continue
		}
		s, err := parse(name, text)
		if err != nil {
			report("%s: %v", name, err)
			continue
		}
		checkFile(s, report)
		for _, imp := range s.imports {
			checkImport(s, imp, report)
		}
		parsed = append(parsed, s)
	}
	checkPackages(parsed, report)
	checkModule(files["go.mod"], report)
	slices.Sort(problems)
	return slices.Compact(problems)
}

type reporter func(format string, args ...any)

var sleep = regexp.MustCompile(`\btime\.Sleep\(`)

func parse(name, text string) (goFile, error) {
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return goFile{}, err
	}
	s := goFile{
		file: name, pkg: path.Dir(name), name: file.Name.Name, doc: file.Doc.Text(),
		lines: strings.Count(text, "\n"), test: strings.HasSuffix(name, "_test.go"), deps: taggedDeps(file),
		sleeps: sleep.MatchString(text),
	}
	for _, spec := range file.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return goFile{}, err
		}
		s.imports = append(s.imports, imp)
	}
	return s, nil
}

func taggedDeps(file *ast.File) bool {
	for _, group := range file.Comments {
		for _, c := range group.List {
			if c.Pos() > file.Package || !constraint.IsGoBuild(c.Text) {
				continue
			}
			expr, err := constraint.Parse(c.Text)
			if err == nil && !expr.Eval(func(tag string) bool { return tag != "deps" }) {
				return true
			}
		}
	}
	return false
}

func checkPlace(name string, report reporter) {
	top, _, _ := strings.Cut(name, "/")
	if !strings.HasPrefix(top, ".") && !slices.Contains(topLevel, top) {
		report("%s: %s has no place at the top level", name, top)
	}
}

func checkText(name, text string, report reporter) {
	for _, place := range machinePaths {
		if i := strings.Index(text, place); i >= 0 {
			report("%s:%d: names a path of somebody's machine: %s", name, 1+strings.Count(text[:i], "\n"), place)
		}
	}
}

func checkFile(s goFile, report reporter) {
	if s.lines > maxLines {
		report("%s: %d lines, more than %d", s.file, s.lines, maxLines)
	}
	if s.sleeps && !slices.Contains(s.imports, "testing/synctest") {
		report("%s: sleeps outside a synctest bubble: wait for the event", s.file)
	}
	for _, name := range []string{path.Base(s.pkg), strings.TrimSuffix(s.name, "_test")} {
		if slices.Contains(vague, name) {
			report("%s: package %s says nothing about what it owns", s.file, name)
		}
	}
}

func checkImport(s goFile, imp string, report reporter) {
	h := homeOf(imp)
	if s.test {
		// Tests may import what they need to, but for the module that would make every build of them heavy.
		if h.module == kubernetes && s.pkg != "e2e" && !slices.Contains(h.pkgs, s.pkg) {
			report("%s: imports %s: only %s may, and the oracle in e2e", s.file, imp, strings.Join(h.pkgs, ", "))
		}
		return
	}
	if rel, ours := strings.CutPrefix(imp, module+"/"); ours {
		checkLayer(s, rel, report)
	} else if h.module != "" && !slices.Contains(h.pkgs, s.pkg) {
		report("%s: imports %s: only %s may", s.file, imp, strings.Join(h.pkgs, ", "))
	}
	checkBans(s, imp, report)
}

// checkBans looks at what is forbidden although its package may see it.
func checkBans(s goFile, imp string, report reporter) {
	for _, b := range forbidden {
		if covered(s.pkg, b.pkgs) && slices.Contains(b.imports, imp) {
			report("%s: imports %s: %s", s.file, imp, b.reason)
		}
	}
	if slices.Contains(standardOnly, s.pkg) && strings.Contains(imp, ".") &&
		!below(imp, "golang.org/x/sys") && !below(imp, module) {
		report("%s: imports %s: only the standard library and golang.org/x/sys may be", s.file, imp)
	}
	deciding := covered(s.pkg, []string{"manifests", "manifests/...", "reconciler", "reconciler/..."})
	if deciding && slices.Contains(pureFiles, path.Base(s.file)) && slices.Contains(impure, imp) {
		report("%s: imports %s: this file decides, and does nothing else", s.file, imp)
	}
}

func checkLayer(s goFile, imp string, report reporter) {
	l, known := layerOf(s.pkg)
	parentMay := s.pkg == "reconciler" || s.pkg == "cmd/belay" || s.pkg == "manifests" ||
		imp == "source/merge" || imp == "reconciler/node/embedded/shim"
	switch {
	case !known: // reported once for the package
	case strings.HasPrefix(imp, s.pkg+"/") && !parentMay:
		report("%s: imports %s: a parent never imports its child", s.file, imp)
	case !covered(imp, l.sees):
		report("%s: imports %s: %s may import %s", s.file, imp, s.pkg, orNothing(l.sees))
	}
}

// checkPackages looks at what only all files of a package together can tell.
func checkPackages(parsed []goFile, report reporter) {
	docs, mainLines := map[string]string{}, 0
	for _, s := range parsed {
		if s.test {
			continue
		}
		if !s.deps {
			docs[s.pkg] += s.doc
			if s.pkg == "cmd/belay" {
				mainLines += s.lines
			}
		} else if _, known := docs[s.pkg]; !known {
			docs[s.pkg] = ""
		}
	}
	never := regexp.MustCompile(`(?i)\bnever\b`)
	for pkg, doc := range docs {
		if _, known := layerOf(pkg); !known {
			report("%s: the layout has no such package", pkg)
		}
		if !never.MatchString(doc) {
			report("%s: no package comment that says what it never does", pkg)
		}
	}
	if mainLines > maxMainLines {
		report("cmd/belay: %d lines, more than %d", mainLines, maxMainLines)
	}
}

func checkModule(text string, report reporter) {
	first, _, _ := strings.Cut(text, "\n")
	if first != "module "+module {
		report("go.mod: %q, want module %s", first, module)
	}
	if regexp.MustCompile(`=>\s*[./]`).MatchString(text) {
		report("go.mod: replaces a module by a directory")
	}
}

// layerOf finds the most precise row for a package.
func layerOf(pkg string) (found layer, ok bool) {
	for _, l := range layers {
		if l.pkg == pkg {
			return l, true
		}
		if covered(pkg, []string{l.pkg}) && len(l.pkg) > len(found.pkg) {
			found, ok = l, true
		}
	}
	return found, ok
}

func homeOf(imp string) home {
	for _, h := range homes {
		if below(imp, h.module) {
			return h
		}
	}
	return home{}
}

// covered says whether one of the patterns names pkg.
func covered(pkg string, patterns []string) bool {
	for _, p := range patterns {
		parent, children := strings.CutSuffix(p, "/...")
		if !children && p == pkg || children && strings.HasPrefix(pkg, parent+"/") {
			return true
		}
	}
	return false
}

// below says whether an import path is of a module, or of a tree of packages.
func below(imp, root string) bool { return imp == root || strings.HasPrefix(imp, root+"/") }

func orNothing(list []string) string {
	if len(list) == 0 {
		return "no package of this module"
	}
	return strings.Join(list, ", ")
}
