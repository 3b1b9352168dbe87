package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

// deliveryTimeout is how long a record may stay without an answer.
const deliveryTimeout = 30 * time.Second

// maxLine bounds one line of input, and so one record.
const maxLine = 64 << 20

type produceFlags struct {
	key, codec, acks string
	headers          []string
	partition        int32
	tombstone        bool
}

func produceCommand(c *cli) *cobra.Command {
	var f produceFlags
	cmd := &cobra.Command{
		Use: "produce TOPIC", Short: "Produce each line of standard input as a record", Args: args(cobra.ExactArgs(1)),
		Example: "  echo 'user1:hello' | weir produce greetings --key :",
		RunE: func(cmd *cobra.Command, topics []string) error {
			opts, err := f.options(topics[0])
			if err != nil {
				return err
			}
			headers, err := f.recordHeaders()
			if err != nil {
				return err
			}
			client, err := c.client(cmd.Context(), opts...)
			if err != nil {
				return err
			}
			defer client.Close()
			sent, err := c.produceLines(cmd.Context(), client, &f, headers)
			if err != nil {
				return fmt.Errorf("%w (%d records were acknowledged)", err, sent)
			}
			if c.output == "json" {
				return c.print(map[string]any{"topic": topics[0], "records": sent}, nil, nil)
			}
			c.say("%d records acknowledged\n", sent)
			return nil
		},
	}
	c.brokersFlag(cmd)
	cmd.Flags().StringVarP(&f.key, "key", "k", "", "text between key and value of a line; without it records have no key")
	cmd.Flags().StringArrayVarP(&f.headers, "header", "H", nil, "name=value on every record, repeatable")
	cmd.Flags().StringVarP(&f.codec, "codec", "z", "none", "none, gzip, snappy, lz4 or zstd")
	cmd.Flags().StringVar(&f.acks, "acks", "all", "all, 1 or 0")
	cmd.Flags().Int32VarP(&f.partition, "partition", "p", -1, "the partition; -1 picks one by key")
	cmd.Flags().BoolVar(&f.tombstone, "tombstone", false, "a line with an empty value is a record with a null value")
	return cmd
}

func (f *produceFlags) options(topic string) ([]kgo.Opt, error) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	codec, ok := codecs[f.codec]
	if !ok {
		return nil, usagef("--codec %s: want none, gzip, snappy, lz4 or zstd", f.codec)
	}
	opts := []kgo.Opt{
		kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(codec), kgo.AllowAutoTopicCreation(),
		kgo.RecordDeliveryTimeout(deliveryTimeout), kgo.UnknownTopicRetries(20),
	}
	switch f.acks {
	case "all":
	case "1":
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	case "0":
		opts = append(opts, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	default:
		return nil, usagef("--acks %s: want all, 1 or 0", f.acks)
	}
	if f.partition >= 0 {
		opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	return opts, nil
}

func (f *produceFlags) recordHeaders() ([]kgo.RecordHeader, error) {
	var out []kgo.RecordHeader
	for _, h := range f.headers {
		name, value, ok := bytes.Cut([]byte(h), []byte("="))
		if !ok {
			return nil, usagef("--header %q: want name=value", h)
		}
		out = append(out, kgo.RecordHeader{Key: string(name), Value: value})
	}
	return out, nil
}

// produceLines sends every line and waits until all are acknowledged.
func (c *cli) produceLines(ctx context.Context, client *kgo.Client, f *produceFlags, headers []kgo.RecordHeader) (int64, error) {
	var mu sync.Mutex // guards sent and failed
	var sent int64
	var failed error // the first failure; the others are mostly the same
	lines := bufio.NewScanner(c.in)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for lines.Scan() {
		record, err := f.record(bytes.Clone(lines.Bytes()), headers)
		if err != nil {
			return sent, err
		}
		client.Produce(ctx, record, func(_ *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = cmp.Or(failed, err)
				return
			}
			sent++
		})
	}
	if err := errors.Join(lines.Err(), client.Flush(ctx)); err != nil {
		return sent, err
	}
	mu.Lock()
	defer mu.Unlock()
	return sent, failed
}

func (f *produceFlags) record(line []byte, headers []kgo.RecordHeader) (*kgo.Record, error) {
	r := &kgo.Record{Value: line, Headers: headers, Partition: max(f.partition, 0)}
	if f.key != "" {
		key, value, ok := bytes.Cut(line, []byte(f.key))
		if !ok {
			return nil, fmt.Errorf("line %.40q has no %q between key and value", line, f.key)
		}
		r.Key, r.Value = key, value
	}
	if f.tombstone && len(r.Value) == 0 {
		r.Value = nil
	}
	return r, nil
}
