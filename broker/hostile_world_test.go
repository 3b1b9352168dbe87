package broker_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/compress"
	"github.com/weirstream/weir/internal/env"
)

// logged keeps a log.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestHostileNames: what clients call themselves and what they ask for may be made to fool whoever
// reads the log on a terminal. It stands there escaped, in lines of the broker's own.
func TestHostileNames(t *testing.T) {
	const name = "\x1b[31mred\r\ntime=now level=ERROR msg=forged \x07"
	log := new(logged)
	a := attackOn(t, broker.Config{Logger: slog.New(slog.NewTextHandler(log, nil))})
	under := func(r *raw) *raw {
		r.format = kmsg.NewRequestFormatter(kmsg.FormatterClientID(name))
		return r
	}
	a.meets([]hostileRequest{
		{"produce as a client of that name", func(r *raw) int16 { return under(r).produce("t", plain("x")).ErrorCode }, nil},
		{"join as a client of that name", func(r *raw) int16 {
			return call[*kmsg.JoinGroupResponse](under(r), joinOf("g", nil)).ErrorCode
		}, kerr.MemberIDRequired},
		{"join a group of that name", func(r *raw) int16 {
			return call[*kmsg.JoinGroupResponse](under(r), joinOf(name, nil)).ErrorCode
		}, kerr.MemberIDRequired},
		{"make a topic of that name", func(r *raw) int16 {
			q := kmsg.NewPtrCreateTopicsRequest()
			topic := kmsg.NewCreateTopicsRequestTopic()
			topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
			q.Version, q.Topics = 7, append(q.Topics, topic)
			return call[*kmsg.CreateTopicsResponse](under(r), q).Topics[0].ErrorCode
		}, kerr.InvalidTopicException},
		{"produce to a topic of that name", func(r *raw) int16 { return under(r).produce(name, plain("x")).ErrorCode }, kerr.UnknownTopicOrPartition},
		{"a record header of that name", func(r *raw) int16 {
			b := record.NewBuilder(record.Options{})
			b.Append(time.Now().UnixMilli(), nil, nil, []record.Header{{Key: name, Value: []byte(name)}})
			return under(r).produce("t", b.Build()).ErrorCode
		}, nil},
	})
	r := under(dialRaw(t, a.addr))
	r.mustProduce("t", plain("x"))
	r.write(framed([]byte{0, 3}))
	r.closed()
	a.unharmed(8 << 20)
	text := log.String()
	if !strings.Contains(text, `\x1b[31mred\r\ntime=now level=ERROR msg=forged \a`) {
		t.Errorf("the client is not in the log:\n%s", text)
	}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "time=2") || strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\x1b\x07\r\n") {
			t.Errorf("the log has the line %q", line)
		}
	}
}

// TestHostileBits: a bit of a log file flips below the high watermark while the broker serves it. Bytes
// that are a batch still go to the client, whose check finds what is wrong; bytes that are none are
// answered with an error. What lies before the damage is served, and other partitions are.
func TestHostileBits(t *testing.T) {
	log, dir := new(logged), t.TempDir()
	a := attackOn(t, broker.Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(log, nil))})
	for i, row := range []struct {
		what string
		at   int64 // of the batch
		want error
	}{
		{"base offset", 0, kerr.CorruptMessage},
		{"length", 8, kerr.CorruptMessage},
		{"magic", 16, kerr.CorruptMessage},
		{"checksum", 17, nil},
		{"attributes", 22, nil},
		{"last offset", 23, kerr.CorruptMessage},
		{"record count", 57, nil},
		{"record", record.HeaderSize + 3, nil},
	} {
		t.Run(row.what, func(t *testing.T) {
			topic := fmt.Sprintf("bits-%d", i)
			a.healthy.create(topic, 1)
			for _, v := range []string{"before", "damaged", "after"} {
				a.healthy.mustProduce(topic, plain(v))
			}
			before := a.healthy.fetch(topic, 0).RecordBatches
			size := int64(len(plain("before")))
			flip(t, filepath.Join(dir, topic+"-0", "00000000000000000000.log"), size+row.at)
			r := dialRaw(t, a.addr)
			got := r.fetch(topic, 1)
			wantCode(t, "fetch of the damage", got.ErrorCode, row.want)
			if row.want == nil && (len(got.RecordBatches) == 0 || record.Batch(got.RecordBatches).Check() == nil) {
				t.Errorf("%d bytes of damage pass the client's check", len(got.RecordBatches))
			}
			small := fetchOf(topic, 12, 0, int32(size))
			p := call[*kmsg.FetchResponse](r, small).Topics[0].Partitions[0]
			if p.ErrorCode != 0 || !bytes.Equal(p.RecordBatches, before[:size]) {
				t.Errorf("before the damage: %d bytes, code %d", len(p.RecordBatches), p.ErrorCode)
			}
			_ = r.conn.Close()
			a.serves()
		})
	}
	a.unharmed(16 << 20)
	if n := strings.Count(log.String(), "the log is damaged"); n != 4 {
		t.Errorf("%d alarms in the log:\n%s", n, log)
	}
}

