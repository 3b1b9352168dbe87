// Package broker runs one node of Weir: a Kafka-compatible broker with its own
// metadata controller. New checks a configuration, Run builds the parts, hands
// each what it needs and runs them until its context ends. Any number of nodes
// can live in one process.
package broker

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync/atomic"

	"github.com/weirstream/weir/internal/config"
	"github.com/weirstream/weir/internal/env"
)

// Config says what a node is. The zero value of every field but one has a
// meaning; a data directory is needed, as Dir or as the property log.dirs.
type Config struct {
	// Dir is the data directory. It is made at the first start and belongs to this
	// node alone.
	Dir string
	// Listen is the host:port for clients; port 0 picks a free one. Without it and
	// without the property listeners, 127.0.0.1:9092.
	Listen string
	// Properties are Kafka's and Weir's broker keys, as a properties file has them.
	// They win over Dir and Listen. weir.admin.listener is off unless it is set.
	Properties map[string]string
	// Logger takes what operators should read; nil drops it.
	Logger *slog.Logger
	// Env is the machine; the zero value is the real one.
	Env env.Env
}

// Node is one broker and controller. Its methods may be called from any goroutine.
type Node struct {
	settings   settings
	brokerKeys *config.Set
	topicKeys  *config.Set
	env        env.Env
	logger     *slog.Logger
	ready      chan struct{}
	running    atomic.Pointer[parts]
}

// New checks the configuration and returns a node that Run starts. It touches
// neither disk nor network. Its error names every key that is wrong.
func New(c Config) (*Node, error) {
	brokerKeys, err := Keys()
	if err != nil {
		return nil, err
	}
	topicKeys, err := TopicKeys()
	if err != nil {
		return nil, err
	}
	properties := map[string]string{"weir.admin.listener": ""}
	if c.Dir != "" {
		properties["log.dirs"] = c.Dir
	}
	if c.Listen != "" {
		properties["listeners"] = "PLAINTEXT://" + c.Listen
	}
	maps.Copy(properties, c.Properties)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if err := brokerKeys.Check(name, properties[name]); err != nil {
			return nil, err
		}
	}
	s, err := parseSettings(brokerKeys, properties)
	if err != nil {
		return nil, err
	}
	n := &Node{settings: s, brokerKeys: brokerKeys, topicKeys: topicKeys, env: c.Env, logger: c.Logger, ready: make(chan struct{})}
	if n.env.FS == nil {
		n.env = env.Real()
	}
	if n.logger == nil {
		n.logger = slog.New(slog.DiscardHandler)
	}
	return n, nil
}

// Ready is closed once the node serves: its metadata is loaded and every
// partition it leads answers.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Addrs returns the address of each listener by its name. It is empty before
// Ready.
func (n *Node) Addrs() map[string]net.Addr {
	if p := n.running.Load(); p != nil {
		return p.server.Addrs()
	}
	return nil
}

// AdminAddr returns the address of the admin listener; nil before Ready and where
// there is none.
func (n *Node) AdminAddr() net.Addr {
	if p := n.running.Load(); p != nil && p.admin != nil {
		return p.admin.Addr()
	}
	return nil
}

// Run serves until ctx ends, then stops gracefully: it answers what was started,
// syncs every log and marks the directory as cleanly shut down. It returns nil
// after that, or the error that ended the node. It is called once.
func (n *Node) Run(ctx context.Context) error {
	p, err := n.build(ctx)
	if err != nil {
		return fmt.Errorf("start node %d: %w", n.settings.nodeID, err)
	}
	return p.run(ctx)
}
