package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// The budgets of the house.
const (
	maxFileLines    = 600
	maxFuncLines    = 80
	maxPackageLines = 3000
	maxComplexity   = 15
	maxImportChain  = 9
)

// ground is what every room may import.
func ground() []string {
	return []string{"internal/env", "internal/config", "internal/telemetry", "internal/deadletter"}
}

// Check returns one line for each breach of the rules in the tree at root,
// each with what to do about it.
func Check(root string, rules Rules) ([]string, error) {
	packages, err := Load(root)
	if err != nil {
		return nil, err
	}
	var out []string
	out = append(out, checkTable(packages, rules)...)
	out = append(out, checkChains(packages)...)
	for _, p := range packages {
		out = append(out, checkPackage(p, rules.Rooms[p.Path])...)
	}
	for _, doc := range rules.Maps {
		breaches, err := checkMap(root, doc, packages)
		if err != nil {
			return nil, err
		}
		out = append(out, breaches...)
	}
	slices.Sort(out)
	return out, nil
}

// checkTable holds the imports to the table, and the table to the tree.
func checkTable(packages []*Package, rules Rules) []string {
	var out []string
	exists := map[string]bool{}
	for _, p := range packages {
		exists[p.Path] = true
		room, listed := rules.Rooms[p.Path]
		if !listed {
			out = append(out, p.Path+": not in the import table; give the room a line there or fold it into another")
			continue
		}
		for _, imported := range p.Imports {
			if !mayImport(room, imported) {
				out = append(out, fmt.Sprintf("%s must not import %s: arrows run down the house; declare the interface you need in %s", p.Path, imported, p.Path))
			}
		}
	}
	for path := range rules.Rooms {
		if !exists[path] {
			out = append(out, path+": in the import table but not in the tree; delete the line")
		}
	}
	return out
}

func mayImport(room Room, imported string) bool {
	allowed := room.May
	if !room.Pure {
		allowed = slices.Concat(allowed, ground())
	}
	return slices.ContainsFunc(allowed, func(entry string) bool {
		tree, whole := strings.CutSuffix(entry, "...")
		return entry == imported || whole && strings.HasPrefix(imported+"/", tree)
	})
}

// checkChains bounds the longest chain of imports.
func checkChains(packages []*Package) []string {
	imports := map[string][]string{}
	for _, p := range packages {
		imports[p.Path] = p.Imports
	}
	depth := map[string]int{}
	var measure func(path string) int
	measure = func(path string) int {
		if depth[path] == 0 {
			depth[path] = 1 // a cycle, which the compiler refuses, ends here
			deepest := 0
			for _, i := range imports[path] {
				deepest = max(deepest, measure(i))
			}
			depth[path] = deepest + 1
		}
		return depth[path]
	}
	var out []string
	for _, p := range packages {
		if d := measure(p.Path); d > maxImportChain && !strings.HasPrefix(p.Path, "cmd/") && !strings.HasPrefix(p.Path, "examples/") {
			out = append(out, fmt.Sprintf("%s: %d packages on its longest import chain, at most %d; flatten it", p.Path, d, maxImportChain))
		}
	}
	return out
}

// checkPackage holds one package to purity, budgets and documentation.
func checkPackage(p *Package, room Room) []string {
	var out []string
	documented := false
	for _, f := range p.Files {
		documented = documented || f.AST.Doc != nil
		if len(f.Lines) > maxFileLines {
			out = append(out, fmt.Sprintf("%s: %d lines, at most %d; split it by responsibility", f.Path, len(f.Lines), maxFileLines))
		}
		for _, decl := range f.AST.Decls {
			out = append(out, checkDecl(f, decl)...)
		}
		out = append(out, checkCalls(p, f)...)
		if room.Pure {
			out = append(out, checkPure(f)...)
		}
	}
	if !documented {
		out = append(out, p.Path+": no package comment; say in one sentence what the room is for")
	}
	if p.Code > maxPackageLines {
		out = append(out, fmt.Sprintf("%s: %d code lines, at most %d; split the room", p.Path, p.Code, maxPackageLines))
	}
	return out
}

