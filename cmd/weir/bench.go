package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/bench"
	"github.com/weirstream/weir/broker/nullbroker"
	"github.com/weirstream/weir/internal/env"
)

func benchCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure a broker",
		Long: "Puts load on a broker, ours or any other Kafka, and prints what came of it. The generators\n" +
			"send the same bytes again and again, so that the client does not hide the broker. The topic\n" +
			"named is deleted and made anew.",
	}
	cmd.AddCommand(c.benchProduce(), c.benchFetch(), c.benchEndToEnd(), c.benchNull(), c.benchReport(), c.benchStreamsApp())
	return cmd
}

// loadFlags declares the flags that all loads have.
func loadFlags(cmd *cobra.Command) *bench.Load {
	l := new(bench.Load)
	f := cmd.Flags()
	f.StringVarP(&l.Addr, "broker", "b", "127.0.0.1:9092", "host:port of the broker")
	f.IntVar(&l.PID, "pid", 0, "process of the broker, for its CPU time and memory")
	f.StringVarP(&l.Topic, "topic", "t", "bench", "topic to delete and make")
	f.BoolVar(&l.Raw, "null", false, "the broker is weir bench null")
	f.IntVarP(&l.Partitions, "partitions", "p", 4, "partitions of the topic")
	f.IntVar(&l.Value, "value", 100, "bytes of a record's value")
	f.IntVar(&l.BatchBytes, "batch", 64<<10, "bytes of a batch; 0 is one record")
	f.IntVar(&l.Conns, "conns", 4, "connections")
	f.IntVar(&l.Depth, "depth", 5, "requests in flight of a connection")
	f.IntVar(&l.Burst, "burst", 1, "requests that leave in one write")
	f.Int16Var(&l.Acks, "acks", 1, "1 or -1")
	f.DurationVar(&l.Warm, "warm", 0, "load before counting begins")
	f.DurationVar(&l.Duration, "for", 0, "how long to count; 5s")
	f.IntVar(&l.Rate, "rate", 1000, "records a second, end to end")
	f.IntVar(&l.FetchBytes, "fetch", 1<<20, "bytes to ask of a partition")
	f.IntVar(&l.Together, "together", 1, "partitions in one fetch")
	return l
}

func (c *cli) loadCommand(use, short string, run func(context.Context, bench.Load) (*bench.Result, error)) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: args(cobra.NoArgs)}
	l := loadFlags(cmd)
	touch := cmd.Flags().Int("touch", 0, "MiB of memory to use and free first, so that the page cache grows into memory the host has at hand")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		bench.Touch(*touch << 20)
		r, err := run(cmd.Context(), *l)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.out, r)
		return err
	}
	return cmd
}

func (c *cli) benchProduce() *cobra.Command {
	return c.loadCommand("produce", "Send batches", bench.Produce)
}

func (c *cli) benchFetch() *cobra.Command {
	var fill int
	cmd := c.loadCommand("fetch", "Fill a topic and fetch it over and over", func(ctx context.Context, l bench.Load) (*bench.Result, error) {
		filled, err := bench.Fill(ctx, l, fill)
		if err != nil {
			return nil, err
		}
		return bench.Fetch(ctx, l, filled)
	})
	cmd.Flags().IntVar(&fill, "fill", 128<<20, "bytes to put into each partition")
	return cmd
}

func (c *cli) benchEndToEnd() *cobra.Command {
	return c.loadCommand("e2e", "Produce at a fixed rate and fetch at once", bench.EndToEnd)
}

func (c *cli) benchReport() *cobra.Command {
	r := bench.Report{Log: c.err}
	var out, reasons string
	cmd := &cobra.Command{
		Use: "report", Short: "Measure ours, the null broker and Apache Kafka side by side", Args: args(cobra.NoArgs),
		Long: "Starts the three brokers, puts each workload on one after the other and writes performance.md\n" +
			"and performance.svg. Apache Kafka is run from the jars in the directory KAFKA_LIBS.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			program, err := os.Executable()
			if err != nil {
				return err
			}
			r.Program, r.KafkaLibs = program, os.Getenv("KAFKA_LIBS")
			why, err := os.ReadFile(reasons) //nolint:gosec // the operator names it
			if err != nil {
				return fmt.Errorf("--reasons: %w", err)
			}
			rows, err := r.Run(cmd.Context())
			if err != nil {
				return err
			}
			var page, chart bytes.Buffer
			if err := errors.Join(bench.WriteMarkdown(&page, rows, "performance.svg", string(why)), bench.WriteSVG(&chart, rows)); err != nil {
				return err
			}
			return errors.Join(
				os.WriteFile(filepath.Join(out, "performance.md"), page.Bytes(), 0o644),   //nolint:gosec // a page to read
				os.WriteFile(filepath.Join(out, "performance.svg"), chart.Bytes(), 0o644)) //nolint:gosec // a page to read
		},
	}
	f := cmd.Flags()
	f.StringVar(&out, "out", "docs", "directory for the page and the chart")
	f.StringVar(&reasons, "reasons", filepath.Join("bench", "missed.md"), "file that tells why rows are missed, a heading for each")
	f.StringVar(&r.Dir, "data", "", "directory for data; the system's temporary one")
	f.StringSliceVar(&r.Only, "only", nil, "run only workloads whose name contains one of these")
	f.DurationVar(&r.Warm, "warm", 2*time.Second, "load before a round, and three times that on a new broker")
	f.DurationVar(&r.Duration, "for", 4*time.Second, "how long a round counts, unless 1 GiB is reached before")
	f.IntVar(&r.Rounds, "rounds", 3, "how often the brokers take turns in a row")
	return cmd
}

func (c *cli) benchNull() *cobra.Command {
	var listen, dir string
	cmd := &cobra.Command{
		Use: "null", Short: "Run the broker that only checks, appends and answers", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return usagef("--data: a directory for its files is needed")
			}
			if err := os.MkdirAll(dir, 0o750); err != nil {
				return err
			}
			ln, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", listen)
			if err != nil {
				return err
			}
			c.say("the null broker is ready on %s\n", ln.Addr())
			return nullbroker.Serve(cmd.Context(), env.Real(), ln, dir)
		},
	}
	cmd.Flags().StringVarP(&listen, "listen", "l", "127.0.0.1:0", "host:port for clients")
	cmd.Flags().StringVarP(&dir, "data", "d", "", "directory for its files")
	return cmd
}
