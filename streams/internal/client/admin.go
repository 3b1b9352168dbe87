package client

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/streams/internal/runtime"
)

// reader implements runtime.Reader.
type reader struct {
	adm   *kadm.Client
	group string
}

// Committed implements runtime.Reader. An offset in a transaction that has not
// ended is an ErrRetry: it may be the next one, or never.
func (r *reader) Committed(ctx context.Context, tps []runtime.TP) (map[runtime.TP]runtime.Offset, error) {
	all, err := r.adm.FetchOffsets(kadm.RequireStable(ctx), r.group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, classify(fmt.Errorf("offsets of group %s: %w", r.group, err))
	}
	committed := map[runtime.TP]runtime.Offset{}
	for _, tp := range tps {
		o, ok := all.Lookup(tp.Topic, tp.Partition)
		if !ok {
			committed[tp] = runtime.Offset{TP: tp, Offset: -1}
			continue
		}
		if o.Err != nil {
			return nil, classify(fmt.Errorf("offset of %s-%d: %w", tp.Topic, tp.Partition, o.Err))
		}
		committed[tp] = runtime.Offset{TP: tp, Offset: o.At, Metadata: o.Metadata}
	}
	return committed, nil
}

// Starts implements runtime.Reader.
func (r *reader) Starts(ctx context.Context, tps []runtime.TP) (map[runtime.TP]int64, error) {
	return listed(ctx, tps, r.adm.ListStartOffsets)
}

// Ends implements runtime.Reader.
func (r *reader) Ends(ctx context.Context, tps []runtime.TP) (map[runtime.TP]int64, error) {
	return listed(ctx, tps, r.adm.ListEndOffsets)
}

func listed(ctx context.Context, tps []runtime.TP, list func(context.Context, ...string) (kadm.ListedOffsets, error)) (map[runtime.TP]int64, error) {
	offsets := map[runtime.TP]int64{}
	if len(tps) == 0 {
		return offsets, nil
	}
	var topics []string
	for topic := range group(tps) {
		topics = append(topics, topic)
	}
	all, err := list(ctx, topics...)
	if err != nil {
		return nil, classify(err)
	}
	for _, tp := range tps {
		o, ok := all.Lookup(tp.Topic, tp.Partition)
		if !ok {
			return nil, fmt.Errorf("topic %s has no partition %d", tp.Topic, tp.Partition)
		}
		if o.Err != nil {
			return nil, classify(fmt.Errorf("offset of %s-%d: %w", tp.Topic, tp.Partition, o.Err))
		}
		offsets[tp] = o.Offset
	}
	return offsets, nil
}

// Admin is a [runtime.Admin].
type Admin struct {
	*reader
	cl *kgo.Client
}

// NewAdmin makes a client for the topics and the group of an application. It
// connects at its first request.
func NewAdmin(ctx context.Context, brokers []string, group, clientID string, log *slog.Logger, extra ...kgo.Opt) (*Admin, error) {
	opts := []kgo.Opt{
		kgo.WithContext(context.WithoutCancel(ctx)),
		kgo.SeedBrokers(brokers...), kgo.ClientID(clientID), kgo.WithLogger(newLogger(ctx, log)),
	}
	cl, err := kgo.NewClient(append(opts, extra...)...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	return &Admin{reader: &reader{adm: kadm.NewClient(cl), group: group}, cl: cl}, nil
}

// Topics implements runtime.Admin.
func (a *Admin) Topics(ctx context.Context, names []string) (map[string]runtime.Topic, error) {
	topics := map[string]runtime.Topic{}
	if len(names) == 0 {
		return topics, nil
	}
	req := kmsg.NewPtrMetadataRequest() // not through kadm, which remembers what was missing
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	return topics, a.describe(ctx, req, topics)
}

// AllTopics implements runtime.Admin.
func (a *Admin) AllTopics(ctx context.Context) (map[string]runtime.Topic, error) {
	topics := map[string]runtime.Topic{}
	return topics, a.describe(ctx, kmsg.NewPtrMetadataRequest(), topics)
}

// describe fills in what exists of the topics that a request is about.
func (a *Admin) describe(ctx context.Context, req *kmsg.MetadataRequest, topics map[string]runtime.Topic) error {
	resp, err := req.RequestWith(ctx, a.cl)
	if err != nil {
		return classify(err)
	}
	for _, d := range resp.Topics {
		err := kerr.ErrorForCode(d.ErrorCode)
		switch {
		case d.Topic == nil, errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.LeaderNotAvailable):
			continue
		case err != nil:
			return classify(fmt.Errorf("topic %s: %w", *d.Topic, err))
		}
		t := runtime.Topic{Name: *d.Topic, Partitions: int32(len(d.Partitions)), Internal: d.IsInternal}
		if d.TopicID != ([16]byte{}) {
			t.ID = hex.EncodeToString(d.TopicID[:])
		}
		topics[t.Name] = t
	}
	return nil
}

// Create implements runtime.Admin.
func (a *Admin) Create(ctx context.Context, topics []runtime.Topic, replication int16) error {
	for _, t := range topics {
		config := make(map[string]*string, len(t.Config))
		for k, v := range t.Config {
			config[k] = &v
		}
		resp, err := a.adm.CreateTopic(ctx, t.Partitions, replication, config, t.Name)
		if err == nil {
			err = resp.Err
		}
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			if resp.ErrMessage != "" {
				err = fmt.Errorf("%w: %s", err, resp.ErrMessage)
			}
			return classify(fmt.Errorf("topic %s: %w", t.Name, err))
		}
	}
	return nil
}

// DeleteRecords implements runtime.Admin.
func (a *Admin) DeleteRecords(ctx context.Context, before map[runtime.TP]int64) error {
	offsets := kadm.Offsets{}
	for tp, at := range before {
		offsets.Add(kadm.Offset{Topic: tp.Topic, Partition: tp.Partition, At: at})
	}
	resp, err := a.adm.DeleteRecords(ctx, offsets)
	if err == nil {
		err = resp.Error()
	}
	return classify(err)
}

// Close implements runtime.Admin.
func (a *Admin) Close() { a.cl.Close() }

var _ runtime.Admin = (*Admin)(nil)
