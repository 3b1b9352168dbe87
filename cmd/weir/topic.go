package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func topicCommand(c *cli) *cobra.Command {
	cmds := []*cobra.Command{topicCreate(c), topicList(c), topicDescribe(c), topicAlter(c), topicDelete(c)}
	c.brokersFlag(cmds...)
	return group("topic", "Create, list, describe, alter and delete topics", cmds...)
}

func topicCreate(c *cli) *cobra.Command {
	var partitions int32
	var replicas int16
	var configs []string
	var ifNotExists bool
	cmd := &cobra.Command{
		Use: "create NAME...", Short: "Create topics", Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, topics []string) error {
			set, err := keyValues(configs)
			if err != nil {
				return err
			}
			return c.admin(cmd, func(adm *kadm.Client) error {
				created, err := adm.CreateTopics(cmd.Context(), partitions, replicas, set, topics...)
				if err != nil {
					return err
				}
				results := map[string]error{}
				for name, r := range created {
					results[name] = withMessage(r.Err, r.ErrMessage)
					if ifNotExists && r.Err == kerr.TopicAlreadyExists { //nolint:errorlint // kadm returns the plain value
						results[name] = nil
					}
				}
				return c.report("created", results)
			})
		},
	}
	cmd.Flags().Int32VarP(&partitions, "partitions", "p", -1, "partitions of each topic; -1 is the broker's default")
	cmd.Flags().Int16VarP(&replicas, "replicas", "r", -1, "replicas of each partition; -1 is the broker's default")
	cmd.Flags().StringArrayVarP(&configs, "config", "c", nil, "key=value, repeatable")
	cmd.Flags().BoolVar(&ifNotExists, "if-not-exists", false, "an existing topic is no error")
	return cmd
}

func withMessage(err error, message string) error {
	if err == nil || message == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, message)
}

type topicRow struct {
	Name       string `json:"name"`
	Partitions int    `json:"partitions"`
	Replicas   int    `json:"replicas"`
	Internal   bool   `json:"internal,omitempty"`
}

func topicList(c *cli) *cobra.Command {
	var internal bool
	cmd := &cobra.Command{
		Use: "list", Short: "List topics", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.admin(cmd, func(adm *kadm.Client) error {
				topics, err := adm.ListTopicsWithInternal(cmd.Context())
				if err != nil {
					return err
				}
				list, rows := []topicRow{}, [][]string{}
				for _, t := range topics.Sorted() {
					if t.IsInternal && !internal {
						continue
					}
					row := topicRow{t.Topic, len(t.Partitions), t.Partitions.NumReplicas(), t.IsInternal}
					list = append(list, row)
					rows = append(rows, []string{row.Name, strconv.Itoa(row.Partitions), strconv.Itoa(row.Replicas)})
				}
				return c.print(list, []string{"NAME", "PARTITIONS", "REPLICAS"}, rows)
			})
		},
	}
	cmd.Flags().BoolVar(&internal, "internal", false, "show internal topics too")
	return cmd
}

type partitionRow struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	Leader    int32   `json:"leader"`
	Epoch     int32   `json:"leader_epoch"`
	Replicas  []int32 `json:"replicas"`
	ISR       []int32 `json:"isr"`
	Start     int64   `json:"start_offset"`
	End       int64   `json:"end_offset"`
}

type topicDetail struct {
	Name       string            `json:"name"`
	ID         string            `json:"id"`
	Configs    map[string]string `json:"configs"`
	Partitions []partitionRow    `json:"partitions"`
}

func topicDescribe(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "describe NAME...", Short: "Show partitions, offsets and set configs of topics", Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, topics []string) error {
			return c.admin(cmd, func(adm *kadm.Client) error {
				details, err := describeTopics(cmd, adm, topics)
				if err != nil {
					return err
				}
				var rows [][]string
				for _, d := range details {
					for _, p := range d.Partitions {
						rows = append(rows, []string{
							p.Topic, fmt.Sprint(p.Partition), fmt.Sprint(p.Leader), fmt.Sprint(p.Epoch),
							fmt.Sprint(p.Replicas), fmt.Sprint(p.ISR), fmt.Sprint(p.Start), fmt.Sprint(p.End),
						})
					}
				}
				if err := c.print(details, []string{"TOPIC", "PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "START", "END"}, rows); err != nil || c.output == "json" {
					return err
				}
				for _, d := range details {
					for _, key := range slices.Sorted(maps.Keys(d.Configs)) {
						if _, err := fmt.Fprintf(c.out, "%s: %s=%s\n", d.Name, key, d.Configs[key]); err != nil {
							return err
						}
					}
				}
				return nil
			})
		},
	}
}

