package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/broker"
	"github.com/weirstream/weir/internal/config"
)

// docsCommand renders the reference pages from what the code declares.
func docsCommand(*cli) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "docs", Short: "Render the reference pages", Hidden: true, Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			configs, err := configPage()
			if err != nil {
				return err
			}
			pages := map[string]string{"config.md": configs, "protocol.md": protocolPage(), "metrics.md": metricsPage()}
			for name, text := range pages {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "docs", "folder of the pages")
	return cmd
}

func configPage() (string, error) {
	brokers, err := broker.Keys()
	if err != nil {
		return "", err
	}
	topics, err := broker.TopicKeys()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("# Configuration\n\nRendered from the declarations in `broker`. Names and defaults are Kafka's where Kafka\nhas the key. Flags (`--set key=value`) win over `WEIR_*` variables, those over `KAFKA_*`\nvariables, those over the file. An unknown key is an error; an unknown `KAFKA_*` variable\nwarns.\n")
	keyTable(&b, "Topic keys", topics, func(k config.Key) bool { return k.Ignored == "" })
	keyTable(&b, "Broker keys", brokers, func(k config.Key) bool { return k.Ignored == "" })
	b.WriteString("\n## Accepted without effect\n\nKafka knows these keys; a file that sets them starts, with a warning.\n\n| key | why it has no effect |\n|---|---|\n")
	for _, set := range []*config.Set{topics, brokers} {
		for _, k := range set.Keys() {
			if k.Ignored != "" {
				fmt.Fprintf(&b, "| `%s` | %s |\n", k.Name, k.Ignored)
			}
		}
	}
	return b.String(), nil
}

func keyTable(b *strings.Builder, title string, set *config.Set, take func(config.Key) bool) {
	fmt.Fprintf(b, "\n## %s\n\n| key | type | default | what it does |\n|---|---|---|---|\n", title)
	for _, k := range set.Keys() {
		if !take(k) {
			continue
		}
		value := "`" + k.Default + "`"
		if k.NoDefault || k.Default == "" {
			value = "–"
		}
		doc := k.Doc
		if len(k.Synonyms) > 0 && k.Synonyms[0] != k.Name {
			doc += " Default from `" + strings.Join(k.Synonyms, "`, `") + "`."
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", k.Name, k.Type, value, doc)
	}
}

func protocolPage() string {
	var b strings.Builder
	b.WriteString("# Protocol\n\nRendered from the API table. A node advertises exactly this in ApiVersions; Produce 0 to 2\nare advertised and refused, as Kafka does for the sake of old clients.\n\n| key | API | versions |\n|---|---|---|\n")
	apis := broker.APIs()
	slices.SortFunc(apis, func(a, b broker.API) int { return int(a.Key) - int(b.Key) })
	for _, a := range apis {
		fmt.Fprintf(&b, "| %d | %s | %d–%d |\n", a.Key, a.Name, a.Min, a.Max)
	}
	return b.String()
}

func metricsPage() string {
	var b strings.Builder
	b.WriteString("# Metrics\n\nRendered from the registry. `/metrics` on the admin listener shows these beside the usual\nfigures of the Go runtime and the process. Rates move every five seconds and decay as\nKafka's meters do.\n\n| metric | kind | labels | what it counts |\n|---|---|---|---|\n")
	for _, m := range broker.Metrics() {
		slices.Sort(m.Labels)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Kind, strings.Join(m.Labels, ", "), m.Help)
	}
	return b.String()
}
