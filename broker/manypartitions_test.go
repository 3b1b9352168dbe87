package broker_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker"
)

// openFiles counts the descriptors of this process, which runs the client too.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// quickDir is a directory in memory where the machine has one: making tens of thousands
// of files would measure the disk.
func quickDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "weir-") //nolint:usetesting // the directory of t may be on a disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestTenThousandPartitionsFitOnANode creates them at once, writes to each of them and
// restarts the node, with no more files open than a default limit allows.
func TestTenThousandPartitionsFitOnANode(t *testing.T) {
	if testing.Short() || runtime.GOOS != "linux" {
		t.Skip("takes seconds, and counts descriptors in /proc")
	}
	const partitions, mostFiles = 10_000, 4096
	dir := quickDir(t)
	addr, _, stop := start(t, broker.Config{Dir: dir})
	client := franz(t, addr)
	began := time.Now()
	lap := func(what string) {
		n := openFiles(t)
		t.Logf("%s: %d ms, %d open files", what, time.Since(began).Milliseconds(), n)
		if n > mostFiles {
			t.Errorf("%s: %d open files, at most %d are allowed", what, n, mostFiles)
		}
		began = time.Now()
	}
	create := kmsg.NewPtrCreateTopicsRequest()
	create.TimeoutMillis = 60_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "wide", partitions, 1
	create.Topics = append(create.Topics, topic)
	created, err := create.RequestWith(t.Context(), client)
	if err != nil || created.Topics[0].ErrorCode != 0 {
		t.Fatalf("create: %v, %+v", err, created)
	}
	lap("created")
	produceWide(t, client, created.Topics[0].TopicID, partitions, 0)
	lap("one record in each")
	client.Close()
	stop()
	lap("stopped")
	addr, _, _ = start(t, broker.Config{Dir: dir})
	restart := time.Since(began)
	lap("started again")
	if restart > 10*time.Second {
		t.Errorf("the restart took %s", restart)
	}
	reader := franz(t, addr, kgo.ConsumeTopics("wide"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	missing := map[int32]bool{}
	for i := range int32(partitions) {
		missing[i] = true
	}
	for len(missing) > 0 {
		fetches := reader.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			if want := fmt.Sprintf("p%d", r.Partition); string(r.Value) != want || r.Offset != 0 {
				t.Fatalf("partition %d offset %d holds %s", r.Partition, r.Offset, r.Value)
			}
			delete(missing, r.Partition)
		}
	}
	lap("read from each")
}

// produceWide writes one record, with so many bytes of padding, to each partition of the topic wide.
func produceWide(t *testing.T, client *kgo.Client, id [16]byte, partitions int32, padding int) {
	t.Helper()
	produce := kmsg.NewPtrProduceRequest()
	produce.Acks, produce.TimeoutMillis = -1, 60_000
	to := kmsg.NewProduceRequestTopic()
	to.Topic, to.TopicID = "wide", id
	for i := range partitions {
		part := kmsg.NewProduceRequestTopicPartition()
		part.Partition, part.Records = i, batchOf(nil, []string{fmt.Sprintf("p%d", i) + strings.Repeat(" ", padding)})
		to.Partitions = append(to.Partitions, part)
	}
	produce.Topics = append(produce.Topics, to)
	resp, err := client.Broker(1).Request(t.Context(), produce)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range resp.(*kmsg.ProduceResponse).Topics[0].Partitions {
		if p.ErrorCode != 0 {
			t.Fatalf("partition %d: error %d", p.Partition, p.ErrorCode)
		}
	}
}

// TestOneAnswerHoldsFewFilesOpen fetches large ranges of more partitions at once than
// an answer sends from files: the others come with the next one of the session.
func TestOneAnswerHoldsFewFilesOpen(t *testing.T) {
	const partitions, most = 1100, 1000
	addr, _, _ := start(t, broker.Config{Dir: t.TempDir(), Properties: map[string]string{"weir.durability": "pagecache", "fetch.max.bytes": "99000000"}})
	client := franz(t, addr)
	made, err := kadm.NewClient(client).CreateTopic(t.Context(), partitions, 1, nil, "wide")
	if err != nil {
		t.Fatal(err)
	}
	produceWide(t, client, made.ID, partitions, 64<<10)
	fetch := kmsg.NewPtrFetchRequest()
	fetch.MaxBytes, fetch.SessionEpoch = 99_000_000, 0
	topic := kmsg.NewFetchRequestTopic()
	topic.TopicID = made.ID
	for i := range int32(partitions) {
		topic.Partitions = append(topic.Partitions, kmsg.FetchRequestTopicPartition{Partition: i, CurrentLeaderEpoch: -1, PartitionMaxBytes: 1 << 20})
	}
	fetch.Topics = append(fetch.Topics, topic)
	seen := map[int32]bool{}
	for round, want := range []int{most, partitions - most} {
		resp, err := client.Broker(1).Request(t.Context(), fetch)
		if err != nil {
			t.Fatal(err)
		}
		answer, ok := resp.(*kmsg.FetchResponse)
		if !ok || answer.ErrorCode != 0 {
			t.Fatalf("answer %d: %+v", round, resp)
		}
		fetch.SessionID, fetch.SessionEpoch = answer.SessionID, int32(round+1)
		topic.Partitions, fetch.Topics = nil, nil
		for _, p := range answer.Topics[0].Partitions {
			if len(p.RecordBatches) > 0 {
				seen[p.Partition] = true
				want--
				topic.Partitions = append(topic.Partitions, kmsg.FetchRequestTopicPartition{Partition: p.Partition, CurrentLeaderEpoch: -1, FetchOffset: 1, PartitionMaxBytes: 1 << 20})
			}
		}
		fetch.Topics = []kmsg.FetchRequestTopic{topic}
		if want != 0 {
			t.Errorf("answer %d brings records of %d partitions too few", round, want)
		}
	}
	if len(seen) != partitions {
		t.Errorf("%d partitions were brought, want %d", len(seen), partitions)
	}
}
