package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func txnCommand(c *cli) *cobra.Command {
	cmds := []*cobra.Command{txnList(c), txnDescribe(c), txnAbort(c), txnFindHanging(c)}
	c.brokersFlag(cmds...)
	return group("txn", "List, describe and abort transactions, find hanging ones", cmds...)
}

type txnRow struct {
	ID          string `json:"transactional_id"`
	State       string `json:"state"`
	ProducerID  int64  `json:"producer_id"`
	Coordinator int32  `json:"coordinator"`
}

func txnList(c *cli) *cobra.Command {
	txnStates := []string{"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort"}
	var states []string
	cmd := &cobra.Command{
		Use: "list", Short: "List transactional ids", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, s := range states {
				if !slices.Contains(txnStates, s) {
					last := len(txnStates) - 1
					return usagef("--state %s: want %s or %s", s, strings.Join(txnStates[:last], ", "), txnStates[last])
				}
			}
			return c.admin(cmd, func(adm *kadm.Client) error {
				found, err := adm.ListTransactions(cmd.Context(), nil, states)
				if err != nil {
					return err
				}
				list, rows := []txnRow{}, [][]string{}
				for _, x := range found.Sorted() {
					list = append(list, txnRow{x.TxnID, x.State, x.ProducerID, x.Coordinator})
					rows = append(rows, []string{x.TxnID, x.State, fmt.Sprint(x.ProducerID), fmt.Sprint(x.Coordinator)})
				}
				return c.print(list, []string{"ID", "STATE", "PRODUCER", "COORDINATOR"}, rows)
			})
		},
	}
	cmd.Flags().StringSliceVar(&states, "state", nil, "only these states, such as Ongoing or PrepareCommit")
	return cmd
}

type txnDetail struct {
	ID         string   `json:"transactional_id"`
	State      string   `json:"state"`
	ProducerID int64    `json:"producer_id"`
	Epoch      int16    `json:"epoch"`
	TimeoutMs  int32    `json:"timeout_ms"`
	StartedMs  int64    `json:"started_ms"` // since 1970; -1 before the first transaction
	Partitions []string `json:"partitions"` // topic/number
}

func txnDescribe(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "describe ID...", Short: "Show transactional ids and the partitions of their transactions", Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return c.admin(cmd, func(adm *kadm.Client) error {
				found, err := adm.DescribeTransactions(cmd.Context(), ids...)
				if err != nil {
					return err
				}
				list, rows := []txnDetail{}, [][]string{}
				for _, x := range found.Sorted() {
					if err := txnError(x.TxnID, x.Err); err != nil {
						return err
					}
					d := txnDetail{x.TxnID, x.State, x.ProducerID, x.ProducerEpoch, x.TimeoutMillis, x.StartTimestamp, partitionNames(x.Topics)}
					list = append(list, d)
					rows = append(rows, []string{
						d.ID, d.State, fmt.Sprint(d.ProducerID), fmt.Sprint(d.Epoch), fmt.Sprint(time.Duration(d.TimeoutMs) * time.Millisecond),
						timeText(d.StartedMs), strings.Join(d.Partitions, " "),
					})
				}
				return c.print(list, []string{"ID", "STATE", "PRODUCER", "EPOCH", "TIMEOUT", "STARTED", "PARTITIONS"}, rows)
			})
		},
	}
}

func txnError(id string, err error) error {
	switch {
	case errors.Is(err, kerr.TransactionalIDNotFound):
		return fmt.Errorf("transactional id %s does not exist; weir txn list shows those that do", id)
	case err != nil:
		return fmt.Errorf("transactional id %s: %w", id, err)
	}
	return nil
}

func partitionNames(topics kadm.TopicsSet) []string {
	names := []string{}
	for _, t := range topics.Sorted() {
		for _, p := range t.Partitions {
			names = append(names, fmt.Sprintf("%s/%d", t.Topic, p))
		}
	}
	return names
}

func timeText(ms int64) string {
	if ms < 0 {
		return "-"
	}
	return time.UnixMilli(ms).UTC().Format(time.RFC3339)
}

