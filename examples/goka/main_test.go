package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
)

// counts runs the program and returns the clicks of each user, and their regions.
func counts(t *testing.T, args ...string) map[string]visits {
	t.Helper()
	var out, log bytes.Buffer
	if err := run(t.Context(), append([]string{"-json"}, args...), &out, &log); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	rows := map[string]visits{}
	for line := range strings.Lines(out.String()) {
		var row struct {
			User string
			visits
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		rows[row.User] = row.visits
	}
	return rows
}

// TestEveryClickIsCountedOnce runs the application twice on one folder: the second run
// goes on from the tables of the first, with either kind of storage.
func TestEveryClickIsCountedOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("goka waits for seconds")
	}
	for _, storage := range []string{"weir", "goka"} {
		t.Run(storage, func(t *testing.T) {
			dir := t.TempDir()
			for round := 1; round <= 2; round++ {
				rows := counts(t, "-storage", storage, "-data", dir, "-clicks", "400")
				for i := range users {
					_, home, _ := profile(i)
					want := visits{Clicks: round * 400 / users, Region: map[string]string{"at": "europe", "ch": "europe", "br": "america", "za": "africa"}[home]}
					if rows[user(i)] != want {
						t.Errorf("round %d: %s has %+v, want %+v", round, user(i), rows[user(i)], want)
					}
				}
				if len(rows) != users {
					t.Errorf("round %d: %d users", round, len(rows))
				}
			}
		})
	}
}

func TestAPersonSeesATable(t *testing.T) {
	if testing.Short() {
		t.Skip("goka waits for seconds")
	}
	var out, log bytes.Buffer
	if err := run(t.Context(), []string{"-clicks", "20", "-verbose"}, &out, &log); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), fmt.Sprintf("%-10s %6d clicks from america\n", "user-1", 1)) || log.Len() == 0 {
		t.Errorf("%s\n%s", &out, &log)
	}
}

func TestWrongFlags(t *testing.T) {
	for _, args := range [][]string{{"-clicks", "0"}, {"-storage", "tape"}, {"more"}, {"-nope"}} {
		var out, log bytes.Buffer
		if err := run(t.Context(), args, &out, &log); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
	var log bytes.Buffer
	if err := run(t.Context(), []string{"-help"}, &log, &log); !errors.Is(err, flag.ErrHelp) || !strings.Contains(log.String(), "-brokers") {
		t.Errorf("-help: %v\n%s", err, &log)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ended, nil, &log, &log); err == nil {
		t.Error("a program that was ended goes on")
	}
}
