package layout

import (
	"strings"
	"testing"
)

func TestNamesOfDirectories(t *testing.T) {
	for name, want := range map[string]TP{
		"a-0": {"a", 0}, "with-dashes-12": {"with-dashes", 12}, "a.b_c-7": {"a.b_c", 7},
	} {
		if got, ok := ParseTP(name); !ok || got != want || got.String() != name {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
	for _, name := range []string{"a", "-0", "a-", "a-x", "a-01", "a-0-delete", "a-99999999999", "meta.properties"} {
		if got, ok := ParseTP(name); ok {
			t.Errorf("%s is taken for %v", name, got)
		}
	}
	long := TP{strings.Repeat("t", 249), 1000}
	if name := long.AsideName([16]byte{}, DeleteSuffix); len(name) > 255 || !strings.HasSuffix(name, "-1000."+strings.Repeat("0", 32)+"-delete") {
		t.Errorf("deleted name of %d bytes: %s", len(name), name)
	}
}
