package broker_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// powerAddr is where a node of the power cut tests listens on its own network.
const powerAddr = "127.0.0.1:9092"

// patience is how long an answer may take before the node counts as stuck.
const patience = 30 * time.Second

// powered is a node on a disk in memory and a network of its own.
type powered struct {
	net    *env.MemNetwork
	cancel context.CancelFunc
	done   chan error
}

// aheadClock is a clock that goes ahead of the others.
type aheadClock struct {
	env.Clock
	by time.Duration
}

// Now is later than now.
func (c aheadClock) Now() time.Time { return c.Clock.Now().Add(c.by) }

// powerOn starts a node on a disk, with its clock ahead, and returns once it serves.
func powerOn(disk env.FS, ahead time.Duration) (*powered, error) {
	machine := env.Real()
	network := env.NewMemNetwork()
	machine.FS, machine.Net, machine.Clock = disk, network, aheadClock{machine.Clock, ahead}
	node, err := broker.New(broker.Config{Dir: "/data", Listen: powerAddr, Env: machine, Properties: map[string]string{
		"offsets.topic.num.partitions":                                "2",
		"transaction.state.log.num.partitions":                        "2",
		"auto.create.topics.enable":                                   "false",
		"group.initial.rebalance.delay.ms":                            "0",
		"log.flush.offset.checkpoint.interval.ms":                     "3",
		"replica.high.watermark.checkpoint.interval.ms":               "5",
		"log.retention.check.interval.ms":                             "4",
		"log.segment.delete.delay.ms":                                 "2",
		"log.index.interval.bytes":                                    "200",
		"log.cleaner.backoff.ms":                                      "3",
		"log.cleaner.dedupe.buffer.size":                              "65536",
		"transaction.abort.timed.out.transaction.cleanup.interval.ms": "5",
	}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &powered{net: network, cancel: cancel, done: make(chan error, 1)}
	go func() { p.done <- node.Run(ctx) }()
	select {
	case <-node.Ready():
		return p, nil
	case err := <-p.done:
		cancel()
		return nil, fmt.Errorf("the node ended: %w", err)
	case <-time.After(patience):
		cancel()
		return nil, errors.New("the node is not ready")
	}
}

// off stops the node in order and returns what Run returned.
func (p *powered) off() error {
	p.cancel()
	select {
	case err := <-p.done:
		return err
	case <-time.After(patience):
		return errors.New("the node does not stop")
	}
}

// wireClient speaks to a node request by request, without retries of its own.
type wireClient struct {
	conn    net.Conn
	format  *kmsg.RequestFormatter
	next    int32
	awaited []kmsg.Request // sent, in order
}

func (p *powered) connect() (*wireClient, error) {
	conn, err := p.net.Dial(context.Background(), powerAddr)
	if err != nil {
		return nil, err
	}
	return &wireClient{conn: conn, format: kmsg.NewRequestFormatter(kmsg.FormatterClientID("power"))}, nil
}

func (c *wireClient) close() { _ = c.conn.Close() }

// send starts a request; its answer is received later, in the order of sending.
func (c *wireClient) send(req kmsg.Request) error {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	c.next++
	c.awaited = append(c.awaited, req)
	_, err := c.conn.Write(c.format.AppendRequest(nil, req, c.next))
	return err
}

func (c *wireClient) receive() (kmsg.Response, error) {
	req := c.awaited[0]
	c.awaited = c.awaited[1:]
	var size [4]byte
	if _, err := io.ReadFull(c.conn, size[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c.conn, frame); err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	body := frame[4:]
	if resp.IsFlexible() {
		body = body[1:] // no tags in the header
	}
	return resp, resp.ReadFrom(body)
}

// ask sends a request and returns its answer.
func ask[Resp kmsg.Response](c *wireClient, req kmsg.Request) (resp Resp, err error) {
	if err := c.send(req); err != nil {
		return resp, err
	}
	answer, err := c.receive()
	if err != nil {
		return resp, fmt.Errorf("%s: %w", kmsg.NameForKey(req.Key()), err)
	}
	return answer.(Resp), nil
}

func refused(what string, code int16) error {
	if err := kerr.ErrorForCode(code); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// tp names a partition.
type tp struct {
	topic string
	index int32
}

func (p tp) String() string { return fmt.Sprintf("%s-%d", p.topic, p.index) }

func produceRequest(p tp, acks int16, batch []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(9)
	req.Acks, req.TimeoutMillis = acks, 20000
	part := kmsg.NewProduceRequestTopicPartition()
	part.Partition, part.Records = p.index, batch
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.Partitions = p.topic, append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	return req
}

func producedAt(r kmsg.Response) (int64, error) {
	part := r.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	return part.BaseOffset, refused("produce", part.ErrorCode)
}

func (c *wireClient) produce(p tp, acks int16, batch []byte) (int64, error) {
	r, err := ask[*kmsg.ProduceResponse](c, produceRequest(p, acks, batch))
	if err != nil {
		return 0, err
	}
	return producedAt(r)
}

// seen is a record as a client knows it.
type seen struct {
	offset int64
	value  string
}

// fetchAnswer is what one fetch of a partition returns, to a reader of all records or
// of committed ones.
func (c *wireClient) fetchAnswer(p tp, from int64, isolation int8) (answer kmsg.FetchResponseTopicPartition, err error) {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(12)
	req.MaxBytes, req.SessionEpoch, req.IsolationLevel = 1<<24, -1, isolation
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes, part.CurrentLeaderEpoch = p.index, from, 1<<20, -1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.Partitions = p.topic, append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	r, err := ask[*kmsg.FetchResponse](c, req)
	if err != nil {
		return answer, err
	}
	answer = r.Topics[0].Partitions[0]
	return answer, refused("fetch", answer.ErrorCode)
}

// fetch returns what one answer holds from an offset on, and the high watermark.
func (c *wireClient) fetch(p tp, from int64) (records []seen, watermark int64, err error) {
	answer, err := c.fetchAnswer(p, from, 0)
	if err != nil {
		return nil, 0, err
	}
	for rest := answer.RecordBatches; len(rest) > 0; {
		b, tail, err := record.Split(rest)
		if err != nil {
			break // cut off by the limit
		}
		for rec, err := range b.Records(1 << 20) {
			if err != nil {
				return nil, 0, err
			}
			if rec.Offset >= from {
				records = append(records, seen{rec.Offset, string(rec.Value)})
			}
		}
		rest = tail
	}
	return records, answer.HighWatermark, nil
}

// edge returns the first offset (-2) or the next one (-1) of a partition.
func (c *wireClient) edge(p tp, which int64) (int64, error) { return c.edgeOf(p, which, 0) }

func (c *wireClient) edgeOf(p tp, which int64, isolation int8) (int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.SetVersion(7)
	req.IsolationLevel = isolation
	part := kmsg.NewListOffsetsRequestTopicPartition()
	part.Partition, part.Timestamp = p.index, which
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic, topic.Partitions = p.topic, append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	r, err := ask[*kmsg.ListOffsetsResponse](c, req)
	if err != nil {
		return 0, err
	}
	return r.Topics[0].Partitions[0].Offset, refused("list offsets", r.Topics[0].Partitions[0].ErrorCode)
}

func (c *wireClient) createTopic(name string, partitions int32, configs map[string]string) (id [16]byte, err error) {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(7)
	req.TimeoutMillis = 20000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	for key, value := range configs {
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = key, &value
		topic.Configs = append(topic.Configs, config)
	}
	req.Topics = append(req.Topics, topic)
	r, err := ask[*kmsg.CreateTopicsResponse](c, req)
	if err != nil {
		return id, err
	}
	return r.Topics[0].TopicID, refused("create "+name, r.Topics[0].ErrorCode)
}

func (c *wireClient) deleteTopic(name string) error {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.SetVersion(6)
	req.TimeoutMillis = 20000
	topic := kmsg.NewDeleteTopicsRequestTopic()
	topic.Topic = &name
	req.Topics = append(req.Topics, topic)
	r, err := ask[*kmsg.DeleteTopicsResponse](c, req)
	if err != nil {
		return err
	}
	return refused("delete "+name, r.Topics[0].ErrorCode)
}

func (c *wireClient) createPartitions(name string, count int32) error {
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.SetVersion(3)
	req.TimeoutMillis = 20000
	topic := kmsg.NewCreatePartitionsRequestTopic()
	topic.Topic, topic.Count = name, count
	req.Topics = append(req.Topics, topic)
	r, err := ask[*kmsg.CreatePartitionsResponse](c, req)
	if err != nil {
		return err
	}
	return refused("grow "+name, r.Topics[0].ErrorCode)
}

func (c *wireClient) deleteRecords(p tp, before int64) error {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.SetVersion(2)
	req.TimeoutMillis = 20000
	part := kmsg.NewDeleteRecordsRequestTopicPartition()
	part.Partition, part.Offset = p.index, before
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic, topic.Partitions = p.topic, append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	r, err := ask[*kmsg.DeleteRecordsResponse](c, req)
	if err != nil {
		return err
	}
	return refused("delete records of "+p.String(), r.Topics[0].Partitions[0].ErrorCode)
}

func (c *wireClient) setConfig(topic, key, value string) error {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.SetVersion(1)
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value = key, &value
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	resource.Configs = append(resource.Configs, config)
	req.Resources = append(req.Resources, resource)
	r, err := ask[*kmsg.IncrementalAlterConfigsResponse](c, req)
	if err != nil {
		return err
	}
	return refused("configure "+topic, r.Resources[0].ErrorCode)
}

func (c *wireClient) configs(topic string) (map[string]string, error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.SetVersion(4)
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	req.Resources = append(req.Resources, resource)
	r, err := ask[*kmsg.DescribeConfigsResponse](c, req)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for _, config := range r.Resources[0].Configs {
		if config.Value != nil {
			values[config.Name] = *config.Value
		}
	}
	return values, refused("configs of "+topic, r.Resources[0].ErrorCode)
}

func (c *wireClient) producerID() (int64, error) {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.SetVersion(4)
	req.ProducerID, req.ProducerEpoch = -1, -1
	r, err := ask[*kmsg.InitProducerIDResponse](c, req)
	if err != nil {
		return 0, err
	}
	return r.ProducerID, refused("producer id", r.ErrorCode)
}

// eventually repeats f while a coordinator is being made, loads, or ends a transaction.
func eventually(f func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil || !errors.Is(err, kerr.CoordinatorLoadInProgress) && !errors.Is(err, kerr.CoordinatorNotAvailable) &&
			!errors.Is(err, kerr.NotCoordinator) && !errors.Is(err, kerr.ConcurrentTransactions) && !errors.Is(err, kerr.UnstableOffsetCommit) || time.Now().After(deadline) {
			return err
		}
		<-time.After(time.Millisecond)
	}
}

// What a coordinator is for.
const ofGroup, ofTransactions = 0, 1

// coordinate has the topic of a kind of coordinator made.
func (c *wireClient) coordinate(kind int8, key string) error {
	return eventually(func() error {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.SetVersion(4)
		req.CoordinatorType, req.CoordinatorKeys = kind, []string{key}
		r, err := ask[*kmsg.FindCoordinatorResponse](c, req)
		if err != nil {
			return err
		}
		return refused("find coordinator", r.Coordinators[0].ErrorCode)
	})
}

// member is a place in a group; the zero generation of nobody is -1.
type member struct {
	group, id  string
	generation int32
}

// join makes the client the only member of a group.
func (c *wireClient) join(group string) (m member, err error) {
	m.group = group
	err = eventually(func() error {
		req := kmsg.NewPtrJoinGroupRequest()
		req.SetVersion(3)
		req.Group, req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = group, "consumer", 60000, 60000
		protocol := kmsg.NewJoinGroupRequestProtocol()
		protocol.Name, protocol.Metadata = "range", []byte("any")
		req.Protocols = append(req.Protocols, protocol)
		r, err := ask[*kmsg.JoinGroupResponse](c, req)
		if err != nil {
			return err
		}
		m.id, m.generation = r.MemberID, r.Generation
		return refused("join", r.ErrorCode)
	})
	if err != nil {
		return m, err
	}
	req := kmsg.NewPtrSyncGroupRequest()
	req.SetVersion(2)
	req.Group, req.MemberID, req.Generation = group, m.id, m.generation
	assignment := kmsg.NewSyncGroupRequestGroupAssignment()
	assignment.MemberID, assignment.MemberAssignment = m.id, []byte("all")
	req.GroupAssignment = append(req.GroupAssignment, assignment)
	r, err := ask[*kmsg.SyncGroupResponse](c, req)
	if err != nil {
		return m, err
	}
	return m, refused("sync", r.ErrorCode)
}

func (c *wireClient) commit(m member, p tp, offset int64) error {
	return eventually(func() error {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.SetVersion(8)
		req.Group, req.MemberID, req.Generation = m.group, m.id, m.generation
		part := kmsg.NewOffsetCommitRequestTopicPartition()
		part.Partition, part.Offset = p.index, offset
		topic := kmsg.NewOffsetCommitRequestTopic()
		topic.Topic, topic.Partitions = p.topic, append(topic.Partitions, part)
		req.Topics = append(req.Topics, topic)
		r, err := ask[*kmsg.OffsetCommitResponse](c, req)
		if err != nil {
			return err
		}
		return refused("commit", r.Topics[0].Partitions[0].ErrorCode)
	})
}

// committed returns the offsets of a group: of partitions, -1 where there is none, or all that it
// has. Only who names a partition waits for the transaction that gives it its first offset: as in
// Kafka, all that a group has are the partitions with an offset.
func (c *wireClient) committed(group string, of ...tp) (offsets map[tp]int64, err error) {
	err = eventually(func() error {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.SetVersion(8)
		req.RequireStable = true
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = group
		for _, at := range of {
			g.Topics = append(g.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: at.topic, Partitions: []int32{at.index}})
		}
		req.Groups = append(req.Groups, g)
		r, err := ask[*kmsg.OffsetFetchResponse](c, req)
		if err != nil {
			return err
		}
		offsets = map[tp]int64{}
		for _, topic := range r.Groups[0].Topics {
			for _, part := range topic.Partitions {
				if err := refused("offset of "+group, part.ErrorCode); err != nil {
					return err
				}
				offsets[tp{topic.Topic, part.Partition}] = part.Offset
			}
		}
		return refused("offsets of "+group, r.Groups[0].ErrorCode)
	})
	return offsets, err
}

// listed is a topic as the metadata tells of it.
type listed struct {
	id      [16]byte
	leaders []int32
}

func (c *wireClient) topics() (map[string]listed, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.SetVersion(12)
	r, err := ask[*kmsg.MetadataResponse](c, req)
	if err != nil {
		return nil, err
	}
	all := map[string]listed{}
	for _, t := range r.Topics {
		l := listed{id: t.TopicID, leaders: make([]int32, len(t.Partitions))}
		for _, p := range t.Partitions {
			l.leaders[p.Partition] = p.Leader
		}
		all[*t.Topic] = l
	}
	return all, nil
}
