package conformance

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// card collects what a run showed, for docs/compatibility.md, which a run with
// CONFORMANCE_CARD=../docs/compatibility.md writes.
var card struct {
	mu   sync.Mutex
	rows []string
}

// onCard reserves a line for a test, in the order in which tests begin, and writes it
// when the test has ended; what says what it did.
func onCard(t *testing.T, who string, what func() string) {
	t.Helper()
	card.mu.Lock()
	defer card.mu.Unlock()
	line := len(card.rows)
	card.rows = append(card.rows, "")
	t.Cleanup(func() {
		result := "passes"
		switch {
		case t.Failed():
			result = "FAILS"
		case t.Skipped():
			result = "not run: its tool is not installed"
		}
		card.mu.Lock()
		defer card.mu.Unlock()
		card.rows[line] = fmt.Sprintf("| %s | %s | %s |\n", who, what(), result)
	})
}

// does is a line that is known before the test.
func does(what string) func() string { return func() string { return what } }

func writeCard(path string) error {
	var out strings.Builder
	out.WriteString("# Compatibility\n\nWritten by a run of the tests in `conformance/`; nothing here is said by hand.\nThe broker is one node; Kafka is Apache Kafka 4.3.1.\n\n| who | what it did | result |\n|---|---|---|\n")
	for _, row := range card.rows {
		out.WriteString(row)
	}
	out.WriteString("\n## Where answers differ from Kafka's, on purpose\n\nEvery other field of every answer that the comparison asked for is the same. A star stands for anything.\n\n| request, case and field | why |\n|---|---|\n")
	if err := tableOf(&out, "differences.txt", " | ", func(string) bool { return true }); err != nil {
		return err
	}
	out.WriteString("\n## Tests of franz-go that do not run\n\n| test | why |\n|---|---|\n")
	if err := tableOf(&out, "kgo.txt", " ", func(why string) bool { return why != "passes" }); err != nil {
		return err
	}
	out.WriteString("\n## Functional tests of sarama that do not run\n\n| test | why |\n|---|---|\n")
	if err := tableOf(&out, "sarama.txt", " ", func(why string) bool { return why != "passes" }); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(out.String()), 0o644)
}

// tableOf writes the lines of a file, cut in two, that are wanted.
func tableOf(out *strings.Builder, file, cut string, want func(second string) bool) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		first, second, ok := strings.Cut(strings.TrimSpace(line), cut)
		if ok && !strings.HasPrefix(first, "#") && want(second) {
			fmt.Fprintf(out, "| `%s` | %s |\n", strings.ReplaceAll(first, "|", "\\|"), second)
		}
	}
	return nil
}
