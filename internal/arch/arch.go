// Package arch reads the source tree and reports where it breaks the house
// rules: who may import whom, which rooms are pure, how large things may grow,
// what must be documented. Its test holds the whole repository to them.
package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Module is the import path of the module whose packages are rooms.
const Module = "github.com/weirstream/weir"

// Room is one line of the import table: what a package may import of ours and
// whether it is pure. An entry ending in /... allows a whole subtree.
type Room struct {
	May  []string
	Pure bool
}

// Rules are the laws a tree is held to.
type Rules struct {
	Rooms map[string]Room // by path below the module, "." is the root
	Maps  []string        // documents whose map names every package and no other
}

// Package is what one folder of non-test Go files says of itself.
type Package struct {
	Path    string
	Imports []string // of ours, below the module, sorted
	Files   []*File
	Code    int // lines that are neither blank nor comment
}

// File is one parsed source file.
type File struct {
	Path  string // below the root
	Lines []string
	AST   *ast.File
	Fset  *token.FileSet
}

// Load parses every package of the tree at root, tests and nested modules left out.
func Load(root string) ([]*Package, error) {
	byPath := map[string]*Package{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skipDir(root, path)
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := loadFile(root, path)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(f.Path))
		if byPath[dir] == nil {
			byPath[dir] = &Package{Path: dir}
		}
		byPath[dir].Files = append(byPath[dir].Files, f)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the tree: %w", err)
	}
	packages := make([]*Package, 0, len(byPath))
	for _, p := range byPath {
		p.finish()
		packages = append(packages, p)
	}
	slices.SortFunc(packages, func(a, b *Package) int { return strings.Compare(a.Path, b.Path) })
	return packages, nil
}

func skipDir(root, path string) error {
	name := filepath.Base(path)
	if path == root {
		return nil
	}
	if name == "testdata" || name == "node_modules" || strings.HasPrefix(name, ".") {
		return filepath.SkipDir
	}
	if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
		return filepath.SkipDir
	}
	return nil
}

func loadFile(root, path string) (*File, error) {
	text, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	rel, err := filepath.Rel(root, path)
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, rel, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil && !forNewerGo(text) {
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	return &File{Path: filepath.ToSlash(rel), Lines: lines, AST: tree, Fset: fset}, nil
}

// forNewerGo reports whether a file waits for a later release of the language,
// whose syntax this release's parser reads only in part.
func forNewerGo(text []byte) bool { return bytes.HasPrefix(text, []byte("//go:build go1.27\n")) }

// finish derives what is known of the package from its files.
func (p *Package) finish() {
	seen := map[string]bool{}
	for _, f := range p.Files {
		p.Code += f.codeLines()
		for _, spec := range f.AST.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			if rest, ours := strings.CutPrefix(path, Module+"/"); ours && !seen[rest] {
				seen[rest] = true
				p.Imports = append(p.Imports, rest)
			}
		}
	}
	slices.Sort(p.Imports)
}

// codeLines counts the lines that are neither blank nor only comment.
func (f *File) codeLines() int {
	comment := make([]bool, len(f.Lines)+2)
	for _, group := range f.AST.Comments {
		for line := f.line(group.Pos()); line <= f.line(group.End()); line++ {
			comment[line] = true
		}
	}
	n := 0
	for i, text := range f.Lines {
		text = strings.TrimSpace(text)
		if text == "" || comment[i+1] && (strings.HasPrefix(text, "//") || strings.HasPrefix(text, "/*")) {
			continue
		}
		n++
	}
	return n
}

func (f *File) line(pos token.Pos) int { return f.Fset.Position(pos).Line }

// imports returns the import path that name stands for in the file, or "".
func (f *File) imports(name string) string {
	for _, spec := range f.AST.Imports {
		path := strings.Trim(spec.Path.Value, `"`)
		local := path[strings.LastIndexByte(path, '/')+1:]
		if spec.Name != nil {
			local = spec.Name.Name
		}
		if local == name {
			return path
		}
	}
	return ""
}
