package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/bench"
)

func (c *cli) benchStreams() *cobra.Command {
	var addr, dir, only string
	var records, warm int
	cmd := &cobra.Command{
		Use: "streams", Short: "Measure topologies on Weir's streams and on Kafka Streams", Args: args(cobra.NoArgs),
		Long: "Fills a topic and runs each topology over it, on Weir's streams and on Kafka Streams, with one\n" +
			"worker each on the same broker. Kafka Streams is run from the jars in the directory KAFKA_LIBS.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			program, err := os.Executable()
			if err != nil {
				return err
			}
			at, err := os.MkdirTemp(dir, "bench-")
			if err != nil {
				return err
			}
			defer func() { _ = os.RemoveAll(at) }()
			if err := bench.FillStreams(cmd.Context(), addr, records); err != nil {
				return err
			}
			for _, run := range bench.StreamsRuns(only) {
				run.App.Addr, run.Libs, run.Records, run.Warm = addr, os.Getenv("KAFKA_LIBS"), records, warm
				run.App.Dir = filepath.Join(at, run.App.ID)
				if run.Ours {
					run.Program = program
				}
				r, err := bench.Streams(cmd.Context(), run)
				if errors.Is(err, bench.ErrNoKafka) {
					c.say("%s: left out: %v\n", run.App.ID, err)
					continue
				}
				if err != nil {
					return err
				}
				if _, err := fmt.Fprintf(c.out, "%-38s %s\n", run.App.ID, r); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVarP(&addr, "broker", "b", "127.0.0.1:9092", "host:port of the broker")
	f.StringVar(&dir, "data", "", "directory for state; the system's temporary one")
	f.StringVar(&only, "only", "", "run only what has this in bench-topology-guarantee-engine")
	f.IntVar(&records, "records", 3_000_000, "of the input")
	f.IntVar(&warm, "warm", 1_000_000, "records before counting begins")
	return cmd
}

func (c *cli) benchStreamsApp() *cobra.Command {
	return &cobra.Command{
		Use: "streams-app topology guarantee broker id directory", Short: "Run one of the measured topologies",
		Hidden: true, Args: args(cobra.ExactArgs(5)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return bench.StreamsApp{Topology: a[0], Guarantee: a[1], Addr: a[2], ID: a[3], Dir: a[4]}.Run(cmd.Context())
		},
	}
}
