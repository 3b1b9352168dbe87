package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/broker"
	"github.com/weirstream/weir/internal/config"
)

type serverFlags struct {
	file, data, listen, admin, logLevel string
	set                                 []string
	changed                             func(flag string) bool
}

func serverCommand(c *cli) *cobra.Command {
	var f serverFlags
	cmd := &cobra.Command{
		Use: "server", Short: "Run a broker", Args: args(cobra.NoArgs),
		Long: "Runs one node, broker and controller in one process. Without any flag it listens on\n" +
			"127.0.0.1:9092 and keeps its data in the user's data directory. Flags win over WEIR_ and\n" +
			"KAFKA_ environment variables, which win over the file.",
		Example: "  weir server\n  weir server --config server.properties\n  weir server --data ./data --listen 127.0.0.1:19092 --set num.partitions=3",
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.changed = cmd.Flags().Changed
			return c.serve(cmd.Context(), &f)
		},
	}
	cmd.Flags().StringVarP(&f.file, "config", "c", "", "a properties file, as Kafka's server.properties")
	cmd.Flags().StringVarP(&f.data, "data", "d", "", "data directory; log.dirs")
	cmd.Flags().StringVarP(&f.listen, "listen", "l", "", "host:port for clients; listeners")
	cmd.Flags().StringVar(&f.admin, "admin", "", "host:port of /metrics, /healthz and /readyz, empty for none; weir.admin.listener")
	cmd.Flags().StringArrayVar(&f.set, "set", nil, "key=value of any broker key, repeatable")
	cmd.Flags().StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

// serve runs a node until ctx ends.
func (c *cli) serve(ctx context.Context, f *serverFlags) error {
	logger, err := c.logger(f.logLevel)
	if err != nil {
		return err
	}
	properties, warnings, err := f.properties(os.Environ())
	if err != nil {
		return err
	}
	for _, w := range warnings {
		logger.Warn("configuration", slog.String("warning", w))
	}
	node, err := broker.New(broker.Config{Properties: properties, Logger: logger})
	if err != nil {
		return err
	}
	defer addProcessors(os.Getenv("GOMAXPROCS"))()
	done := make(chan struct{})
	defer func() { <-done }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer close(done)
		select {
		case <-node.Ready():
			c.welcome(node, properties["log.dirs"])
		case <-ctx.Done():
		}
	}()
	return node.Run(ctx)
}

// welcome says where the node is and what to type next.
func (c *cli) welcome(node *broker.Node, dir string) {
	addr := ""
	for name, a := range node.Addrs() {
		if addr == "" || name == "PLAINTEXT" {
			addr = a.String()
		}
	}
	c.say("weir is ready on %s, data in %s\n", addr, dir)
	c.say("  echo hello | weir produce greetings -b %s\n", addr)
	c.say("  weir consume greetings -b %s\n", addr)
	c.say("  kcat -b %s -L\n", addr)
}

func (c *cli) logger(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usagef("--log-level %s: want debug, info, warn or error", level)
	}
	opts := &slog.HandlerOptions{Level: l}
	if file, ok := c.err.(*os.File); ok && isTerminal(file) {
		return slog.New(slog.NewTextHandler(c.err, opts)), nil
	}
	return slog.New(slog.NewJSONHandler(c.err, opts)), nil
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// properties lays flags over the environment over the file and fills in the
// data directory and the admin listener where nobody named them.
func (f *serverFlags) properties(environ []string) (map[string]string, []string, error) {
	keys, err := broker.Keys()
	if err != nil {
		return nil, nil, err
	}
	flags := config.Layer{Origin: "flag", Values: map[string]string{}}
	for _, pair := range f.set {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, nil, usagef("--set %s: want key=value", pair)
		}
		flags.Values[key] = value
	}
	if f.changed("data") {
		flags.Values["log.dirs"] = f.data
	}
	if f.changed("listen") {
		flags.Values["listeners"] = "PLAINTEXT://" + f.listen
	}
	if f.changed("admin") {
		flags.Values["weir.admin.listener"] = f.admin
	}
	layers := append([]config.Layer{flags}, keys.ParseEnv(environ)...)
	if f.file != "" {
		text, err := os.ReadFile(f.file)
		if err != nil {
			return nil, nil, fmt.Errorf("--config: %w; name a properties file that can be read", err)
		}
		layer, err := config.ParseFile(f.file, text)
		if err != nil {
			return nil, nil, err
		}
		layers = append(layers, layer)
	}
	set, warnings, err := keys.Resolve(layers...)
	if err != nil {
		return nil, nil, err
	}
	properties := map[string]string{}
	for name, v := range set {
		properties[name] = v.Text
	}
	return properties, warnings, fillIn(keys, properties)
}

// fillIn sets what a node needs and nobody named.
func fillIn(keys *config.Set, properties map[string]string) error {
	if _, ok := properties["weir.admin.listener"]; !ok {
		key, _ := keys.Key("weir.admin.listener")
		properties["weir.admin.listener"] = key.Default
	}
	if properties["log.dirs"] == "" {
		properties["log.dirs"] = properties["log.dir"]
	}
	if properties["log.dirs"] != "" {
		return nil
	}
	dir, err := dataDir()
	properties["log.dirs"] = dir
	return err
}

// dataDir is where data lies by default: the service's state directory under
// systemd, the user's data directory elsewhere; never a temporary folder.
func dataDir() (string, error) {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir, nil
	}
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "weir"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", errors.New("no home directory to keep data in; name one with --data")
	}
	return filepath.Join(home, ".local", "share", "weir"), nil
}
