package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// total is the page that stands for all pages of a window.
const total = "*"

// outputLine is one line of -json, and the value of a record of the output topic.
type outputLine struct {
	Window string `json:"window"`
	Page   string `json:"page"`
	PV     int64  `json:"pv"`
	UV     int64  `json:"uv"`
}

func newOutputLine(r row, c counted) outputLine {
	return outputLine{
		Window: time.UnixMilli(r.window).UTC().Format(time.RFC3339),
		Page:   printable(r.page), PV: c.pv, UV: c.uv,
	}
}

// append writes the line as JSON without escaping HTML.
func (l outputLine) append(dst []byte) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		return nil, err
	}
	return append(dst, strings.TrimSuffix(b.String(), "\n")...), nil
}

// printable returns a page as it was sent, with each byte that is not UTF-8 as \xNN.
func printable(page string) string {
	if utf8.ValidString(page) {
		return page
	}
	var b strings.Builder
	for i := 0; i < len(page); {
		r, size := utf8.DecodeRuneInString(page[i:])
		if r == utf8.RuneError && size == 1 {
			fmt.Fprintf(&b, "\\x%02X", page[i])
		} else {
			b.WriteString(page[i : i+size])
		}
		i += size
	}
	return b.String()
}

// writeJSON writes one object a line.
func (t *tally) writeJSON(out io.Writer) error {
	w := bufio.NewWriter(out)
	for _, r := range t.sorted() {
		if err := newOutputLine(r, t.get(r)).write(w); err != nil {
			return err
		}
	}
	return w.Flush()
}

// write writes the line and its end.
func (l outputLine) write(out io.Writer) error {
	text, err := l.append(nil)
	if err == nil {
		_, err = out.Write(append(text, '\n'))
	}
	return err
}

// follow reads the output topic into t until ctx ends, or, with once, until the
// ends that the topic has now.
func (t *tally) follow(ctx context.Context, client *kgo.Client, topic string, once bool) error {
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("look where %s ends: %w", topic, err)
	}
	from, left := map[int32]kgo.Offset{}, map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		from[o.Partition] = kgo.NewOffset().AtStart()
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: from})
	for !once || len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is how following ends
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read %s: %w", topic, err)
		}
		for _, r := range fetches.Records() {
			if !r.Attrs.IsControl() {
				if err := t.take(r); err != nil {
					return err
				}
			}
			if end, ok := left[r.Partition]; ok && r.Offset+1 >= end {
				delete(left, r.Partition)
			}
		}
	}
	return nil
}

// take keeps one record of the output topic: the key is the page and the start
// of its window, the value an output line.
func (t *tally) take(r *kgo.Record) error {
	key, err := windowKeys(t.window).Decode(r.Topic, r.Key)
	if err != nil {
		return fmt.Errorf("a key of %s: %w", r.Topic, err)
	}
	var line outputLine
	if err := json.Unmarshal(r.Value, &line); err != nil {
		return errors.Join(fmt.Errorf("a value of %s", r.Topic), err)
	}
	t.set(row{key.Start, key.Key}, counted{line.PV, line.UV})
	if t.update != nil {
		return t.update(line)
	}
	return nil
}
