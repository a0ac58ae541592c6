package app

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// naming are the functions of package os that change what a name stands for. A new file of os.CreateTemp has none that
// anybody reads.
var naming = []string{
	"Chmod", "Create", "CopyFS", "Link", "Mkdir", "MkdirAll", "MkdirTemp", "OpenFile", "Remove", "RemoveAll", "Rename", "Symlink", "Truncate", "WriteFile",
}

// TestFilesHavePoints: a service keeps nothing beside its state but by steps with points, at which the tests kill it.
func TestFilesHavePoints(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		steps := map[ast.Node]bool{} // the functions that are steps
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return !steps[n]
			}
			to, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if to.Sel.Name == "Do" && len(call.Args) == 2 {
				found++
				steps[call.Args[1]] = true
			}
			if fmt.Sprint(to.X) == "os" && slices.Contains(naming, to.Sel.Name) {
				t.Errorf("%s: os.%s is no step with a point", name, to.Sel.Name)
			}
			return true
		})
	}
	if found < 10 {
		t.Errorf("%d steps found", found)
	}
}