// flip turns the highest bit of a byte of a file over.
func flip(t *testing.T, name string, at int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x80
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// jumpingClock is a clock whose time of day is set while timers run on.
type jumpingClock struct {
	env.Clock
	by atomic.Int64
}

func (c *jumpingClock) Now() time.Time { return c.Clock.Now().Add(time.Duration(c.by.Load())) }

// TestHostileClock: the time of day jumps by a day, ahead and back. Waits take as long as they should,
// and retention goes by the records' own time.
func TestHostileClock(t *testing.T) {
	machine := env.Real()
	clock := &jumpingClock{Clock: machine.Clock}
	machine.Clock = clock
	a := attackOn(t, broker.Config{Env: machine, Properties: map[string]string{"log.retention.check.interval.ms": "10"}})
	day := int64(24 * time.Hour / time.Millisecond)
	now := time.Now().UnixMilli()
	joined := call[*kmsg.JoinGroupResponse](a.healthy, joinOf("g", nil))
	join := joinOf("g", nil)
	join.MemberID = joined.MemberID
	joined = call[*kmsg.JoinGroupResponse](a.healthy, join)
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Version, sync.Group, sync.MemberID, sync.Generation = 4, "g", joined.MemberID, joined.Generation
	wantCode(t, "sync", call[*kmsg.SyncGroupResponse](a.healthy, sync).ErrorCode, nil)
	beat := func(r *raw) int16 { return r.heartbeat("g", joined.MemberID, joined.Generation, nil) }
	a.healthy.create("kept", 1, "retention.ms", fmt.Sprint(3*day))
	a.healthy.create("gone", 1, "retention.ms", fmt.Sprint(day/2))
	for _, topic := range []string{"kept", "gone"} {
		a.healthy.mustProduce(topic, batchFrom(record.Options{Codec: compress.None}, rec{now, []byte("k"), []byte("v")}))
	}
	wait := func(r *raw) int16 {
		q := fetchOf("c", 12, 0, 1000)
		q.MaxWaitMillis = 50
		began := time.Now()
		code := call[*kmsg.FetchResponse](r, q).Topics[0].Partitions[0].ErrorCode
		if took := time.Since(began); took < 50*time.Millisecond || took > 5*time.Second {
			t.Errorf("a wait of 50 ms took %s", took)
		}
		return code
	}
	stamped := func(ahead int64) func(r *raw) int16 {
		return func(r *raw) int16 {
			return r.produce("kept", batchFrom(record.Options{}, rec{now + ahead, []byte("k"), []byte("v")})).ErrorCode
		}
	}
	commit := func(r *raw) int16 { return r.commit(commitOf("other", "", -1, "t", 1, "")) }
	clock.by.Store(int64(24 * time.Hour))
	a.meets([]hostileRequest{
		{"fetch a day later", wait, nil},
		{"commit a day later", commit, nil},
		{"heartbeat a day later", beat, nil},
		{"produce records of yesterday", stamped(0), nil},
	})
	for deadline := time.Now().Add(10 * time.Second); a.healthy.list("gone", -2).Offset == 0; a.serves() {
		if time.Now().After(deadline) {
			t.Fatal("what is half a day too old stays")
		}
	}
	clock.by.Store(0)
	a.meets([]hostileRequest{
		{"fetch when the day is set back", wait, nil},
		{"commit when the day is set back", commit, nil},
		{"heartbeat when the day is set back", beat, nil},
		{"produce records of tomorrow", stamped(day), kerr.InvalidTimestamp},
		{"produce records of today", stamped(0), nil},
	})
	if from := a.healthy.list("kept", -2).Offset; from != 0 {
		t.Errorf("what was to be kept begins at %d", from)
	}
	a.unharmed(16 << 20)
}
