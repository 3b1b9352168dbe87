package broker_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/compress"
)

// raw is one connection on which a test sees every answer as it is.
type raw struct {
	t      *testing.T
	conn   net.Conn
	format *kmsg.RequestFormatter
	next   int32
}

func dialRaw(t *testing.T, addr string) *raw {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &raw{t: t, conn: conn, format: kmsg.NewRequestFormatter(kmsg.FormatterClientID("raw"))}
}

// startRaw starts a node and connects to it.
func startRaw(t *testing.T, properties map[string]string) *raw {
	t.Helper()
	addr, _, _ := start(t, broker.Config{Dir: t.TempDir(), Properties: properties})
	return dialRaw(t, addr)
}

func (r *raw) send(req kmsg.Request) int32 {
	r.t.Helper()
	r.next++
	r.write(r.format.AppendRequest(nil, req, r.next))
	return r.next
}

func (r *raw) write(b []byte) {
	r.t.Helper()
	if err := r.conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.conn.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// frame reads one answer: its correlation id and the rest.
func (r *raw) frame() (correlation int32, rest []byte, err error) {
	var size [4]byte
	if _, err := io.ReadFull(r.conn, size[:]); err != nil {
		return 0, nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(r.conn, frame); err != nil {
		return 0, nil, err
	}
	return int32(binary.BigEndian.Uint32(frame)), frame[4:], nil
}

// receive reads the answer to req, which has that correlation id.
func (r *raw) receive(req kmsg.Request, correlation int32) kmsg.Response {
	r.t.Helper()
	got, body, err := r.frame()
	if err != nil {
		r.t.Fatalf("%s version %d: %v", kmsg.NameForKey(req.Key()), req.GetVersion(), err)
	}
	if got != correlation {
		r.t.Fatalf("%s: answer %d, want %d", kmsg.NameForKey(req.Key()), got, correlation)
	}
	resp := req.ResponseKind()
	if resp.IsFlexible() && req.Key() != int16(kmsg.ApiVersions) {
		body = body[1:] // no tags in the header
	}
	if err := resp.ReadFrom(body); err != nil {
		r.t.Fatalf("%s version %d: %v", kmsg.NameForKey(req.Key()), req.GetVersion(), err)
	}
	return resp
}

// closed wants the node to close the connection, without an answer first.
func (r *raw) closed() {
	r.t.Helper()
	if err := r.conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		r.t.Fatal(err)
	}
	n, err := r.conn.Read(make([]byte, 1))
	if n > 0 || errors.Is(err, os.ErrDeadlineExceeded) || err == nil {
		r.t.Fatalf("the connection is open: %d bytes, %v", n, err)
	}
}

// call sends a request and returns its answer.
func call[Resp kmsg.Response](r *raw, req kmsg.Request) Resp {
	r.t.Helper()
	resp, ok := r.receive(req, r.send(req)).(Resp)
	if !ok {
		r.t.Fatalf("%T is answered with another type", req)
	}
	return resp
}

// wantCode fails the test unless code is that of want.
func wantCode(t *testing.T, what string, code int16, want error) {
	t.Helper()
	if got := kerr.ErrorForCode(code); !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// create makes a topic with configs given as key, value, key, value.
func (r *raw) create(topic string, partitions int32, configs ...string) [16]byte {
	r.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 7, 10_000
	ask := kmsg.NewCreateTopicsRequestTopic()
	ask.Topic, ask.NumPartitions, ask.ReplicationFactor = topic, partitions, 1
	for i := 0; i < len(configs); i += 2 {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = configs[i], &configs[i+1]
		ask.Configs = append(ask.Configs, c)
	}
	req.Topics = append(req.Topics, ask)
	resp := call[*kmsg.CreateTopicsResponse](r, req)
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		r.t.Fatalf("create %s: %v", topic, err)
	}
	return resp.Topics[0].TopicID
}

func (r *raw) delete(topic string) {
	r.t.Helper()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version, req.TimeoutMillis, req.TopicNames = 5, 10_000, []string{topic}
	wantCode(r.t, "delete "+topic, call[*kmsg.DeleteTopicsResponse](r, req).Topics[0].ErrorCode, nil)
}

func produceTo(topic string, index int32, version int16, batch []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, -1, 10_000
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = index, batch
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// produce appends a batch to partition 0 with a version that knows every field by topic name.
func (r *raw) produce(topic string, batch []byte) kmsg.ProduceResponseTopicPartition {
	r.t.Helper()
	return call[*kmsg.ProduceResponse](r, produceTo(topic, 0, 11, batch)).Topics[0].Partitions[0]
}

func (r *raw) mustProduce(topic string, batch []byte) int64 {
	r.t.Helper()
	p := r.produce(topic, batch)
	wantCode(r.t, "produce to "+topic, p.ErrorCode, nil)
	return p.BaseOffset
}

func fetchOf(topic string, version int16, offset int64, maxBytes int32) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxBytes, req.MinBytes, req.SessionEpoch = version, 50<<20, 1, -1
	p := kmsg.NewFetchRequestTopicPartition()
	p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = offset, maxBytes, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func (r *raw) fetch(topic string, offset int64) kmsg.FetchResponseTopicPartition {
	r.t.Helper()
	return call[*kmsg.FetchResponse](r, fetchOf(topic, 12, offset, 1<<20)).Topics[0].Partitions[0]
}

func listOf(topic string, version int16, timestamp int64) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = version, -1
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp, p.CurrentLeaderEpoch = timestamp, -1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func (r *raw) list(topic string, timestamp int64) kmsg.ListOffsetsResponseTopicPartition {
	r.t.Helper()
	return call[*kmsg.ListOffsetsResponse](r, listOf(topic, 7, timestamp)).Topics[0].Partitions[0]
}

// rec is a record of a test batch; a nil key or value is null.
type rec struct {
	at         int64
	key, value []byte
}

func batchFrom(o record.Options, recs ...rec) record.Batch {
	b := record.NewBuilder(o)
	for _, r := range recs {
		b.Append(r.at, r.key, r.value, nil)
	}
	return b.Build()
}

// plain is an uncompressed batch of values stamped now.
func plain(values ...string) record.Batch { return packed(compress.None, values...) }

func packed(codec compress.Codec, values ...string) record.Batch {
	now := time.Now().UnixMilli()
	var recs []rec
	for _, v := range values {
		recs = append(recs, rec{now, []byte("k"), []byte(v)})
	}
	return batchFrom(record.Options{Codec: codec}, recs...)
}

// batches splits what a fetch returned.
func batches(t *testing.T, b []byte) (out []record.Batch) {
	t.Helper()
	for len(b) > 0 {
		one, rest, err := record.Split(b)
		if err == nil {
			err = one.Intact()
		}
		if err != nil {
			t.Fatal(err)
		}
		out, b = append(out, one), rest
	}
	return out
}

// values are those of every record in batches.
func values(t *testing.T, all []record.Batch) (out []string) {
	t.Helper()
	for _, b := range all {
		for r, err := range b.Records(1 << 24) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, string(r.Value))
		}
	}
	return out
}
