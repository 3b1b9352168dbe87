package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// streams are the standard streams of one run, replaced in tests.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// cli is what all commands share.
type cli struct {
	streams
	output  string
	brokers []string
}

// say tells people something beside the result.
func (s streams) say(format string, args ...any) {
	_, _ = fmt.Fprintf(s.err, format, args...) // without standard error there is nobody to tell
}

// usageError is a wrong command line; it ends with exit code 2.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// isUnknownCommand recognises cobra's own refusals of a command line.
func isUnknownCommand(err error) bool {
	text := err.Error()
	return strings.HasPrefix(text, "unknown command") || strings.HasPrefix(text, "required flag") ||
		strings.HasPrefix(text, "if any flags in the group") || strings.HasPrefix(text, "unknown shorthand")
}

// args wraps a check of positional arguments into a usage error.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if err := check(cmd, given); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: args(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return usagef("%s: name what to do: %s", use, strings.Join(names(cmd), ", "))
	}}
	cmd.AddCommand(commands...)
	return cmd
}

func names(cmd *cobra.Command) []string {
	var out []string
	for _, sub := range cmd.Commands() {
		out = append(out, sub.Name())
	}
	return out
}

// brokersFlag adds --brokers to a command that speaks to a cluster.
func (c *cli) brokersFlag(cmds ...*cobra.Command) {
	for _, cmd := range cmds {
		cmd.Flags().StringSliceVarP(&c.brokers, "brokers", "b", []string{"127.0.0.1:9092"}, "host:port of brokers to start from")
	}
}

// reachTimeout is how long a command looks for a broker before it gives up.
const reachTimeout = 10 * time.Second

// client connects to the brokers of --brokers and fails soon when none answers; the
// caller closes it.
func (c *cli) client(ctx context.Context, opts ...kgo.Opt) (*kgo.Client, error) {
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.brokers...), kgo.ClientID("weir"), kgo.RequestRetries(3), kgo.RetryTimeout(reachTimeout),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
	}, opts...)...)
	if err != nil {
		return nil, usageError{err}
	}
	limited, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	if err := client.Ping(limited); err != nil {
		client.Close()
		return nil, fmt.Errorf("no broker answers at %s: %w; start one with: weir server, or name another with --brokers", strings.Join(c.brokers, ","), err)
	}
	return client, nil
}

// admin connects an admin client and runs f with it.
func (c *cli) admin(cmd *cobra.Command, f func(*kadm.Client) error) error {
	client, err := c.client(cmd.Context())
	if err != nil {
		return err
	}
	defer client.Close()
	return f(kadm.NewClient(client))
}

// existing returns the metadata of topics, or an error that names the first that is
// not there.
func existing(ctx context.Context, adm *kadm.Client, topics []string) (kadm.TopicDetails, error) {
	found, err := adm.ListTopicsWithInternal(ctx, topics...)
	if err != nil {
		return nil, err
	}
	for _, name := range topics {
		t := found[name]
		if errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
			return nil, fmt.Errorf("topic %s does not exist; create it with: weir topic create %s", name, name)
		}
		if t.Err != nil {
			return nil, fmt.Errorf("topic %s: %w", name, t.Err)
		}
	}
	return found, nil
}

// place is a position in partitions, as people name it.
type place struct {
	start, end bool
	offset     int64     // where the others are not set
	after      time.Time // the first record at or after it, unless it is zero
}

// parsePlace reads the value of a flag.
func parsePlace(flag, text string) (place, error) {
	switch n, err := strconv.ParseInt(text, 10, 64); {
	case text == "start" || text == "end":
		return place{start: text == "start", end: text == "end"}, nil
	case err == nil && n >= 0:
		return place{offset: n}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return place{}, usagef("%s %s: want start, end, an offset or a time such as 2026-01-02T15:04:05Z", flag, text)
	}
	return place{after: at}, nil
}

// offsets returns the place in each partition of topics; an offset that a partition
// does not have becomes its nearest end.
func (p place) offsets(ctx context.Context, adm *kadm.Client, topics []string) (at, ends kadm.ListedOffsets, err error) {
	starts, err := listed(adm.ListStartOffsets(ctx, topics...))
	if err != nil {
		return nil, nil, err
	}
	if ends, err = listed(adm.ListEndOffsets(ctx, topics...)); err != nil {
		return nil, nil, err
	}
	switch {
	case p.start:
		return starts, ends, nil
	case p.end:
		return ends, ends, nil
	case !p.after.IsZero():
		at, err = listed(adm.ListOffsetsAfterMilli(ctx, p.after.UnixMilli(), topics...))
		return at, ends, err
	}
	ends.Each(func(end kadm.ListedOffset) {
		o, _ := starts.Lookup(end.Topic, end.Partition)
		o.Offset = min(max(p.offset, o.Offset), end.Offset)
		starts[o.Topic][o.Partition] = o
	})
	return starts, ends, nil
}

func listed(offsets kadm.ListedOffsets, err error) (kadm.ListedOffsets, error) {
	if err == nil {
		err = offsets.Error()
	}
	return offsets, err
}

// print writes value as JSON, or as the rows of a table for people.
func (c *cli) print(value any, header []string, rows [][]string) error {
	if c.output == "json" {
		enc := json.NewEncoder(c.out)
		enc.SetEscapeHTML(false)
		return enc.Encode(value)
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	if len(rows) > 0 {
		rows = slices.Concat([][]string{header}, rows)
	}
	for _, row := range rows {
		shown := make([]string, len(row))
		for i, cell := range row {
			shown[i] = visible(cell)
		}
		if _, err := io.WriteString(w, strings.Join(shown, "\t")+"\n"); err != nil {
			return err
		}
	}
	return w.Flush()
}

// visible escapes text, which anybody may have chosen, that a terminal would obey.
func visible(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl) {
		return text
	}
	quoted := strconv.Quote(text)
	return quoted[1 : len(quoted)-1]
}

// outcome is what became of one item of a command, for example one topic.
type outcome struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// report prints the outcome of each item and fails when one failed.
func (c *cli) report(did string, results map[string]error) error {
	var outcomes []outcome
	var rows [][]string
	failed := 0
	for _, name := range slices.Sorted(maps.Keys(results)) {
		o, text := outcome{Name: name, OK: true}, did
		if err := results[name]; err != nil {
			failed++
			o.OK, o.Error, text = false, err.Error(), err.Error()
		}
		outcomes = append(outcomes, o)
		rows = append(rows, []string{name, text})
	}
	if err := c.print(outcomes, []string{"NAME", "RESULT"}, rows); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d not %s", failed, len(results), did)
	}
	return nil
}

// keyValues reads key=value flags.
func keyValues(pairs []string) (map[string]*string, error) {
	out := map[string]*string{}
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, usagef("%q: want key=value", pair)
		}
		out[key] = &value
	}
	return out, nil
}

var errNothing = errors.New("nothing to change; see --help")