// describeTopics gathers metadata, offsets and the configs set on each topic.
func describeTopics(cmd *cobra.Command, adm *kadm.Client, topics []string) ([]topicDetail, error) {
	ctx := cmd.Context()
	found, err := existing(ctx, adm, topics)
	if err != nil {
		return nil, err
	}
	starts, err := adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	ends, err := adm.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	configs, err := adm.DescribeTopicConfigs(ctx, topics...)
	if err != nil {
		return nil, err
	}
	var out []topicDetail
	for _, t := range found.Sorted() {
		d := topicDetail{Name: t.Topic, ID: t.ID.String(), Configs: map[string]string{}}
		for _, p := range t.Partitions.Sorted() {
			start, _ := starts.Lookup(t.Topic, p.Partition)
			end, _ := ends.Lookup(t.Topic, p.Partition)
			d.Partitions = append(d.Partitions, partitionRow{t.Topic, p.Partition, p.Leader, p.LeaderEpoch, p.Replicas, p.ISR, start.Offset, end.Offset})
		}
		resource, _ := configs.On(t.Topic, nil)
		for _, cfg := range resource.Configs {
			if cfg.Source.String() == "DYNAMIC_TOPIC_CONFIG" {
				d.Configs[cfg.Key] = cfg.MaybeValue()
			}
		}
		out = append(out, d)
	}
	return out, nil
}

func topicAlter(c *cli) *cobra.Command {
	var partitions int
	var set, unset []string
	cmd := &cobra.Command{
		Use: "alter NAME", Short: "Add partitions or change configs of a topic", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, topics []string) error {
			changes, err := keyValues(set)
			if err != nil {
				return err
			}
			if partitions == 0 && len(changes) == 0 && len(unset) == 0 {
				return usageError{errNothing}
			}
			return c.admin(cmd, func(adm *kadm.Client) error {
				return c.report("altered", map[string]error{topics[0]: alterTopic(cmd, adm, topics[0], partitions, changes, unset)})
			})
		},
	}
	cmd.Flags().IntVarP(&partitions, "partitions", "p", 0, "the new number of partitions, more than before")
	cmd.Flags().StringArrayVarP(&set, "config", "c", nil, "key=value to set, repeatable")
	cmd.Flags().StringArrayVar(&unset, "delete-config", nil, "key to set back to its default, repeatable")
	return cmd
}

func alterTopic(cmd *cobra.Command, adm *kadm.Client, topic string, partitions int, set map[string]*string, unset []string) error {
	if partitions > 0 {
		updated, err := adm.UpdatePartitions(cmd.Context(), partitions, topic)
		if err != nil {
			return err
		}
		r, err := updated.On(topic, nil)
		if err = cmp.Or(err, r.Err); err != nil {
			return withMessage(err, r.ErrMessage)
		}
	}
	var changes []kadm.AlterConfig
	for key, value := range set {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: value})
	}
	for _, key := range unset {
		changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: key})
	}
	if len(changes) == 0 {
		return nil
	}
	altered, err := adm.AlterTopicConfigs(cmd.Context(), changes, topic)
	if err != nil {
		return err
	}
	r, err := altered.On(topic, nil)
	return withMessage(cmp.Or(err, r.Err), r.ErrMessage)
}

func topicDelete(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME...", Short: "Delete topics and their records", Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, topics []string) error {
			return c.admin(cmd, func(adm *kadm.Client) error {
				deleted, err := adm.DeleteTopics(cmd.Context(), topics...)
				if err != nil {
					return err
				}
				results := map[string]error{}
				for name, r := range deleted {
					results[name] = withMessage(r.Err, r.ErrMessage)
				}
				return c.report("deleted", results)
			})
		},
	}
}
