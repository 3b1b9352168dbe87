// Package embedded runs a broker inside an example.
package embedded

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/weirstream/weir/broker"
)

// Broker runs a broker in this process, on data below dir, and returns the addresses of one that is
// ready. It goes on after ctx ends, until end stops it and waits for that.
func Broker(ctx context.Context, dir string) (brokers []string, end func() error, err error) {
	node, err := broker.New(broker.Config{Dir: filepath.Join(dir, "broker"), Listen: "127.0.0.1:0", Properties: map[string]string{
		"group.initial.rebalance.delay.ms": "0",
	}})
	if err != nil {
		return nil, nil, err
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
		return []string{node.Addrs()["PLAINTEXT"].String()}, end, nil
	case err := <-done:
		stop()
		return nil, nil, err
	case <-ctx.Done():
		return nil, nil, errors.Join(ctx.Err(), end())
	}
}
