package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/broker/logdir"
	"github.com/weirstream/weir/internal/env"
)

func logCommand(c *cli) *cobra.Command {
	return group("log", "Look into a log directory that no broker uses, of Weir or Apache Kafka", logDump(c), logVerify(c))
}

func logDump(c *cli) *cobra.Command {
	var o logdir.DumpOptions
	cmd := &cobra.Command{
		Use: "dump PATH...", Short: "Show what files, partitions or log directories hold", Args: args(cobra.MinimumNArgs(1)),
		Long: "Show what files, partitions or log directories hold. With -o json each thing is a line of its own; keys and values are base64 there.",
		RunE: func(_ *cobra.Command, paths []string) error {
			show := c.showEntry()
			for _, path := range paths {
				if err := logdir.Dump(env.RealFS(), path, o, show); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&o.Records, "records", "r", false, "show the records of each batch; those of internal topics are decoded")
	return cmd
}

// showEntry writes entries, for people under the name of their file.
func (c *cli) showEntry() func(logdir.Entry) error {
	if c.output == "json" {
		enc := json.NewEncoder(c.out)
		enc.SetEscapeHTML(false)
		return func(e logdir.Entry) error { return enc.Encode(e) }
	}
	file := ""
	return func(e logdir.Entry) error {
		if e.File != file {
			if _, err := fmt.Fprintln(c.out, e.File); err != nil {
				return err
			}
			file = e.File
		}
		_, err := fmt.Fprint(c.out, entryText(e))
		return err
	}
}

func entryText(e logdir.Entry) string {
	switch {
	case e.Batch != nil:
		return batchText(e.Batch)
	case e.Index != nil && e.Index.Position != nil:
		return fmt.Sprintf("  offset %d at position %d\n", e.Index.Offset, *e.Index.Position)
	case e.Index != nil:
		return fmt.Sprintf("  timestamp %d up to offset %d\n", *e.Index.Timestamp, e.Index.Offset)
	case e.Aborted != nil:
		return fmt.Sprintf("  producer %d aborted offsets %d to %d, last stable offset %d\n", e.Aborted.ProducerID, e.Aborted.First, e.Aborted.Last, e.Aborted.LastStable)
	case e.Producer != nil:
		p := e.Producer
		return fmt.Sprintf("  producer %d epoch %d: last sequence %d at offset %d, coordinator epoch %d, open transaction from %d\n",
			p.ID, p.Epoch, p.LastSequence, p.LastOffset, p.CoordinatorEpoch, p.TxnFirst)
	case e.Problem != nil:
		return "  " + problemText(*e.Problem) + "\n"
	}
	return "  " + strings.ReplaceAll(strings.TrimSpace(e.Text), "\n", "\n  ") + "\n"
}

func batchText(b *logdir.Batch) string {
	var out strings.Builder
	fmt.Fprintf(&out, "  offsets %d to %d at position %d: %d records, %d bytes, codec %s, leader epoch %d, max timestamp %d",
		b.BaseOffset, b.LastOffset, b.Position, b.Count, b.Size, b.Codec, b.LeaderEpoch, b.MaxTimestamp)
	if b.ProducerID >= 0 {
		fmt.Fprintf(&out, ", producer %d epoch %d sequence %d", b.ProducerID, b.ProducerEpoch, b.BaseSequence)
	}
	if b.Transactional {
		out.WriteString(", transactional")
	}
	if b.Control != "" {
		out.WriteString(", control " + b.Control)
	}
	if b.DeleteHorizon != nil {
		fmt.Fprintf(&out, ", delete horizon %d", *b.DeleteHorizon)
	}
	out.WriteString("\n")
	for _, r := range b.Records {
		text := r.Decoded
		if text == "" {
			text = fmt.Sprintf("key %s, value %s", quoted(r.Key), quoted(r.Value))
		}
		fmt.Fprintf(&out, "    %d: %s\n", r.Offset, text)
	}
	return out.String()
}

func quoted(b []byte) string {
	if b == nil {
		return "null"
	}
	return fmt.Sprintf("%q", b)
}

func problemText(p logdir.Problem) string {
	at := ""
	if p.Position >= 0 {
		at = fmt.Sprintf(" at position %d", p.Position)
	}
	return fmt.Sprintf("%s%s: %s: %s", p.File, at, p.What, p.Means)
}

func logVerify(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "verify DIRECTORY", Short: "Check every batch, index, snapshot and checkpoint", Args: args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, paths []string) error {
			r, err := logdir.Verify(env.RealFS(), paths[0])
			if err != nil {
				return err
			}
			rows := [][]string{{
				fmt.Sprint(r.Partitions), fmt.Sprint(r.Segments), fmt.Sprint(r.Batches), fmt.Sprint(r.Records), fmt.Sprint(r.Bytes),
				fmt.Sprint(r.Indexes), fmt.Sprint(len(r.Problems)),
			}}
			if err := c.print(r, []string{"PARTITIONS", "SEGMENTS", "BATCHES", "RECORDS", "BYTES", "INDEXES", "PROBLEMS"}, rows); err != nil {
				return err
			}
			if len(r.Problems) == 0 {
				return nil
			}
			var out []string
			for _, p := range r.Problems {
				out = append(out, problemText(p))
			}
			return fmt.Errorf("%s", strings.Join(out, "\n"))
		},
	}
}
