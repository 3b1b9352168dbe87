package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"
)

// counter is an independent count: a pattern of its own, maps, nothing shared
// with the program.
func counter(text string) []string {
	pattern := regexp.MustCompile(`^(\S+) \S+ \S+ \[([^\]]+)\] "(?:[^ "\\]|\\.)+ ((?:[^ "\\]|\\.)+)(?: (?:[^ "\\]|\\.)+)?" \d{3} (?:\d+|-)(?: .*)?$`)
	type key struct{ window, page string }
	views := map[key]int{}
	visitors := map[key]map[string]bool{}
	for line := range strings.SplitSeq(text, "\n") {
		m := pattern.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		at, err := time.Parse("02/Jan/2006:15:04:05 -0700", m[2])
		if err != nil {
			continue
		}
		page, _, _ := strings.Cut(m[3], "?")
		if page == "*" {
			page = "/*"
		}
		for _, p := range []string{page, "*"} {
			k := key{at.UTC().Truncate(time.Minute).Format("2006-01-02T15:04:05Z"), p}
			views[k]++
			if visitors[k] == nil {
				visitors[k] = map[string]bool{}
			}
			visitors[k][m[1]] = true
		}
	}
	keys := make([]key, 0, len(views))
	for k := range views {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool {
		if keys[i].window != keys[j].window {
			return keys[i].window < keys[j].window
		}
		return keys[i].page < keys[j].page
	})
	var lines []string
	for _, k := range keys {
		var b strings.Builder
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(map[string]any{"window": k.window, "page": k.page, "pv": views[k], "uv": len(visitors[k])}); err != nil {
			panic(err)
		}
		lines = append(lines, canonical(b.String()))
	}
	return lines
}

