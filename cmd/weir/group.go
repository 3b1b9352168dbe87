package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func groupCommand(c *cli) *cobra.Command {
	cmds := []*cobra.Command{groupList(c), groupDescribe(c), groupReset(c), groupDelete(c)}
	c.brokersFlag(cmds...)
	return group("group", "List, describe, reset and delete consumer groups", cmds...)
}

type groupRow struct {
	Name         string `json:"name"`
	State        string `json:"state"`
	ProtocolType string `json:"protocol_type"`
	Coordinator  int32  `json:"coordinator"`
}

func groupList(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List groups", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.admin(cmd, func(adm *kadm.Client) error {
				groups, err := adm.ListGroups(cmd.Context())
				if err != nil {
					return err
				}
				list, rows := []groupRow{}, [][]string{}
				for _, g := range groups.Sorted() {
					list = append(list, groupRow{g.Group, g.State, g.ProtocolType, g.Coordinator})
					rows = append(rows, []string{g.Group, g.State, g.ProtocolType})
				}
				return c.print(list, []string{"NAME", "STATE", "TYPE"}, rows)
			})
		},
	}
}

type lagRow struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"`
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`
	Member    string `json:"member,omitempty"`
	Host      string `json:"host,omitempty"`
}

type groupDetail struct {
	Name     string   `json:"name"`
	State    string   `json:"state"`
	Protocol string   `json:"protocol"`
	Members  int      `json:"members"`
	TotalLag int64    `json:"total_lag"`
	Lag      []lagRow `json:"lag"`
}

func groupDescribe(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "describe NAME...", Short: "Show state, offsets and lag of groups", Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, groups []string) error {
			return c.admin(cmd, func(adm *kadm.Client) error {
				lags, err := adm.Lag(cmd.Context(), groups...)
				if err == nil {
					err = lagError(lags)
				}
				if err != nil {
					return err
				}
				details, rows := []groupDetail{}, [][]string{}
				for _, l := range lags.Sorted() {
					d := detail(l)
					details = append(details, d)
					for _, r := range d.Lag {
						rows = append(rows, []string{d.Name, d.State, r.Topic, fmt.Sprint(r.Partition), offsetText(r.Committed), fmt.Sprint(r.End), fmt.Sprint(r.Lag), r.Member})
					}
					if len(d.Lag) == 0 {
						rows = append(rows, []string{d.Name, d.State, "-", "-", "-", "-", "-", "-"})
					}
				}
				return c.print(details, []string{"GROUP", "STATE", "TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER"}, rows)
			})
		},
	}
}

// lagError returns why the lag of a group is not known. Brokers describe a group that
// is not there as dead.
func lagError(lags kadm.DescribedGroupLags) error {
	for _, l := range lags.Sorted() {
		if errors.Is(l.Error(), kerr.GroupIDNotFound) || l.Error() == nil && l.State == "Dead" {
			return fmt.Errorf("group %s does not exist; weir group list shows those that do", l.Group)
		}
		if err := l.Error(); err != nil {
			return fmt.Errorf("group %s: %w", l.Group, err)
		}
	}
	return nil
}

func offsetText(n int64) string {
	if n < 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

func detail(l kadm.DescribedGroupLag) groupDetail {
	d := groupDetail{Name: l.Group, State: l.State, Protocol: l.Protocol, Members: len(l.Members), TotalLag: l.Lag.Total(), Lag: []lagRow{}}
	for _, p := range l.Lag.Sorted() {
		row := lagRow{Topic: p.Topic, Partition: p.Partition, Committed: p.Commit.At, End: p.End.Offset, Lag: p.Lag}
		if p.Member != nil {
			row.Member, row.Host = p.Member.MemberID, p.Member.ClientHost
		}
		d.Lag = append(d.Lag, row)
	}
	return d
}

func groupReset(c *cli) *cobra.Command {
	var topics []string
	var to string
	var execute bool
	cmd := &cobra.Command{
		Use: "reset NAME", Short: "Move the committed offsets of an empty group", Args: args(cobra.ExactArgs(1)),
		Long: "Shows where the offsets of a group would move, and moves them with --execute.\nThe group must have no members.",
		RunE: func(cmd *cobra.Command, groups []string) error {
			at, err := parsePlace("--to", to)
			if err != nil {
				return err
			}
			return c.admin(cmd, func(adm *kadm.Client) error {
				target, err := resetTarget(cmd.Context(), adm, groups[0], topics, at)
				if err != nil {
					return err
				}
				if err := c.printReset(target, execute); err != nil || !execute {
					return err
				}
				committed, err := adm.CommitOffsets(cmd.Context(), groups[0], target)
				if err == nil {
					err = committed.Error()
				}
				if errors.Is(err, kerr.UnknownMemberID) {
					return fmt.Errorf("group %s has members; stop them first", groups[0])
				}
				return err
			})
		},
	}
	cmd.Flags().StringSliceVarP(&topics, "topic", "t", nil, "only these topics; without it every topic the group has offsets of")
	cmd.Flags().StringVar(&to, "to", "", "start, end, an offset, or a time such as 2026-01-02T15:04:05Z")
	cmd.Flags().BoolVar(&execute, "execute", false, "do it; without it the command only shows what it would do")
	if err := cmd.MarkFlagRequired("to"); err != nil {
		panic("bug: " + err.Error())
	}
	return cmd
}

// resetTarget returns the offsets that a group is to be moved to.
func resetTarget(ctx context.Context, adm *kadm.Client, name string, topics []string, to place) (kadm.Offsets, error) {
	if len(topics) == 0 {
		committed, err := adm.FetchOffsets(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("group %s: %w", name, err)
		}
		if len(committed) == 0 {
			return nil, fmt.Errorf("group %s has no committed offsets; name topics with --topic", name)
		}
		topics = slices.Sorted(maps.Keys(committed))
	}
	if _, err := existing(ctx, adm, topics); err != nil {
		return nil, err
	}
	target, _, err := to.offsets(ctx, adm, topics)
	if err != nil {
		return nil, err
	}
	return target.Offsets(), nil
}

type resetRow struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

func (c *cli) printReset(target kadm.Offsets, execute bool) error {
	list, rows := []resetRow{}, [][]string{}
	for _, o := range target.Sorted() {
		list = append(list, resetRow{o.Topic, o.Partition, o.At})
		rows = append(rows, []string{o.Topic, fmt.Sprint(o.Partition), fmt.Sprint(o.At)})
	}
	if err := c.print(list, []string{"TOPIC", "PARTITION", "NEW OFFSET"}, rows); err != nil {
		return err
	}
	if !execute {
		c.say("nothing was changed; add --execute to do it\n")
	}
	return nil
}

func groupDelete(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME...", Short: "Delete empty groups and their offsets", Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, groups []string) error {
			return c.admin(cmd, func(adm *kadm.Client) error {
				deleted, err := adm.DeleteGroups(cmd.Context(), groups...)
				if err != nil {
					return err
				}
				results := map[string]error{}
				for name, r := range deleted {
					results[name] = r.Err
				}
				return c.report("deleted", results)
			})
		},
	}
}
