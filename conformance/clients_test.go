package conformance

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
)

// perCodec is how many records each client sends in each codec.
const perCodec = 100_000

func codecs() []string { return []string{"none", "gzip", "snappy", "lz4", "zstd"} }

// foreign is one client family: how it produces, and how a group of it consumes.
type foreign struct {
	name    string
	produce func(t *testing.T, b *broker, topic, codec string, from, to int)
	// consume runs a member of a group until ctx ends and hands over each record once.
	consume func(ctx context.Context, t *testing.T, b *broker, topic, group string, got func(partition int32, offset int64, key, value, header string))
}

// TestClients lets each client send 100,000 keyed records with headers in all
// codecs, half of them before a kill -9 of the broker and half after it, and
// read them with two members of a group: the exact multiset, in order per key,
// and a third member resumes where the group committed.
func TestClients(t *testing.T) {
	for _, f := range []foreign{franz(), saramaClient(), kcat(t)} {
		if f.produce == nil {
			continue
		}
		t.Run(f.name, func(t *testing.T) { exercise(t, f) })
	}
}

func exercise(t *testing.T, f foreign) {
	onCard(t, f.name, does("100,000 records in five codecs around a kill -9, read by groups of two"))
	b := newBroker(t)
	const topic, group = "clients", "readers"
	b.createTopic(topic, 4)
	n := perCodec
	if testing.Short() {
		n /= 20
	}
	for half := range 2 {
		for i, codec := range codecs() {
			from := (2*i + half) * n / 2
			f.produce(t, b, topic, codec, from, from+n/2)
		}
		if half == 0 {
			b.kill()
			b.start()
		}
	}
	want := n * len(codecs())
	first := newTally(want * 6 / 10)
	runMembers(t, b, f, topic, group, first)
	second := newTally(want)
	second.adopt(first)
	b.kill()
	b.start()
	runMembers(t, b, f, topic, group, second)
	second.check(t, want)
}

// runMembers runs two members until the tally has what it wants.
func runMembers(t *testing.T, b *broker, f foreign, topic, group string, into *tally) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var members sync.WaitGroup
	for range 2 {
		members.Go(func() { f.consume(ctx, t, b, topic, group, into.got) })
	}
	select {
	case <-into.full:
	case <-ctx.Done():
		t.Errorf("the group read %d of %d records in three minutes", into.len(), into.want)
	}
	cancel()
	members.Wait()
}

// tally collects what a group read. A record may come again after a rebalance
// or a restart; it must be the same each time.
type tally struct {
	mu     sync.Mutex
	want   int
	values map[string]string // by partition and offset
	wrong  []string
	full   chan struct{}
}

func newTally(want int) *tally {
	return &tally{want: want, values: map[string]string{}, full: make(chan struct{})}
}

func (c *tally) adopt(from *tally) {
	from.mu.Lock()
	defer from.mu.Unlock()
	c.values, c.wrong = from.values, from.wrong
}

func (c *tally) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.values)
}

func (c *tally) got(partition int32, offset int64, key, value, header string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	where := fmt.Sprintf("%d@%d", partition, offset)
	entry := key + "=" + value + " " + header
	if before, again := c.values[where]; again {
		if before != entry {
			c.wrong = append(c.wrong, fmt.Sprintf("%s was %q and is %q", where, before, entry))
		}
		return
	}
	c.values[where] = entry
	if header != "h="+value {
		c.wrong = append(c.wrong, fmt.Sprintf("%s: header %q of value %q", where, header, value))
	}
	if len(c.values) == c.want {
		close(c.full)
	}
}

// check wants the values 0 to want-1 once each, and each key's values in the
// order of their offsets.
func (c *tally) check(t *testing.T, want int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.wrong[:min(len(c.wrong), 5)] {
		t.Error(w)
	}
	seen := make([]int, want)
	byKey := map[string][]produced{}
	for where, entry := range c.values {
		var partition int32
		var offset int64
		if _, err := fmt.Sscanf(where, "%d@%d", &partition, &offset); err != nil {
			t.Fatal(err)
		}
		key, rest, _ := strings.Cut(entry, "=")
		text, _, _ := strings.Cut(rest, " ")
		value, err := strconv.Atoi(text)
		if err != nil || value < 0 || value >= want {
			t.Fatalf("%s holds %q", where, entry)
		}
		seen[value]++
		byKey[key] = append(byKey[key], produced{offset, value})
	}
	for value, times := range seen {
		if times != 1 {
			t.Fatalf("value %d was read %d times", value, times)
		}
	}
	for key, values := range byKey {
		slices.SortFunc(values, func(a, b produced) int { return cmp.Compare(a.offset, b.offset) })
		for i := 1; i < len(values); i++ {
			if sent(values[i-1].value, want) >= sent(values[i].value, want) {
				t.Fatalf("key %s: value %d stands before %d", key, values[i-1].value, values[i].value)
			}
		}
	}
	if len(byKey) != keyCount {
		t.Errorf("%d keys, want %d", len(byKey), keyCount)
	}
}

// produced is one value of a key and where it stands.
type produced struct {
	offset int64
	value  int
}

// sent is the place of a value in the order of sending: the first halves of all
// codecs, then the second halves.
func sent(value, want int) int {
	half := want / len(codecs()) / 2
	part := value / half
	return (part%2*len(codecs())+part/2)*half + value%half
}

const keyCount = 97

func keyOf(i int) string { return "k" + strconv.Itoa(i%keyCount) }