func txnAbort(c *cli) *cobra.Command {
	var topic string
	var partition int32
	var start int64
	cmd := &cobra.Command{
		Use: "abort [ID]", Short: "Abort the transaction of an id, or a hanging one", Args: args(cobra.MaximumNArgs(1)),
		Long: "Abort the ongoing transaction of a transactional id and fence its producer. A hanging\n" +
			"transaction, which no coordinator knows, is named by --topic, --partition and --start.",
		RunE: func(cmd *cobra.Command, ids []string) error {
			if hangs := topic != ""; hangs == (len(ids) == 1) || hangs && start < 0 {
				return usagef("abort: name a transactional id, or a hanging transaction by --topic, --partition and --start")
			}
			if topic != "" {
				return c.admin(cmd, func(adm *kadm.Client) error { return abortHanging(cmd.Context(), adm, topic, partition, start) })
			}
			client, err := c.client(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			return c.report("aborted", map[string]error{ids[0]: fence(cmd.Context(), client, ids[0])})
		},
	}
	cmd.Flags().StringVarP(&topic, "topic", "t", "", "the topic of a hanging transaction")
	cmd.Flags().Int32VarP(&partition, "partition", "p", 0, "its partition")
	cmd.Flags().Int64Var(&start, "start", -1, "its first offset, as find-hanging shows it")
	return cmd
}

// fenceTimeout is the transaction timeout that the id is left with; no transaction begins with it.
const fenceTimeout = time.Minute

// fence takes a transactional id over, which aborts its transaction, and waits until that is complete.
func fence(ctx context.Context, client *kgo.Client, id string) error {
	found, err := kadm.NewClient(client).DescribeTransactions(ctx, id)
	if err != nil {
		return err
	}
	x := found[id]
	if err := txnError(id, x.Err); err != nil {
		return err
	}
	if x.State != "Ongoing" {
		return fmt.Errorf("transactional id %s is %s: there is nothing to abort", id, x.State)
	}
	for {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID, req.TransactionTimeoutMillis = &id, int32(fenceTimeout.Milliseconds())
		resp, err := req.RequestWith(ctx, client)
		if err != nil {
			return err
		}
		if err = kerr.ErrorForCode(resp.ErrorCode); !errors.Is(err, kerr.ConcurrentTransactions) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// abortHanging writes an abort marker for a transaction to the one partition where it is open.
func abortHanging(ctx context.Context, adm *kadm.Client, topic string, partition int32, start int64) error {
	if _, err := existing(ctx, adm, []string{topic}); err != nil {
		return err
	}
	var set kadm.TopicsSet
	set.Add(topic, partition)
	described, err := adm.DescribeProducers(ctx, set)
	if err != nil {
		return err
	}
	p := described[topic].Partitions[partition]
	if p.Err != nil {
		return fmt.Errorf("%s/%d: %w", topic, partition, p.Err)
	}
	for _, producer := range p.ActiveProducers {
		if producer.CurrentTxnStartOffset != start {
			continue
		}
		written, err := adm.WriteTxnMarkers(ctx, kadm.TxnMarkers{
			ProducerID: producer.ProducerID, ProducerEpoch: producer.ProducerEpoch, CoordinatorEpoch: max(producer.CoordinatorEpoch, 0), Topics: set,
		})
		if err == nil {
			err = written[producer.ProducerID].Topics[topic].Partitions[partition].Err
		}
		return err
	}
	return fmt.Errorf("no transaction is open on %s/%d from offset %d; weir txn find-hanging shows those that hang", topic, partition, start)
}

type hangingRow struct {
	Topic      string `json:"topic"`
	Partition  int32  `json:"partition"`
	Start      int64  `json:"start"`
	ProducerID int64  `json:"producer_id"`
	Epoch      int16  `json:"epoch"`
	LastMs     int64  `json:"last_ms"` // when the producer last wrote, since 1970
}

func txnFindHanging(c *cli) *cobra.Command {
	var topics []string
	var older time.Duration
	cmd := &cobra.Command{
		Use: "find-hanging", Short: "Find transactions that no coordinator will end", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.admin(cmd, func(adm *kadm.Client) error {
				open, err := openTransactions(cmd.Context(), adm, topics, time.Now().Add(-older))
				if err != nil {
					return err
				}
				known, err := knownTransactions(cmd.Context(), adm, open)
				if err != nil {
					return err
				}
				list, rows := hanging(open, known), [][]string{}
				for _, h := range list {
					rows = append(rows, []string{h.Topic, fmt.Sprint(h.Partition), fmt.Sprint(h.Start), fmt.Sprint(h.ProducerID), fmt.Sprint(h.Epoch), timeText(h.LastMs)})
				}
				return c.print(list, []string{"TOPIC", "PARTITION", "START", "PRODUCER", "EPOCH", "LAST WRITE"}, rows)
			})
		},
	}
	cmd.Flags().StringSliceVarP(&topics, "topic", "t", nil, "only these topics; without it all")
	cmd.Flags().DurationVar(&older, "older", 15*time.Minute, "only transactions whose producer has been silent for so long")
	return cmd
}

// openTransactions are the transactions open on partitions whose producers have been silent since.
func openTransactions(ctx context.Context, adm *kadm.Client, topics []string, since time.Time) ([]kadm.DescribedProducer, error) {
	found, err := existing(ctx, adm, topics)
	if err != nil {
		return nil, err
	}
	described, err := adm.DescribeProducers(ctx, found.TopicsSet())
	if err != nil {
		return nil, err
	}
	var open []kadm.DescribedProducer
	for _, t := range described.Sorted() {
		for _, p := range t.Partitions.Sorted() {
			if p.Err != nil {
				return nil, fmt.Errorf("%s/%d: %w", p.Topic, p.Partition, p.Err)
			}
			for _, producer := range p.ActiveProducers.Sorted() {
				if producer.CurrentTxnStartOffset >= 0 && producer.LastTimestamp <= since.UnixMilli() {
					open = append(open, producer)
				}
			}
		}
	}
	return open, nil
}

// knownTransactions are what coordinators know of the producers of open transactions.
func knownTransactions(ctx context.Context, adm *kadm.Client, open []kadm.DescribedProducer) (kadm.DescribedTransactions, error) {
	var producers []int64
	for _, o := range open {
		producers = append(producers, o.ProducerID)
	}
	if len(producers) == 0 {
		return nil, nil
	}
	listed, err := adm.ListTransactions(ctx, producers, nil)
	if err != nil || len(listed) == 0 {
		return nil, err
	}
	return adm.DescribeTransactions(ctx, listed.TransactionalIDs()...)
}

// hanging are the open transactions that are in none that a coordinator knows.
func hanging(open []kadm.DescribedProducer, known kadm.DescribedTransactions) []hangingRow {
	rows := []hangingRow{}
	for _, o := range open {
		isKnown := slices.ContainsFunc(known.Sorted(), func(x kadm.DescribedTransaction) bool {
			return x.ProducerID == o.ProducerID && x.Topics.Lookup(o.Topic, o.Partition)
		})
		if !isKnown {
			rows = append(rows, hangingRow{o.Topic, o.Partition, o.CurrentTxnStartOffset, o.ProducerID, o.ProducerEpoch, o.LastTimestamp})
		}
	}
	return rows
}
