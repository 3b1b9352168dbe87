package streamstest_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// testCase is one conformance case: an operator with its settings, and lines
// that pipe records in or compare what came out.
type testCase struct {
	id   string
	op   string
	args map[string]string
	file string
	line int // of the id
	body []caseLine
}

// caseLine is one in or out line.
type caseLine struct {
	line  int
	verb  string // in, out, outset, outsorted, outlast
	topic string // of an in line
	recs  []caseRec
}

// caseRec is one record in the text of a case; nil is null.
type caseRec struct {
	key, value *string
	at         int64
}

const null = "~"

func text(s *string) string {
	if s == nil {
		return null
	}
	return *s
}

func (r caseRec) String() string { return fmt.Sprintf("%s=%s@%d", text(r.key), text(r.value), r.at) }

// readCases reads the cases of every *.md file in a folder, sorted by file name.
func readCases(dir string) ([]testCase, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read case folder: %w", err)
	}
	var cases []testCase
	seen := map[string]string{}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".md" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read case file: %w", err)
		}
		more, err := parseCases(e.Name(), string(data))
		if err != nil {
			return nil, err
		}
		for _, c := range more {
			where := fmt.Sprintf("%s:%d", c.file, c.line)
			if first, ok := seen[c.id]; ok {
				return nil, fmt.Errorf("%s: case %s stands at %s already", where, c.id, first)
			}
			seen[c.id] = where
		}
		cases = append(cases, more...)
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("no case in the *.md files of %s", dir)
	}
	return cases, nil
}

// parseCases returns the cases in the ```case blocks of one file.
func parseCases(file, data string) ([]testCase, error) {
	var cases []testCase
	var block []string
	start := 0 // line number of the fence, 0 outside of a block
	for i, line := range strings.Split(data, "\n") {
		line = strings.TrimRight(line, " \t\r")
		switch {
		case start == 0 && line == "```case":
			start, block = i+1, nil
		case start != 0 && line == "```":
			c, err := parseCase(block, start)
			if err != nil {
				return nil, fmt.Errorf("%s:%w", file, err)
			}
			c.file = file
			cases = append(cases, c)
			start = 0
		case start != 0:
			block = append(block, line)
		}
	}
	if start != 0 {
		return nil, fmt.Errorf("%s:%d: the case block does not end", file, start)
	}
	return cases, nil
}

// parseCase reads one block; start is the line number of its fence.
func parseCase(block []string, start int) (testCase, error) {
	c := testCase{args: map[string]string{}, line: start + 1}
	for i, text := range block {
		line, words := start+1+i, strings.Fields(text)
		var err error
		switch {
		case len(words) == 0:
		case c.id == "":
			err = c.parseID(words)
		case c.op == "":
			err = c.parseOp(words)
		default:
			err = c.parseLine(line, words)
		}
		if err != nil {
			return c, fmt.Errorf("%d: %q: %w", line, text, err)
		}
	}
	if c.op == "" {
		return c, fmt.Errorf("%d: a case needs an id and an op", start)
	}
	return c, nil
}

func (c *testCase) parseID(words []string) error {
	if words[0] != "id" || len(words) != 2 {
		return errors.New("want: id ID")
	}
	c.id = words[1]
	return nil
}

func (c *testCase) parseOp(words []string) error {
	if words[0] != "op" || len(words) < 2 {
		return errors.New("want: op NAME KEY=VALUE, any number")
	}
	c.op = words[1]
	for _, w := range words[2:] {
		k, v, ok := strings.Cut(w, "=")
		if _, twice := c.args[k]; !ok || twice || k == "" {
			return fmt.Errorf("%q is not a new KEY=VALUE", w)
		}
		c.args[k] = v
	}
	return nil
}

func (c *testCase) parseLine(line int, words []string) error {
	l := caseLine{line: line, verb: words[0]}
	rest := words[1:]
	switch l.verb {
	case "in":
		if len(rest) == 0 {
			return errors.New("want: in TOPIC and records")
		}
		l.topic, rest = rest[0], rest[1:]
	case "out", "outlast":
		if slices.Equal(rest, []string{"-"}) {
			c.body = append(c.body, l)
			return nil
		}
	case "outset", "outsorted":
	default:
		return fmt.Errorf("unknown line %q", l.verb)
	}
	if len(rest) == 0 {
		return errors.New("a record is missing")
	}
	for _, w := range rest {
		r, err := parseRec(w)
		if err != nil {
			return err
		}
		l.recs = append(l.recs, r)
	}
	c.body = append(c.body, l)
	return nil
}

// parseRec reads KEY=VALUE@TIMESTAMP, split on the last @ and the first =.
func parseRec(w string) (caseRec, error) {
	at := strings.LastIndexByte(w, '@')
	if at < 0 {
		return caseRec{}, fmt.Errorf("record %q has no @", w)
	}
	ts, err := strconv.ParseInt(w[at+1:], 10, 64)
	if err != nil {
		return caseRec{}, fmt.Errorf("record %q: %w", w, err)
	}
	k, v, ok := strings.Cut(w[:at], "=")
	if !ok {
		return caseRec{}, fmt.Errorf("record %q has no =", w)
	}
	return caseRec{key: orNull(k), value: orNull(v), at: ts}, nil
}

func orNull(s string) *string {
	if s == null {
		return nil
	}
	return &s
}

// millis returns an argument in milliseconds; a missing one is def.
func (c *testCase) millis(key string, def int64) (int64, error) {
	v, ok := c.args[key]
	if !ok {
		return def, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s=%s: %w", key, v, err)
	}
	return n, nil
}

// only returns an error if the case has an argument that is not in keys.
func (c *testCase) only(keys ...string) error {
	for k, v := range c.args {
		if !slices.Contains(keys, k) {
			return fmt.Errorf("unknown key %s=%s of op %s", k, v, c.op)
		}
	}
	return nil
}

// check compares what was emitted since the line before with the line.
func (l *caseLine) check(got []caseRec) error {
	have, want := strs(got), strs(l.recs)
	switch l.verb {
	case "outset":
		slices.Sort(have)
		slices.Sort(want)
		have, want = slices.Compact(have), slices.Compact(want)
	case "outsorted":
		slices.Sort(have)
		slices.Sort(want)
	case "outlast":
		have, want = last(got), last(l.recs)
	}
	if !slices.Equal(have, want) {
		return fmt.Errorf("line %d, %s:\n got %s\nwant %s", l.line, l.verb, show(have), show(want))
	}
	return nil
}

func show(recs []string) string {
	if len(recs) == 0 {
		return "-"
	}
	return strings.Join(recs, " ")
}

func strs(recs []caseRec) []string {
	list := make([]string, len(recs))
	for i, r := range recs {
		list[i] = r.String()
	}
	return list
}

// last returns the last record of each key, sorted.
func last(recs []caseRec) []string {
	byKey := map[string]string{}
	for _, r := range recs {
		byKey[text(r.key)] = r.String()
	}
	list := make([]string, 0, len(byKey))
	for _, r := range byKey {
		list = append(list, r)
	}
	slices.Sort(list)
	return list
}
