package arch

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// checkCalls keeps the file system, sockets and kmsg's decoder in the rooms made for them.
func checkCalls(p *Package, f *File) []string {
	var out []string
	ast.Inspect(f.AST, func(node ast.Node) bool {
		sel, ok := node.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		at := fmt.Sprintf("%s:%d", f.Path, f.line(sel.Pos()))
		if sel.Sel.Name == "ReadFrom" && p.Path != "broker/internal/wire" && f.imports("kmsg") != "" {
			out = append(out, at+": bytes are decoded only in broker/internal/wire, behind its budget")
		}
		if name, ok := sel.X.(*ast.Ident); ok && !mayTouchMachine(p.Path) && touchesMachine(f.imports(name.Name), sel.Sel.Name) {
			out = append(out, fmt.Sprintf("%s: %s.%s goes around internal/env; take the file system and network from there", at, name.Name, sel.Sel.Name))
		}
		return true
	})
	return out
}

func mayTouchMachine(path string) bool {
	return path == "internal/env" || path == "internal/arch" || path == "bench" ||
		slices.ContainsFunc([]string{"cmd/", "examples/", "connect/connectors/", "conformance"}, func(prefix string) bool {
			return strings.HasPrefix(path, prefix)
		})
}

// touchesMachine says that a name of package os or net opens a file or a socket.
func touchesMachine(pkg, name string) bool {
	switch pkg {
	case "os":
		return slices.Contains([]string{
			"Open", "OpenFile", "Create", "CreateTemp", "Mkdir", "MkdirAll", "MkdirTemp", "Remove", "RemoveAll",
			"Rename", "ReadFile", "WriteFile", "ReadDir", "Stat", "Lstat", "Truncate", "TempDir", "Link", "Symlink", "Chdir",
		}, name)
	case "net":
		return strings.HasPrefix(name, "Dial") || strings.HasPrefix(name, "Listen") && name != "Listener" && name != "ListenConfig" || strings.HasPrefix(name, "File")
	}
	return false
}

// checkPure reports what a pure room may not do: start goroutines, read a
// clock, lock, or reach the machine.
func checkPure(f *File) []string {
	var out []string
	for _, spec := range f.AST.Imports {
		path := strings.Trim(spec.Path.Value, `"`)
		if slices.Contains([]string{"net", "os", "sync", "sync/atomic", "syscall", "golang.org/x/sync/errgroup"}, path) {
			out = append(out, fmt.Sprintf("%s:%d: a pure room does not import %s; let the shell around it act", f.Path, f.line(spec.Pos()), path))
		}
	}
	ast.Inspect(f.AST, func(node ast.Node) bool {
		switch x := node.(type) {
		case *ast.GoStmt:
			out = append(out, fmt.Sprintf("%s:%d: a pure room starts no goroutine", f.Path, f.line(x.Pos())))
		case *ast.SelectorExpr:
			if name, ok := x.X.(*ast.Ident); ok && f.imports(name.Name) == "time" && readsClock(x.Sel.Name) {
				out = append(out, fmt.Sprintf("%s:%d: a pure room does not name time.%s; take the time as a parameter", f.Path, f.line(x.Pos()), x.Sel.Name))
			}
		}
		return true
	})
	return out
}

func readsClock(name string) bool {
	return slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}, name)
}