// checkDecl holds one top-level declaration to size, documentation and state.
func checkDecl(f *File, decl ast.Decl) []string {
	at := fmt.Sprintf("%s:%d", f.Path, f.line(decl.Pos()))
	switch d := decl.(type) {
	case *ast.FuncDecl:
		return checkFunc(f, d, at)
	case *ast.GenDecl:
		var out []string
		for _, spec := range d.Specs {
			out = append(out, checkSpec(d, spec, at)...)
		}
		return out
	}
	return nil
}

func checkFunc(f *File, d *ast.FuncDecl, at string) []string {
	var out []string
	if lines := f.line(d.End()) - f.line(d.Pos()) + 1; lines > maxFuncLines {
		out = append(out, fmt.Sprintf("%s: %s has %d lines, at most %d; split it", at, d.Name.Name, lines, maxFuncLines))
	}
	if c := complexity(d); c > maxComplexity {
		out = append(out, fmt.Sprintf("%s: %s has cyclomatic complexity %d, at most %d; split it", at, d.Name.Name, c, maxComplexity))
	}
	if d.Recv == nil && d.Name.Name == "init" {
		out = append(out, at+": init runs behind the reader's back; call it from a constructor")
	}
	if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
		out = append(out, fmt.Sprintf("%s: exported %s has no doc comment; give its contract", at, d.Name.Name))
	}
	return out
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

func checkSpec(d *ast.GenDecl, spec ast.Spec, at string) []string {
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
			return []string{fmt.Sprintf("%s: exported %s has no doc comment; give its contract", at, s.Name.Name)}
		}
	case *ast.ValueSpec:
		var out []string
		for _, name := range s.Names {
			if name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
				out = append(out, fmt.Sprintf("%s: exported %s has no doc comment; say what it means", at, name.Name))
			}
			if d.Tok == token.VAR && !constant(d, s, name.Name) {
				out = append(out, fmt.Sprintf("%s: package variable %s can change; make it a constant, a function or a field", at, name.Name))
			}
		}
		return out
	}
	return nil
}

// constant says that a package variable is never assigned again by custom:
// error sentinels, interface assertions, embedded files, compiled patterns.
func constant(d *ast.GenDecl, s *ast.ValueSpec, name string) bool {
	if name == "_" || strings.HasPrefix(name, "err") || strings.HasPrefix(name, "Err") {
		return true
	}
	for _, doc := range []*ast.CommentGroup{d.Doc, s.Doc} {
		if doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed") }) {
			return true
		}
	}
	if len(s.Values) == 1 {
		if call, ok := s.Values[0].(*ast.CallExpr); ok {
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
				return sel.Sel.Name == "MustCompile"
			}
		}
	}
	return false
}

// complexity counts the decisions of a function, closures included.
func complexity(d *ast.FuncDecl) int {
	n := 1
	ast.Inspect(d, func(node ast.Node) bool {
		switch x := node.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
			n++
		case *ast.CaseClause:
			if x.List != nil {
				n++
			}
		case *ast.CommClause:
			if x.Comm != nil {
				n++
			}
		case *ast.BinaryExpr:
			if x.Op == token.LAND || x.Op == token.LOR {
				n++
			}
		}
		return true
	})
	return n
}

// checkMap holds the map of a document, the lines between "<!-- map -->" and
// "<!-- /map -->" that start with "| `path`", to the packages of the tree.
func checkMap(root, doc string, packages []*Package) ([]string, error) {
	text, err := os.ReadFile(filepath.Clean(filepath.Join(root, doc)))
	if err != nil {
		return nil, fmt.Errorf("read the map: %w", err)
	}
	_, rest, _ := strings.Cut(string(text), "<!-- map -->")
	body, _, found := strings.Cut(rest, "<!-- /map -->")
	if !found {
		return []string{doc + ": no map; put the table of packages between <!-- map --> and <!-- /map -->"}, nil
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(body, -1) {
		named[m[1]] = true
	}
	var out []string
	for _, p := range packages {
		if !named[p.Path] {
			out = append(out, fmt.Sprintf("%s: the map does not name %s", doc, p.Path))
		}
		delete(named, p.Path)
	}
	for path := range named {
		out = append(out, fmt.Sprintf("%s: the map names %s, which is not in the tree", doc, path))
	}
	return out, nil
}
