package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/weirstream/weir/broker"
)

// embed runs a broker in this process, on data below dir. end stops it.
func (a *app) embed(ctx context.Context, dir string) (end func() error, err error) {
	node, err := broker.New(broker.Config{Dir: filepath.Join(dir, "broker"), Listen: "127.0.0.1:0", Properties: map[string]string{
		"group.initial.rebalance.delay.ms": "0",
	}})
	if err != nil {
		return nil, err
	}
	live, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- node.Run(live) }()
	end = func() error {
		stop()
		return <-done
	}
	select {
	case <-node.Ready():
		a.brokers = []string{node.Addrs()["PLAINTEXT"].String()}
		return end, nil
	case err := <-done:
		stop()
		return nil, err
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), end())
	}
}
