// Command weir is the whole of Weir in one binary: the broker and the tools
// that speak to it or to any other Kafka.
//
// Exit codes: 0 done, 1 something failed, 2 the command line is wrong.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// commands lists every command; each stands in the file of its name.
func commands(c *cli) []*cobra.Command {
	return []*cobra.Command{
		serverCommand(c),
		topicCommand(c),
		produceCommand(c),
		consumeCommand(c),
		groupCommand(c),
		txnCommand(c),
		logCommand(c),
		versionCommand(c),
		benchCommand(c),
		docsCommand(c),
	}
}

// run parses args, runs one command and returns its exit code.
func run(ctx context.Context, args []string, s streams) int {
	c := &cli{streams: s}
	root := &cobra.Command{
		Use:           "weir",
		Short:         "A Kafka-compatible broker and its tools in one binary",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringVarP(&c.output, "output", "o", "text", "text for people or json for programs")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if c.output != "text" && c.output != "json" {
			return usagef("-o %s: want text or json", c.output)
		}
		return nil
	}
	root.AddCommand(commands(c)...) //nolint:contextcheck // cobra hands ctx to the command that runs
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		s.say("weir: %s\n", line)
	}
	var usage usageError
	if errors.As(err, &usage) || isUnknownCommand(err) {
		s.say("usage: %s\nmore: %s --help\n", cmd.UseLine(), cmd.CommandPath())
		return 2
	}
	return 1
}
