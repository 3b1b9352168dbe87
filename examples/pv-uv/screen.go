package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

// screen shows the tally as a table that is drawn anew every second.
func (t *tally) screen(ctx context.Context, out io.Writer, url string) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		if _, err := io.WriteString(out, "\x1b[H\x1b[2J"+t.table(url)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// table renders the newest windows and their top pages for people.
func (t *tally) table(url string) string {
	s := t.snapshot()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "WINDOW (UTC)\tVIEWS\tVISITORS")
	for _, l := range s.Windows[max(0, len(s.Windows)-10):] {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\n", strings.NewReplacer("T", " ", "Z", "").Replace(l.Window), l.PV, l.UV)
	}
	_, _ = fmt.Fprintln(w, "\nTOP PAGES\tVIEWS\tVISITORS")
	for _, l := range s.Top {
		_, _ = fmt.Fprintf(w, "%.60s\t%d\t%d\n", printableRunes(l.Page), l.PV, l.UV)
	}
	_ = w.Flush()
	if url != "" {
		_, _ = fmt.Fprintf(&b, "\ncharts: %s\n", url)
	}
	return b.String()
}

// printableRunes keeps control characters of a page away from the terminal.
func printableRunes(page string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '.'
		}
		return r
	}, page)
}

// isTerminal says that out is a terminal rather than a file or a pipe.
func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// say tells people something; that nobody listens is no reason to stop.
func say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
