package main

import (
	"github.com/spf13/cobra"

	"github.com/weirstream/weir/bench"
)

func (c *cli) benchStreamsApp() *cobra.Command {
	return &cobra.Command{
		Use: "streams-app topology guarantee broker id directory", Short: "Run one of the measured topologies",
		Hidden: true, Args: args(cobra.ExactArgs(5)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return bench.StreamsApp{Topology: a[0], Guarantee: a[1], Addr: a[2], ID: a[3], Dir: a[4]}.Run(cmd.Context())
		},
	}
}