func franz() foreign {
	produce := func(t *testing.T, b *broker, topic, codec string, from, to int) {
		codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
		client := b.client(kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(codecs[codec]), kgo.ProducerBatchMaxBytes(64<<10))
		for i := from; i < to; i++ {
			value := strconv.Itoa(i)
			client.Produce(t.Context(), &kgo.Record{Key: []byte(keyOf(i)), Value: []byte(value), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte(value)}}}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("produce %s: %v", value, err)
				}
			})
		}
		if err := client.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	consume := func(ctx context.Context, t *testing.T, b *broker, topic, group string, got func(int32, int64, string, string, string)) {
		client, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
		if err != nil {
			t.Error(err)
			return
		}
		defer client.Close()
		for ctx.Err() == nil {
			for _, r := range client.PollRecords(ctx, 1000).Records() {
				got(r.Partition, r.Offset, string(r.Key), string(r.Value), r.Headers[0].Key+"="+string(r.Headers[0].Value))
			}
			if err := client.CommitUncommittedOffsets(ctx); err != nil && ctx.Err() == nil {
				t.Logf("commit: %v", err)
			}
		}
	}
	return foreign{"franz-go", produce, consume}
}

func saramaClient() foreign {
	configure := func() *sarama.Config {
		c := sarama.NewConfig()
		c.Version = sarama.MaxVersion
		c.Producer.Return.Successes = true
		c.Producer.RequiredAcks = sarama.WaitForAll
		c.Producer.Idempotent = true
		c.Net.MaxOpenRequests = 1
		c.Consumer.Offsets.Initial = sarama.OffsetOldest
		c.Consumer.Offsets.AutoCommit.Interval = 100 * time.Millisecond
		return c
	}
	produce := func(t *testing.T, b *broker, topic, codec string, from, to int) {
		c := configure()
		if err := c.Producer.Compression.UnmarshalText([]byte(codec)); err != nil {
			t.Fatal(err)
		}
		producer, err := sarama.NewSyncProducer([]string{b.addr}, c)
		if err != nil {
			t.Fatal(err)
		}
		defer producer.Close()
		for from < to {
			var batch []*sarama.ProducerMessage
			for ; from < to && len(batch) < 1000; from++ {
				value := strconv.Itoa(from)
				batch = append(batch, &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(keyOf(from)), Value: sarama.StringEncoder(value), Headers: []sarama.RecordHeader{{Key: []byte("h"), Value: []byte(value)}}})
			}
			if err := producer.SendMessages(batch); err != nil {
				t.Fatalf("send: %v", err)
			}
		}
	}
	consume := func(ctx context.Context, t *testing.T, b *broker, topic, group string, got func(int32, int64, string, string, string)) {
		member, err := sarama.NewConsumerGroup([]string{b.addr}, group, configure())
		if err != nil {
			t.Error(err)
			return
		}
		defer member.Close()
		for ctx.Err() == nil {
			if err := member.Consume(ctx, []string{topic}, saramaHandler{got}); err != nil && ctx.Err() == nil && !errors.Is(err, sarama.ErrClosedConsumerGroup) {
				t.Logf("consume: %v", err)
			}
		}
	}
	return foreign{"sarama", produce, consume}
}

type saramaHandler struct {
	got func(int32, int64, string, string, string)
}

func (saramaHandler) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (saramaHandler) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (h saramaHandler) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case m, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			h.got(m.Partition, m.Offset, string(m.Key), string(m.Value), string(m.Headers[0].Key)+"="+string(m.Headers[0].Value))
			s.MarkMessage(m, "")
		case <-s.Context().Done():
			return nil
		}
	}
}

// kcat drives Debian's kcat, which is librdkafka. It sets one header a run, so
// the header carries no value of its own record.
func kcat(t *testing.T) foreign {
	if _, err := exec.LookPath("kcat"); err != nil {
		t.Run("kcat", func(t *testing.T) { t.Skip("kcat is not installed") })
		return foreign{}
	}
	produce := func(t *testing.T, b *broker, topic, codec string, from, to int) {
		var lines bytes.Buffer
		for i := from; i < to; i++ {
			fmt.Fprintf(&lines, "%s:%d\n", keyOf(i), i)
		}
		cmd := exec.CommandContext(t.Context(), "kcat", "-b", b.addr, "-t", topic, "-P", "-K:", "-z", codec, "-H", "h=kcat", "-X", "acks=all", "-X", "enable.idempotence=true")
		cmd.Stdin = &lines
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("kcat -P: %v\n%s", err, out)
		}
	}
	consume := func(ctx context.Context, t *testing.T, b *broker, topic, group string, got func(int32, int64, string, string, string)) {
		cmd := exec.Command("kcat", "-b", b.addr, "-G", group, "-X", "auto.offset.reset=earliest", "-X", "auto.commit.interval.ms=200", "-X", "session.timeout.ms=6000", "-u", "-f", "%p %o %k %s %h\n", topic)
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Error(err)
			return
		}
		if err := cmd.Start(); err != nil {
			t.Error(err)
			return
		}
		// Killed, not asked to end: then kcat would commit a record that it drops unprinted.
		stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
		defer stop()
		eachLine(pipe, func(line string) {
			f := strings.Fields(line)
			if len(f) != 5 || f[4] != "h=kcat" {
				if ctx.Err() == nil { // else it was cut off by the kill, and is read again
					t.Errorf("kcat wrote %q", line)
				}
				return
			}
			partition, _ := strconv.Atoi(f[0])
			offset, _ := strconv.ParseInt(f[1], 10, 64)
			got(int32(partition), offset, f[2], f[3], "h="+f[3])
		})
		_ = cmd.Wait()
	}
	return foreign{"kcat", produce, consume}
}
