package conformance

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFranzSuite runs the tests of franz-go's kgo, as go.mod pins it, against one
// broker. A test that kgo.txt names must pass: what passed once stays. One that
// skips itself, or is skipped here, must stand there with the reason.
// CONFORMANCE_RATCHET=write adds what passes and was not named.
func TestFranzSuite(t *testing.T) {
	passed := 0
	onCard(t, "franz-go's own suite (kgo v1.22.2)", func() string { return fmt.Sprintf("%d of its tests, those of the client alone among them", passed) })
	b := newBroker(t)
	listed := readRatchet(t, "kgo.txt")
	var skip []string
	for name, why := range listed {
		if strings.HasPrefix(why, "not run: ") {
			skip = append(skip, "^"+name+"$")
		}
	}
	out := goTest(t, []string{"KGO_SEEDS=" + b.addr, "KGO_TEST_RF=1", "KGO_TEST_RECORDS=20000", "KGO_LOG_LEVEL=none"},
		"-skip", strings.Join(skip, "|"), "github.com/twmb/franz-go/pkg/kgo")
	passed = compareRatchet(t, "kgo.txt", listed, out)
	if passed < 30 {
		t.Errorf("%d tests passed, want at least 30", passed)
	}
}

// goTest runs another module's tests and returns what they print.
func goTest(t *testing.T, env []string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-v", "-count=1", "-vet=off", "-timeout=8m"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = 10 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Logf("go test: %v", err) // the ratchet says which tests matter
	}
	return out.Bytes()
}

// readRatchet reads lines of a test's name and what is expected of it: "passes",
// or "skips: why" where the suite skips it itself, or "not run: why".
func readRatchet(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, what, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			listed[name] = what
		}
	}
	return listed
}

// compareRatchet holds the outcome of each test to what is listed.
func compareRatchet(t *testing.T, file string, listed map[string]string, out []byte) (passed int) {
	t.Helper()
	got := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\S+) \(`).FindAllSubmatch(out, -1) {
		got[string(m[2])] = string(m[1])
	}
	var broken []string // told last and together: a log that is cut still names them
	for name, want := range listed {
		switch {
		case want == "passes" && got[name] != "PASS":
			broken = append(broken, name)
			t.Errorf("%s passed once and has now: %q\n%s", name, got[name], excerpt(out, name))
		case strings.HasPrefix(want, "skips: ") && got[name] != "SKIP":
			t.Errorf("%s does not skip itself any more: %q", name, got[name])
		}
	}
	for name, is := range got {
		switch {
		case is == "PASS":
			passed++
			if listed[name] == "" {
				t.Logf("%s passes and is not listed", name)
				listed[name] = "passes"
			}
		case listed[name] == "":
			t.Errorf("%s: %s and is not listed\n%s", name, is, excerpt(out, name))
		}
	}
	t.Logf("%d tests passed, %d did not run or skipped themselves; broken: %v", passed, len(listed)-passed, broken)
	if os.Getenv("CONFORMANCE_RATCHET") == "write" {
		writeRatchet(t, file, listed)
	}
	return passed
}

func writeRatchet(t *testing.T, file string, listed map[string]string) {
	t.Helper()
	lines := []string{}
	for name, what := range listed {
		lines = append(lines, name+" "+what+"\n")
	}
	slices.Sort(lines)
	if err := os.WriteFile(file, []byte("# What a foreign suite's tests do here; a line that says passes is for ever.\n"+strings.Join(lines, "")), 0o644); err != nil {
		t.Fatal(err)
	}
}

// excerpt is the end of what one test printed, or of everything where it has not come to run. Tests
// that run side by side take turns in the output: a line that begins with === says whose turn it is.
func excerpt(out []byte, name string) string {
	var of []byte
	mine := false
	for line := range bytes.Lines(out) {
		if turn := bytes.Fields(line); len(turn) > 2 && string(turn[0]) == "===" {
			test, _, _ := strings.Cut(string(turn[2]), "/")
			mine = test == name
			continue
		}
		if mine {
			of = append(of, line...)
		}
	}
	if of == nil {
		of = out
	}
	return string(of[max(0, len(of)-4000):])
}
