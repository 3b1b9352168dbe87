package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
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

// client connects to the brokers of --brokers; the caller closes it.
func (c *cli) client(opts ...kgo.Opt) (*kgo.Client, error) {
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.brokers...), kgo.ClientID("weir")}, opts...)...)
	if err != nil {
		return nil, usageError{err}
	}
	return client, nil
}

// admin connects an admin client and runs f with it.
func (c *cli) admin(cmd *cobra.Command, f func(*kadm.Client) error) error {
	client, err := c.client(kgo.RequestRetries(3))
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Ping(cmd.Context()); err != nil {
		return fmt.Errorf("no broker answers at %s: %w; start one with: weir server", strings.Join(c.brokers, ","), err)
	}
	return f(kadm.NewClient(client))
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
		fmt.Fprintln(w, strings.Join(header, "\t"))
	}
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
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
