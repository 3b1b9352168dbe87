package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type consumeFlags struct {
	group, from, format string
	count               int64
	exit                bool
	at                  place // what from says
}

func consumeCommand(c *cli) *cobra.Command {
	var f consumeFlags
	cmd := &cobra.Command{
		Use: "consume TOPIC...", Short: "Print records", Args: args(cobra.MinimumNArgs(1)),
		Example: "  weir consume greetings --exit -f '%k %v\\n'",
		RunE: func(cmd *cobra.Command, topics []string) error {
			show, err := f.printer(c)
			if err != nil {
				return err
			}
			opts, err := f.options(topics)
			if err != nil {
				return err
			}
			client, err := c.client(cmd.Context(), opts...)
			if err != nil {
				return err
			}
			defer client.Close()
			ends, err := f.ends(cmd.Context(), kadm.NewClient(client), topics)
			if err != nil {
				return err
			}
			return f.consume(cmd.Context(), client, ends, show)
		},
	}
	c.brokersFlag(cmd)
	cmd.Flags().StringVarP(&f.group, "group", "g", "", "consume as a member of this group and commit")
	cmd.Flags().StringVar(&f.from, "from", "start", "start, end, an offset, or a time such as 2026-01-02T15:04:05Z")
	cmd.Flags().Int64VarP(&f.count, "count", "n", 0, "stop after this many records; 0 goes on")
	cmd.Flags().BoolVarP(&f.exit, "exit", "e", false, "stop at the end that each partition had at the start")
	cmd.Flags().StringVarP(&f.format, "format", "f", "%v\\n", "%k key, %v value, %t topic, %p partition, %o offset, %h headers")
	return cmd
}

func (f *consumeFlags) options(topics []string) ([]kgo.Opt, error) {
	var err error
	if f.at, err = parsePlace("--from", f.from); err != nil {
		return nil, err
	}
	offset := kgo.NewOffset().At(f.at.offset)
	switch {
	case f.at.start:
		offset = kgo.NewOffset().AtStart()
	case f.at.end:
		offset = kgo.NewOffset().AtEnd()
	case !f.at.after.IsZero():
		offset = kgo.NewOffset().AfterMilli(f.at.after.UnixMilli())
	}
	// With the control records of transactions the last offset of a partition is seen.
	opts := []kgo.Opt{kgo.ConsumeTopics(topics...), kgo.KeepControlRecords()}
	opts = append(opts, kgo.ConsumeResetOffset(offset))
	if f.group != "" {
		opts = append(opts, kgo.ConsumerGroup(f.group), kgo.DisableAutoCommit())
	}
	return opts, nil
}

// jsonRecord is one record for programs; bytes that are not UTF-8 go by base64.
type jsonRecord struct {
	Topic       string            `json:"topic"`
	Partition   int32             `json:"partition"`
	Offset      int64             `json:"offset"`
	Timestamp   int64             `json:"timestamp_ms"`
	Key         *string           `json:"key"`
	KeyBase64   []byte            `json:"key_base64,omitempty"`
	Value       *string           `json:"value"`
	ValueBase64 []byte            `json:"value_base64,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
}

func toJSON(r *kgo.Record) jsonRecord {
	j := jsonRecord{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli()}
	j.Key, j.KeyBase64 = textOrBytes(r.Key)
	j.Value, j.ValueBase64 = textOrBytes(r.Value)
	for _, h := range r.Headers {
		if j.Headers == nil {
			j.Headers = map[string]string{}
		}
		j.Headers[h.Key] = string(h.Value)
	}
	return j
}

func textOrBytes(b []byte) (*string, []byte) {
	if b == nil {
		return nil, nil
	}
	if !utf8.Valid(b) {
		return nil, b
	}
	text := string(b)
	return &text, nil
}

// printer returns what is done with each record.
func (f *consumeFlags) printer(c *cli) (func(*kgo.Record) error, error) {
	if c.output == "json" {
		enc := json.NewEncoder(c.out)
		enc.SetEscapeHTML(false)
		return func(r *kgo.Record) error { return enc.Encode(toJSON(r)) }, nil
	}
	layout := strings.ReplaceAll(f.format, "%h", "%h{%k=%v }")
	formatter, err := kgo.NewRecordFormatter(layout)
	if err != nil {
		return nil, usagef("--format: %w", err)
	}
	var line []byte
	return func(r *kgo.Record) error {
		line = formatter.AppendRecord(line[:0], r)
		_, err := c.out.Write(line)
		return err
	}, nil
}

// consume prints records until the count, the ends or the context is reached.
func (f *consumeFlags) consume(ctx context.Context, client *kgo.Client, ends endOffsets, show func(*kgo.Record) error) error {
	var printed int64
	for !f.done(printed, ends) {
		fetches := client.PollRecords(ctx, f.pollSize(printed))
		if ctx.Err() != nil {
			return nil //nolint:nilerr // an interrupt is how people stop consuming
		}
		if err := fetchError(fetches); err != nil {
			return err
		}
		for _, r := range fetches.Records() {
			ends.reached(r)
			if r.Attrs.IsControl() {
				continue
			}
			if err := show(r); err != nil {
				return err
			}
			printed++
		}
		if f.group != "" {
			if err := client.CommitUncommittedOffsets(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *consumeFlags) pollSize(printed int64) int {
	if f.count == 0 {
		return 1000
	}
	return int(min(1000, f.count-printed))
}

func fetchError(fetches kgo.Fetches) error {
	var errs []error
	fetches.EachError(func(topic string, partition int32, err error) {
		errs = append(errs, fmt.Errorf("%s-%d: %w", topic, partition, err))
	})
	return errors.Join(errs...)
}

// endOffsets are the ends still to be reached, by topic and partition.
type endOffsets map[string]map[int32]int64

// ends checks that the topics exist and returns the end offsets to stop at, or nil
// without --exit. A partition of which nothing is to be read has none.
func (f *consumeFlags) ends(ctx context.Context, adm *kadm.Client, topics []string) (endOffsets, error) {
	if _, err := existing(ctx, adm, topics); err != nil {
		return nil, err
	}
	if !f.exit {
		return nil, nil
	}
	at, listed, err := f.at.offsets(ctx, adm, topics)
	if err != nil {
		return nil, err
	}
	var committed kadm.OffsetResponses
	if f.group != "" {
		if committed, err = adm.FetchOffsets(ctx, f.group); err != nil {
			return nil, fmt.Errorf("group %s: %w", f.group, err)
		}
	}
	out := endOffsets{}
	listed.Each(func(end kadm.ListedOffset) {
		from, _ := at.Lookup(end.Topic, end.Partition)
		if c, ok := committed.Lookup(end.Topic, end.Partition); ok && c.At >= 0 {
			from.Offset = c.At
		}
		if end.Offset <= from.Offset {
			return
		}
		if out[end.Topic] == nil {
			out[end.Topic] = map[int32]int64{}
		}
		out[end.Topic][end.Partition] = end.Offset
	})
	return out, nil
}

func (e endOffsets) reached(r *kgo.Record) {
	if end, ok := e[r.Topic][r.Partition]; ok && r.Offset+1 >= end {
		delete(e[r.Topic], r.Partition)
		if len(e[r.Topic]) == 0 {
			delete(e, r.Topic)
		}
	}
}

func (f *consumeFlags) done(printed int64, ends endOffsets) bool {
	return f.count > 0 && printed >= f.count || f.exit && len(ends) == 0
}
