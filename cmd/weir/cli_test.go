package main

import (
	"bytes"
	"testing"
)

// TestTablesShowWhatATerminalWouldObey: names in them are chosen by clients.
func TestTablesShowWhatATerminalWouldObey(t *testing.T) {
	var out bytes.Buffer
	c := &cli{streams: streams{out: &out}}
	rows := [][]string{{"\x1b[2Jgone", "a\tb\nc"}, {"\xff", `plain "été"`}}
	if err := c.print(nil, []string{"CLIENT", "GROUP"}, rows); err != nil {
		t.Fatal(err)
	}
	want := "CLIENT       GROUP\n" + `\x1b[2Jgone  a\tb\nc` + "\n" + `\xff         plain "été"` + "\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
