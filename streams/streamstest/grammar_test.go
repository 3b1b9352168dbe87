package streamstest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseCases(t *testing.T) {
	cases, err := parseCases("f.md", strings.Join([]string{
		"# text", "```text", "id NOT-A-CASE", "```",
		"```case", "id A-1", "op timewin size=10 sep=+=", "in T a=b=c@d@-5 ~=~@7 =@0", "out -", "", "outset k[0,10)=v@1", "outsorted k=~@1", "outlast -", "```",
		"```case", "id A-2", "op cogroup", "```", "",
	}, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) != 2 || cases[0].id != "A-1" || cases[0].op != "timewin" || cases[1].op != "cogroup" {
		t.Fatalf("cases %+v, want A-1 and A-2", cases)
	}
	if diff := cmp.Diff(map[string]string{"size": "10", "sep": "+="}, cases[0].args); diff != "" {
		t.Error(diff)
	}
	body := cases[0].body
	var got []string
	for _, l := range body {
		got = append(got, l.verb+" "+l.topic+" "+show(strs(l.recs)))
	}
	want := []string{"in T a=b=c@d@-5 ~=~@7 =@0", "out  -", "outset  k[0,10)=v@1", "outsorted  k=~@1", "outlast  -"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	r := body[0].recs
	if *r[0].key != "a" || *r[0].value != "b=c@d" || r[0].at != -5 {
		t.Errorf("record %v: want a split on the first = and the last @", r[0])
	}
	if r[1].key != nil || r[1].value != nil || r[2].key == nil || *r[2].value != "" {
		t.Errorf("records %v: want ~ as null and nothing as empty text", r[1:])
	}
}

func TestParseCasesRefuses(t *testing.T) {
	block := func(lines ...string) string {
		return "```case\nid X\nop timewin size=1\n" + strings.Join(lines, "\n") + "\n```\n"
	}
	for name, tc := range map[string]struct{ data, want string }{
		"no end":             {"```case\nid X\nop y\n", "f.md:1: the case block does not end"},
		"nothing":            {"```case\n```\n", "f.md:1: a case needs"},
		"no op":              {"```case\nid X\n```\n", "a case needs"},
		"no id":              {"```case\nop x\n```\n", "want: id ID"},
		"two ids":            {"```case\nid X Y\nop x\n```\n", "want: id ID"},
		"op without name":    {"```case\nid X\nop\n```\n", "want: op NAME"},
		"op without value":   {"```case\nid X\nop timewin size\n```\n", `"size" is not a new KEY=VALUE`},
		"key twice":          {"```case\nid X\nop timewin size=1 size=2\n```\n", "is not a new KEY=VALUE"},
		"unknown line":       {block("outs k=v@1"), `f.md:4: "outs k=v@1": unknown line "outs"`},
		"in without topic":   {block("in"), "want: in TOPIC"},
		"in without record":  {block("in T"), "a record is missing"},
		"out without record": {block("out"), "a record is missing"},
		"outset of nothing":  {block("outset -"), "has no @"},
		"dash among records": {block("out - k=v@1"), "has no @"},
		"no time":            {block("out k=v"), "has no @"},
		"bad time":           {block("out k=v@1s"), "invalid syntax"},
		"no value":           {block("out k@1"), "has no ="},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseCases("f.md", tc.data)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestReadCasesNeedsCases(t *testing.T) {
	dir := t.TempDir()
	if _, err := readCases(filepath.Join(dir, "missing")); err == nil {
		t.Error("a missing folder was read")
	}
	if _, err := readCases(dir); err == nil {
		t.Error("an empty folder was read")
	}
	write := func(name, data string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	one := "```case\nid X\nop y\n```\n"
	write("notes.txt", one)
	if _, err := readCases(dir); err == nil {
		t.Error("a folder without *.md was read")
	}
	write("a.md", one)
	if cases, err := readCases(dir); err != nil || len(cases) != 1 {
		t.Errorf("%d cases, error %v; want one", len(cases), err)
	}
	write("b.md", one)
	if _, err := readCases(dir); err == nil || !strings.Contains(err.Error(), "b.md:2: case X stands at a.md:2 already") {
		t.Errorf("error %v, want that the id is taken", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "c.md"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := readCases(dir); err == nil {
		t.Error("an unreadable file was read")
	}
}

func TestCheckComparesAsTheLineSays(t *testing.T) {
	recs := func(words string) []caseRec {
		var list []caseRec
		for w := range strings.FieldsSeq(words) {
			r, err := parseRec(w)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, r)
		}
		return list
	}
	for _, tc := range []struct {
		verb, want, got string
		ok              bool
	}{
		{"out", "a=1@1 b=2@2", "a=1@1 b=2@2", true},
		{"out", "a=1@1 b=2@2", "b=2@2 a=1@1", false},
		{"out", "", "", true},
		{"out", "", "a=1@1", false},
		{"out", "a=~@1", "a=@1", false},
		{"outset", "a=1@1 b=2@2", "b=2@2 a=1@1 a=1@1", true},
		{"outset", "a=1@1 b=2@2", "a=1@1", false},
		{"outsorted", "a=1@1 a=1@1 b=2@2", "b=2@2 a=1@1 a=1@1", true},
		{"outsorted", "a=1@1 b=2@2", "b=2@2 a=1@1 a=1@1", false},
		{"outlast", "a=2@2 b=1@1", "a=1@1 b=1@1 a=2@2", true},
		{"outlast", "a=2@2", "a=1@1 b=1@1 a=2@2", false},
		{"outlast", "", "a=1@1", false},
	} {
		l := caseLine{verb: tc.verb, recs: recs(tc.want)}
		if err := l.check(recs(tc.got)); (err == nil) != tc.ok {
			t.Errorf("%s %s against %s: %v", tc.verb, tc.want, tc.got, err)
		}
	}
}
