package arch

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHouse(t *testing.T) {
	root := filepath.Join("..", "..")
	breaches, err := Check(root, Rules{Rooms: rooms(), Maps: []string{"README.md", "ARCHITECTURE.md"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range breaches {
		t.Error(b)
	}
	code, tests := countLines(t, root)
	t.Logf("%d code lines, %d test lines, ratio %.2f", code, tests, float64(tests)/float64(code))
}

func countLines(t *testing.T, root string) (code, tests int) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.HasSuffix(path, "_test.go") {
			tests += strings.Count(string(text), "\n")
		} else {
			code += strings.Count(string(text), "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return code, tests
}

// plant builds a small house with one breach in it.
type plant struct {
	name  string
	files map[string]string
	want  string
}

func plants() []plant {
	long := "package brain\n" + strings.Repeat("// filler\n", 606)
	body := strings.Repeat("\tprintln()\n", 86)
	branches := strings.Repeat("\tif x > 1 {\n\t\tprintln()\n\t}\n", 16)
	big := "package shell\n"
	for i := range 3001 {
		big += fmt.Sprintf("const c%d = 1\n", i)
	}
	return []plant{
		{"upward import", map[string]string{"brain/up.go": "package brain\n\nimport _ \"" + Module + "/shell\"\n"}, "brain must not import shell"},
		{"net in a pure room", map[string]string{"brain/net.go": "package brain\n\nimport _ \"net\"\n"}, "a pure room does not import net"},
		{"os in a pure room", map[string]string{"brain/os.go": "package brain\n\nimport _ \"os\"\n"}, "a pure room does not import os"},
		{"lock in a pure room", map[string]string{"brain/lock.go": "package brain\n\nimport _ \"sync\"\n"}, "a pure room does not import sync"},
		{"goroutine in a pure room", map[string]string{"brain/go.go": "package brain\n\nfunc f() { go f() }\n"}, "starts no goroutine"},
		{"clock in a pure room", map[string]string{"brain/now.go": "package brain\n\nimport \"time\"\n\nfunc f() time.Time { return time.Now() }\n"}, "does not name time.Now"},
		{"renamed clock in a pure room", map[string]string{"brain/now.go": "package brain\n\nimport tick \"time\"\n\nfunc f() tick.Time { return tick.Now() }\n"}, "does not name time.Now"},
		{"unlisted package", map[string]string{"attic/attic.go": "// Package attic is new.\npackage attic\n"}, "attic: not in the import table"},
		{"vanished package", map[string]string{"shell/shell.go": ""}, "shell: in the import table but not in the tree"},
		{"no package comment", map[string]string{"brain/brain.go": "package brain\n"}, "brain: no package comment"},
		{"no doc comment", map[string]string{"brain/doc.go": "package brain\n\nfunc Think() {}\n"}, "exported Think has no doc comment"},
		{"long file", map[string]string{"brain/long.go": long}, "607 lines, at most 600"},
		{"long function", map[string]string{"brain/func.go": "package brain\n\nfunc f() {\n" + body + "}\n"}, "f has 88 lines, at most 80"},
		{"branchy function", map[string]string{"brain/if.go": "package brain\n\nfunc f(x int) {\n" + branches + "}\n"}, "cyclomatic complexity 17"},
		{"large package", map[string]string{"shell/big.go": big}, "code lines, at most 3000"},
		{"init", map[string]string{"shell/init.go": "package shell\n\nfunc init() {}\n"}, "init runs behind the reader's back"},
		{"mutable package variable", map[string]string{"shell/var.go": "package shell\n\nvar count int\n"}, "package variable count can change"},
		{"file system outside env", map[string]string{"shell/fs.go": "package shell\n\nimport \"os\"\n\nfunc f() { _, _ = os.Open(\"x\") }\n"}, "os.Open goes around internal/env"},
		{"socket outside env", map[string]string{"shell/dial.go": "package shell\n\nimport \"net\"\n\nfunc f() { _, _ = net.Dial(\"tcp\", \"x\") }\n"}, "net.Dial goes around internal/env"},
		{"decoding outside wire", map[string]string{"shell/kmsg.go": "package shell\n\nimport \"github.com/twmb/franz-go/pkg/kmsg\"\n\nfunc f(r kmsg.Request) { _ = r.ReadFrom(nil) }\n"}, "decoded only in broker/internal/wire"},
		{"map without a room", map[string]string{"MAP.md": "<!-- map -->\n| `brain` | x |\n<!-- /map -->\n"}, "the map does not name shell"},
		{"map with a ghost", map[string]string{"MAP.md": "<!-- map -->\n| `brain` | x |\n| `shell` | x |\n| `ghost` | x |\n<!-- /map -->\n"}, "the map names ghost"},
		{"no map", map[string]string{"MAP.md": "nothing\n"}, "MAP.md: no map"},
		{"long chain", chain(), "10 packages on its longest import chain"},
	}
}

func chain() map[string]string {
	files := map[string]string{}
	for i := range 10 {
		next := ""
		if i < 9 {
			next = fmt.Sprintf("\nimport _ \"%s/deep/d%d\"\n", Module, i+1)
		}
		files[fmt.Sprintf("deep/d%d/d.go", i)] = fmt.Sprintf("// Package d%d is deep.\npackage d%d\n%s", i, i, next)
	}
	return files
}

func TestCheckReportsPlantedBreaches(t *testing.T) {
	sound := map[string]string{
		"brain/brain.go": "// Package brain decides.\npackage brain\n\nimport \"errors\"\n\n// ErrDoubt is returned when in doubt.\nvar ErrDoubt = errors.New(\"doubt\")\n",
		"shell/shell.go": "// Package shell acts.\npackage shell\n\nimport _ \"" + Module + "/brain\"\n",
		"MAP.md":         "<!-- map -->\n| `brain` | x |\n| `shell` | x |\n<!-- /map -->\n",
	}
	if got := checkTree(t, sound); len(got) != 0 {
		t.Fatalf("the sound house is refused: %q", got)
	}
	for _, p := range plants() {
		t.Run(p.name, func(t *testing.T) {
			files := map[string]string{}
			maps.Copy(files, sound)
			maps.Copy(files, p.files)
			if got := strings.Join(checkTree(t, files), "\n"); !strings.Contains(got, p.want) {
				t.Errorf("want a breach with %q, got:\n%s", p.want, got)
			}
		})
	}
}

func checkTree(t *testing.T, files map[string]string) []string {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		if text == "" {
			continue
		}
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rules := Rules{Maps: []string{"MAP.md"}, Rooms: map[string]Room{"brain": {Pure: true}, "shell": {May: []string{"brain"}}}}
	for i := range 10 {
		if _, deep := files["deep/d0/d.go"]; deep {
			rules.Rooms[fmt.Sprintf("deep/d%d", i)] = Room{May: []string{"deep/..."}}
		}
	}
	breaches, err := Check(root, rules)
	if err != nil {
		t.Fatal(err)
	}
	return breaches
}

func TestCheckReportsWhatItCannotRead(t *testing.T) {
	if _, err := Check(filepath.Join(t.TempDir(), "gone"), Rules{}); err == nil {
		t.Error("a missing tree is no error")
	}
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "x.go"), []byte("not go"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(root, Rules{}); err == nil {
		t.Error("a file that does not parse is no error")
	}
	if _, err := Check(t.TempDir(), Rules{Maps: []string{"gone.md"}}); err == nil {
		t.Error("a missing map is no error")
	}
}