// canonical orders the fields of a line, so that only values count.
func canonical(line string) string {
	var v map[string]any
	if err := json.Unmarshal([]byte(line), &v); err != nil {
		return "not JSON: " + line
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func canonicalLines(out string) []string {
	var lines []string
	for line := range strings.Lines(out) {
		lines = append(lines, canonical(line))
	}
	return lines
}

func compare(t *testing.T, want, got []string) {
	t.Helper()
	for i := range max(len(want), len(got)) {
		w, g := at(want, i), at(got, i)
		if w != g {
			t.Fatalf("line %d of %d/%d:\n got %s\nwant %s", i+1, len(got), len(want), g, w)
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}

// seededLog is a log with what real ones have: lines out of order, odd targets,
// escapes, bytes that are not UTF-8, HTTP/0.9, broken lines.
func seededLog(lines int) string {
	g := &generator{rng: rand.New(rand.NewPCG(7, 7)), now: time.Date(2015, 5, 17, 10, 5, 0, 0, time.UTC), left: lines}
	text, err := io.ReadAll(g)
	if err != nil {
		panic(err)
	}
	return string(text) + strings.Join([]string{
		`1.1.1.1 - - [17/May/2015:10:05:01 +0000] "OPTIONS * HTTP/1.0" 200 -`,
		`1.1.1.2 - bob [17/May/2015:12:05:02 +0200] "GET /old" 404 0`,
		`1.1.1.3 - - [17/May/2015:10:05:03 +0000] "GET /a\"b\\c?q=1 HTTP/1.1" 200 5 "-" "ua"`,
		`1.1.1.3 - - [17/May/2015:10:05:03 +0000] "GET /<b>&amp; HTTP/1.1" 500 5`,
		`2001:db8::1 - - [17/May/2015:10:05:59 +0000] "GET /ü HTTP/1.1" 200 5`,
		`1.1.1.4 - - [17/May/2015:10:05:03] "GET /nozone HTTP/1.1" 200 5`,
		`1.1.1.4 - - [17/May/2015:10:05:03 +0000] "GET /status HTTP/1.1" 20 5`,
		`1.1.1.4 - - [17/May/2015:10:05:03 +0000] "-" 408 -`,
		`1.1.1.4 - - [17/May/2015:10:05:03 +0000] "GET /size HTTP/1.1" 200 5x`,
		``,
		`no newline at the end - - -`,
	}, "\n")
}

func count(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := run(ctx, append([]string{"-once", "-json"}, args...), strings.NewReader(""), &out, &errs); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	return out.String(), errs.String()
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOnceEqualsAnIndependentCount(t *testing.T) {
	text := seededLog(5000)
	out, said := count(t, "-input", write(t, "access.log", text), "-data", t.TempDir())
	compare(t, counter(text), canonicalLines(out))
	if !strings.Contains(said, "lines are not valid") {
		t.Errorf("broken lines are not reported: %q", said)
	}
}

func TestASecondRunFeedsNothingAndSaysTheSame(t *testing.T) {
	input, data := write(t, "access.log", seededLog(2000)), t.TempDir()
	first, _ := count(t, "-input", input, "-data", data)
	second, _ := count(t, "-input", input, "-data", data)
	compare(t, canonicalLines(first), canonicalLines(second))
	other, _ := count(t, "-input", input, "-data", data, "-window", "1h", "-uv", "hll")
	if strings.Contains(other, "10:05:00Z") {
		t.Error("another window got the counts of the first")
	}
}

func TestGzipAndStandardInputCountTheSame(t *testing.T) {
	text := seededLog(1000)
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	out, _ := count(t, "-input", write(t, "access.log.gz", zipped.String()), "-data", t.TempDir())
	compare(t, counter(text), canonicalLines(out))
	var piped, errs bytes.Buffer
	if err := run(t.Context(), []string{"-once", "-json", "-input", "-", "-data", t.TempDir()}, strings.NewReader(text), &piped, &errs); err != nil {
		t.Fatal(err)
	}
	compare(t, counter(text), canonicalLines(piped.String()))
}

func TestBytesThatAreNotUTF8AreShownAsHex(t *testing.T) {
	text := "1.1.1.1 - - [17/May/2015:10:05:01 +0000] \"GET /\xff\xfe HTTP/1.0\" 200 1\n"
	out, _ := count(t, "-input", write(t, "l", text), "-data", t.TempDir())
	if !strings.Contains(out, `"page":"/\\xFF\\xFE"`) {
		t.Errorf("got %s", out)
	}
}

func TestBadInputIsNamedAndLeavesNothingBehind(t *testing.T) {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := io.WriteString(w, seededLog(2000)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	whole := zipped.Bytes()
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 0xff
	for _, c := range []struct{ name, input, want string }{
		{"missing", filepath.Join(t.TempDir(), "gone.log"), "no such file"},
		{"a folder", t.TempDir(), "is a directory"},
		{"empty", write(t, "l", ""), "it is empty"},
		{"binary", write(t, "l", "\x7fELF\x00\x00\x01"), "it is binary"},
		{"cut gzip", write(t, "l.gz", string(whole[:len(whole)/2])), "cut off"},
		{"cut gzip header", write(t, "l.gz", string(whole[:5])), "cut off"},
		{"damaged gzip", write(t, "l.gz", string(flipped)), "damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			err := run(t.Context(), []string{"-once", "-input", c.input, "-data", data}, strings.NewReader(""), io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.input) {
				t.Errorf("error %v, want %q with the name of the file", err, c.want)
			}
			if _, err := os.Stat(data); !errors.Is(err, os.ErrNotExist) {
				t.Error("something was written")
			}
		})
	}
}

func TestWrongFlagsAreNamed(t *testing.T) {
	for _, args := range [][]string{{"-window", "0s"}, {"-window", "1ns"}, {"-uv", "guess"}, {"-guarantee", "exactly_once"}, {"access.log"}, {"-nope"}} {
		if err := run(t.Context(), args, strings.NewReader(""), io.Discard, io.Discard); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}

func TestParseLine(t *testing.T) {
	for _, c := range []struct{ line, visitor, page string }{
		{`1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /a?b HTTP/1.1" 200 12`, "1.2.3.4", "/a"},
		{`1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /a" 200 -`, "1.2.3.4", "/a"},
		{`1.2.3.4 - - [17/May/2015:10:05:03 +0000] "OPTIONS * HTTP/1.1" 200 -`, "1.2.3.4", "/*"},
		{`1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /a\"b HTTP/1.1" 200 - "r" "u"`, "1.2.3.4", `/a\"b`},
		{`1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET" 200 -`, "", ""},
		{`1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /a b HTTP/1.1" 200 -`, "", ""},
		{`1.2.3.4 - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 -`, "", ""},
		{`1.2.3.4 - - [17/May/2015:10:05:03 +0000 "GET /a HTTP/1.1" 200 -`, "", ""},
		{`1.2.3.4 - - [99/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 -`, "", ""},
		{`1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1 200 -`, "", ""},
		{`1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1"200 -`, "", ""},
		{`1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" abc -`, "", ""},
		{`1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200`, "", ""},
	} {
		v, ok := parseLine([]byte(c.line))
		if ok != (c.visitor != "") || v.visitor != c.visitor || v.page != c.page {
			t.Errorf("%s: %+v %t", c.line, v, ok)
		}
	}
}

func TestStatsKeepTheirValues(t *testing.T) {
	for _, kind := range []string{"exact", "hll"} {
		s := newStat(kind)()
		for i, visitor := range []string{"a", "b", "a", visitorToken(`"q"%\` + "\xff")} {
			s = s.seen(visitor)
			b, err := statSerde{}.Append(nil, "", s)
			if err != nil || !json.Valid(b) {
				t.Fatalf("%s %d: %s %v", kind, i, b, err)
			}
			if s, err = (statSerde{}).Decode("", b); err != nil {
				t.Fatal(err)
			}
		}
		if s.PV != 4 || s.UV != 3 {
			t.Errorf("%s: %d views, %d visitors, want 4 and 3", kind, s.PV, s.UV)
		}
	}
	for _, b := range []string{"", "{}", `{"pv":1,"uv":1,"hll":"!"}`, `{"pv":"x","visitors":""}`, `{"pv":1,"hll":"AAAA"}`} {
		if _, err := (statSerde{}).Decode("", []byte(b)); err == nil {
			t.Errorf("%q was taken", b)
		}
	}
}

// TestKilledRunsKeepThePromise kills the program between its first and its last
// commit and runs it again. Exactly once, the counts are those of an undisturbed
// run. At least once, no line is lost, uniques are exact, and views are never below
// those of an undisturbed run.
func TestKilledRunsKeepThePromise(t *testing.T) {
	if testing.Short() {
		t.Skip("kills of a real process take a while")
	}
	bin := filepath.Join(t.TempDir(), "pv-uv")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text := seededLog(4000)
	input := write(t, "access.log", text)
	want := counter(text)
	for guarantee, check := range map[string]func(*testing.T, []string, []string){"exactly_once_v2": compare, "at_least_once": checkPromise} {
		for seed := range uint64(2) {
			t.Run(guarantee, func(t *testing.T) {
				check(t, want, killedAndRunAgain(t, seed, bin, "-once", "-json", "-input", input, "-data", t.TempDir(), "-guarantee", guarantee))
			})
		}
	}
}

func killedAndRunAgain(t *testing.T, seed uint64, bin string, args ...string) []string {
	t.Helper()
	after := 400*time.Millisecond + time.Duration(rand.New(rand.NewPCG(seed, 3)).IntN(1200))*time.Millisecond
	killed := exec.Command(bin, append(args, "-rate", "2000")...)
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { _ = killed.Process.Signal(syscall.SIGKILL) })
	err := killed.Wait()
	if timer.Stop(); err == nil {
		t.Fatalf("seed %d: the run was over before the kill after %s", seed, after)
	}
	out, err := exec.Command(bin, args...).Output()
	if err != nil {
		t.Fatalf("seed %d: the second run: %v", seed, err)
	}
	return canonicalLines(string(out))
}

func checkPromise(t *testing.T, want, got []string) {
	t.Helper()
	type line struct {
		Window, Page string
		PV, UV       int
	}
	parse := func(text string) (l line) {
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		return l
	}
	if len(want) != len(got) {
		t.Fatalf("%d lines, want %d", len(got), len(want))
	}
	for i := range want {
		w, g := parse(want[i]), parse(got[i])
		if w.Window != g.Window || w.Page != g.Page || w.UV != g.UV || g.PV < w.PV {
			t.Errorf("got %+v, undisturbed %+v", g, w)
		}
	}
}
