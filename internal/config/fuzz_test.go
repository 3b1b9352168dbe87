package config_test

import (
	"testing"
	"unicode/utf8"

	"github.com/weirstream/weir/internal/config"
)

// FuzzParseFile: a properties file is parsed and resolved without a panic, and what is set is text
// that its key takes.
func FuzzParseFile(f *testing.F) {
	for _, seed := range []string{
		"node.id=1\n", "a\\\n b = c\n", "cleanup.policy = delete,compact", "x=${x}", "k=\\u00zz", "=", "# only", "ratio:NaN",
		"node.id=99999999999999999999", "weir.durability=\xff",
	} {
		f.Add([]byte(seed))
	}
	keys, err := config.NewSet(
		config.Key{Name: "node.id", Type: config.Int, Default: "1", Min: new(int64(0))},
		config.Key{Name: "cleanup.policy", Type: config.List, Default: "delete", OneOf: []string{"delete", "compact"}},
		config.Key{Name: "ratio", Type: config.Double, Default: "0.5", Min: new(int64(0)), Max: new(int64(1))},
		config.Key{Name: "secret", Type: config.Password, NoDefault: true},
		config.Key{Name: "weir.durability", Type: config.String, Default: "fsync"},
	)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		layer, err := config.ParseFile("f", text)
		if err != nil {
			return
		}
		set, _, _ := keys.Resolve(layer)
		for name, value := range set {
			if err := keys.Check(name, value.Text); err != nil || !utf8.ValidString(value.Text) {
				t.Errorf("%s=%q was taken: %v", name, value.Text, err)
			}
		}
	})
}
