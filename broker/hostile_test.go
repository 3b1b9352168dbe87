package broker_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/compress"
)

// underAttack is a node that hostile connections share with one that must be served all the while.
type underAttack struct {
	t       *testing.T
	addr    string
	healthy *raw
	heap    uint64
	workers int
}

func attack(t *testing.T) *underAttack {
	t.Helper()
	return attackOn(t, broker.Config{})
}

func attackOn(t *testing.T, c broker.Config) *underAttack {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	addr, _, _ := start(t, c)
	a := &underAttack{t: t, addr: addr, healthy: dialRaw(t, addr)}
	a.healthy.create("t", 1)
	a.healthy.create("c", 1, "cleanup.policy", "compact")
	coordinate(a.healthy, "g")
	for range 20 { // pools and goroutines that stay
		a.serves()
	}
	a.heap, a.workers = heapNow(), runtime.NumGoroutine()
	return a
}

func heapNow() uint64 {
	runtime.GC()
	runtime.GC() // pools give up what was unused between the two
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// serves wants the healthy connection to be answered soon.
func (a *underAttack) serves() {
	a.t.Helper()
	began := time.Now()
	m := kmsg.NewPtrMetadataRequest()
	m.Version = 9
	call[*kmsg.MetadataResponse](a.healthy, m)
	a.healthy.mustProduce("t", plain("healthy"))
	if took := time.Since(began); took > 2*time.Second {
		a.t.Errorf("the healthy connection waited %s", took)
	}
}

// hostileRequest is a request that nobody should send, and its answer.
type hostileRequest struct {
	attack string
	send   func(r *raw) int16
	want   error
}

// meets sends each request on a connection of its own, and wants others served after it.
func (a *underAttack) meets(rows []hostileRequest) {
	a.t.Helper()
	for _, row := range rows {
		a.t.Run(row.attack, func(t *testing.T) {
			r := dialRaw(t, a.addr)
			wantCode(t, "answer", row.send(r), row.want)
			_ = r.conn.Close()
			a.serves()
		})
	}
}

// unharmed wants every goroutine gone, and then the heap near to what it was.
func (a *underAttack) unharmed(limit uint64) {
	a.t.Helper()
	a.serves()
	deadline := time.Now().Add(10 * time.Second)
	for n := runtime.NumGoroutine(); n > a.workers+2; n = runtime.NumGoroutine() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			a.t.Fatalf("%d goroutines, were %d\n%s", n, a.workers, buf[:runtime.Stack(buf, true)])
		}
		a.serves()
	}
	if now := heapNow(); now > a.heap+limit {
		a.t.Errorf("the heap grew by %d bytes", now-a.heap)
	}
}

func be32(v int32) []byte { return binary.BigEndian.AppendUint32(nil, uint32(v)) }

// framed puts the length in front.
func framed(parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	return append(be32(int32(len(body))), body...)
}

// head is a request header with client id "x"; flexible ones end with no tags.
func head(key, version int16, flexible bool) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = append(b, 0, 0, 0, 9, 0, 1, 'x')
	if flexible {
		b = append(b, 0)
	}
	return b
}

var uvarintMax = []byte{0xff, 0xff, 0xff, 0xff, 0x0f}

// TestHostileFrames: each row is what a connection sends; all of them are closed without an answer.
func TestHostileFrames(t *testing.T) {
	a := attack(t)
	produce := func(version int16) []byte { return framed(head(0, version, version >= 9)) }
	rows := []struct {
		attack string
		bytes  []byte
	}{
		{"length beyond the limit", be32(100<<20 + 1)},
		{"length of two gigabytes", be32(math.MaxInt32)},
		{"negative length", be32(-1)},
		{"length zero", be32(0)},
		{"frame shorter than a header", framed([]byte{0, 3})},
		{"client id beyond the frame", framed([]byte{0, 3, 0, 0, 0, 0, 0, 1, 0x7f, 0xff})},
		{"negative client id", framed([]byte{0, 3, 0, 0, 0, 0, 0, 1, 0xff, 0xfe})},
		{"unknown key", framed(head(999, 0, false))},
		{"negative key", framed(head(-1, 0, false))},
		{"version too high", framed(head(3, 99, true))},
		{"negative version", framed(head(3, -1, false))},
		{"produce of old", produce(2)},
		{"controller's key on a client's listener", framed(head(10_000, 0, true))},
		{"inter-broker key", framed(head(56, 0, true), make([]byte, 20))},
		{"raft vote", framed(head(52, 0, true), make([]byte, 20))},
		{"sasl before there is any", framed(head(36, 0, false), be32(math.MaxInt32))},
		{"array of 2^31-1 topics", framed(head(3, 1, false), be32(math.MaxInt32))},
		{"compact array of 2^32-1", framed(head(3, 9, true), uvarintMax)},
		{"negative array that is not null", framed(head(3, 1, false), be32(-5))},
		{"overlong varint", framed(head(3, 9, true), bytes.Repeat([]byte{0xff}, 11))},
		{"bytes after the end", framed(head(3, 1, false), be32(0), []byte("more"))},
		{"body missing", framed(head(19, 2, false))},
		{"2^32-1 tags", framed(head(60, 0, false), []byte{0}, []byte{0}, uvarintMax)},
		{"a tag twice", framed(head(60, 0, true), []byte{0, 2, 5, 0, 5, 0})},
		{"2^32-1 tags in the header", framed(head(60, 0, false), uvarintMax)},
		{"produce with 2^31-1 topics", framed(head(0, 3, false), []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 9}, be32(math.MaxInt32))},
		{"produce with records beyond the frame", framed(head(0, 3, false), []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 9}, be32(1), []byte{0, 1, 't'}, be32(1), be32(0), be32(math.MaxInt32))},
		{"fetch with 2^31-1 topics", framed(head(1, 4, false), be32(-1), be32(0), be32(0), be32(0), []byte{0}, be32(math.MaxInt32))},
		{"http", []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")},
		{"tls client hello", append([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, make([]byte, 100)...)},
	}
	for _, row := range rows {
		t.Run(row.attack, func(t *testing.T) {
			r := dialRaw(t, a.addr)
			r.write(row.bytes)
			r.closed()
			a.serves()
		})
	}
	a.unharmed(8 << 20)
}

// TestHostileRequests: well-formed frames with contents that are not; each row names the answer.
func TestHostileRequests(t *testing.T) {
	a := attack(t)
	bomb := func(codec compress.Codec) []byte {
		packed, err := new(compress.Coders).Compress(nil, make([]byte, 64<<20), codec)
		if err != nil {
			t.Fatal(err)
		}
		if len(packed) > 900_000 { // as much of it as the topic takes
			packed = packed[:900_000]
		}
		b := append(plain("x")[:record.HeaderSize:record.HeaderSize], packed...)
		binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
		b[22] = byte(codec)
		return changed(b, func(record.Batch) {})
	}
	headers := func(n int64) []byte {
		body := []byte{0, 0, 0, 1, 'k', 1} // attributes, times and offsets, key; null value
		body[3] = 2
		body = binary.AppendVarint(body, n)
		rec := append(binary.AppendVarint(nil, int64(len(body))), body...)
		b := append(plain("x")[:record.HeaderSize:record.HeaderSize], rec...)
		binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
		return changed(b, func(record.Batch) {})
	}
	produced := func(topic string, batch []byte) func(*raw) int16 {
		return func(r *raw) int16 { return r.produce(topic, batch).ErrorCode }
	}
	fetched := func(change func(*kmsg.FetchRequest)) func(*raw) int16 {
		return func(r *raw) int16 {
			req := fetchOf("t", 12, 0, math.MaxInt32)
			change(req)
			resp := call[*kmsg.FetchResponse](r, req)
			if resp.ErrorCode != 0 || len(resp.Topics) == 0 {
				return resp.ErrorCode
			}
			return resp.Topics[0].Partitions[0].ErrorCode
		}
	}
	rows := []hostileRequest{
		{"gzip bomb", produced("c", bomb(compress.Gzip)), kerr.InvalidRecord},
		{"snappy bomb", produced("c", bomb(compress.Snappy)), kerr.InvalidRecord},
		{"lz4 bomb", produced("c", bomb(compress.LZ4)), kerr.InvalidRecord},
		{"zstd bomb", produced("c", bomb(compress.Zstd)), kerr.InvalidRecord},
		{"record with 2^31-1 headers", produced("c", headers(math.MaxInt32)), kerr.InvalidRecord},
		{"record with -1 headers", produced("c", headers(-1)), kerr.InvalidRecord},
		{"topic that is a path", produced("../../etc", plain("x")), kerr.UnknownTopicOrPartition},
		{"topic that is no text", produced("\xff\xfe", plain("x")), kerr.UnknownTopicOrPartition},
		{"offsets topic", produced("__consumer_offsets", plain("x")), kerr.InvalidTopicException},
		{"fetch as a broker", fetched(func(f *kmsg.FetchRequest) { f.ReplicaID = 1 }), kerr.ClusterAuthorizationFailed},
		{"fetch with every limit at its largest", fetched(func(f *kmsg.FetchRequest) { f.MaxBytes, f.MinBytes, f.MaxWaitMillis = math.MaxInt32, 1, math.MaxInt32 }), nil},
		{"fetch with negative limits", fetched(func(f *kmsg.FetchRequest) {
			f.MaxBytes, f.MinBytes, f.MaxWaitMillis = -1, -1, -1
			f.Topics[0].Partitions[0].PartitionMaxBytes = -1
		}), nil},
		{"fetch in a session of somebody else", fetched(func(f *kmsg.FetchRequest) { f.SessionID, f.SessionEpoch = 12345, 7 }), kerr.FetchSessionIDNotFound},
		{"fetch of a negative partition", fetched(func(f *kmsg.FetchRequest) { f.Topics[0].Partitions[0].Partition = math.MinInt32 }), kerr.UnknownTopicOrPartition},
		{"list offsets of a place nobody knows", func(r *raw) int16 { return r.list("t", -99).ErrorCode }, kerr.UnsupportedVersion},
		{"join with metadata of two megabytes", func(r *raw) int16 {
			j := joinOf("g", nil)
			j.Protocols[0].Metadata = make([]byte, 2<<20)
			resp := call[*kmsg.JoinGroupResponse](r, j)
			j.MemberID = resp.MemberID
			resp = call[*kmsg.JoinGroupResponse](r, j)
			s := kmsg.NewPtrSyncGroupRequest()
			s.Version, s.Group, s.MemberID, s.Generation = 4, "g", resp.MemberID, resp.Generation
			return call[*kmsg.SyncGroupResponse](r, s).ErrorCode
		}, kerr.UnknownServerError},
		{"commit of 100,000 partitions", func(r *raw) int16 {
			c := commitOf("h", "", -1, "t", 1, strings.Repeat("x", 100))
			for range 100_000 {
				c.Topics[0].Partitions = append(c.Topics[0].Partitions, c.Topics[0].Partitions[0])
			}
			return r.commit(c)
		}, kerr.InvalidCommitOffsetSize},
	}
	a.meets(rows)
	a.unharmed(24 << 20)
}

// TestSlowClientsHoldUpNobody: a thousand connections that begin a frame and send a byte now and
// then, half-open ones among them.
func TestSlowClientsHoldUpNobody(t *testing.T) {
	a := attack(t)
	var slow []net.Conn
	for i := range 1000 {
		conn, err := net.Dial("tcp", a.addr)
		if err != nil {
			t.Fatal(err)
		}
		slow = append(slow, conn)
		if i%4 == 0 {
			continue // says nothing at all
		}
		if _, err := conn.Write([]byte{0, 0}); err != nil {
			t.Fatal(err)
		}
		if tcp, ok := conn.(*net.TCPConn); ok && i%4 == 1 {
			if err := tcp.CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 10 {
		for _, conn := range slow {
			_, _ = conn.Write([]byte{byte(i)}) // some of them are closed by now
		}
		a.serves()
	}
	if now := heapNow(); now > a.heap+100<<20 {
		t.Errorf("1,000 slow connections cost %d bytes", now-a.heap)
	}
	for _, conn := range slow {
		_ = conn.Close()
	}
	a.unharmed(16 << 20)
}

// TestAClientThatNeverReads is not read on, and costs a bounded number of answers.
func TestAClientThatNeverReads(t *testing.T) {
	a := attack(t)
	for range 20 {
		a.healthy.mustProduce("t", plain(strings.Repeat("x", 900_000)))
	}
	var requests []byte
	format := kmsg.NewRequestFormatter()
	for i := range 1000 {
		requests = append(requests, format.AppendRequest(nil, fetchOf("t", 12, 20, 50<<20), int32(i))...)
		m := kmsg.NewPtrMetadataRequest()
		m.Version = 9
		requests = append(requests, format.AppendRequest(nil, m, int32(i))...)
	}
	var mute []net.Conn
	for range 10 {
		conn, err := net.Dial("tcp", a.addr)
		if err != nil {
			t.Fatal(err)
		}
		mute = append(mute, conn)
		var stuck error
		for stuck == nil {
			if err := conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			_, stuck = conn.Write(requests)
		}
		if !errors.Is(stuck, os.ErrDeadlineExceeded) {
			t.Errorf("a client that does not read ended with %v", stuck)
		}
		a.serves()
	}
	if now := heapNow(); now > a.heap+64<<20 {
		t.Errorf("10 clients that never read cost %d bytes", now-a.heap)
	}
	for _, conn := range mute {
		_ = conn.Close()
	}
	a.unharmed(16 << 20)
}

// TestLargeAnswersAreNotHoarded for a client that asks for all metadata again and again and reads none.
func TestLargeAnswersAreNotHoarded(t *testing.T) {
	a := attack(t)
	for i := range 20 {
		a.healthy.create(fmt.Sprintf("%s-%d", strings.Repeat("long", 50), i), 20)
	}
	m := kmsg.NewPtrMetadataRequest()
	m.Version, m.Topics = 9, nil
	requests := bytes.Repeat(kmsg.NewRequestFormatter().AppendRequest(nil, m, 1), 10_000)
	before := heapNow()
	for range 20 {
		conn, err := net.Dial("tcp", a.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for err = nil; err == nil; {
			_ = conn.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
			_, err = conn.Write(requests)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	a.serves()
	if now := heapNow(); now > before+80<<20 { // 16 answers of about 0.1 MB each, and as many being written
		t.Errorf("20 clients cost %d bytes", now-before)
	}
}

// TestManyBrokenOffConversations: clients that go away with requests under way leave nothing behind.
func TestManyBrokenOffConversations(t *testing.T) {
	a := attack(t)
	for i := range 200 {
		conn, err := net.Dial("tcp", a.addr)
		if err != nil {
			t.Fatal(err)
		}
		format := kmsg.NewRequestFormatter()
		req := fetchOf("t", 12, math.MaxInt64>>1, 100)
		if i%2 == 0 {
			req = fetchOf("c", 12, 0, 100)
		}
		req.MaxWaitMillis = math.MaxInt32
		join := joinOf(fmt.Sprintf("g%d", i), new("i"))
		b := format.AppendRequest(nil, req, 1)
		b = append(b, format.AppendRequest(nil, join, 2)...)
		if _, err := conn.Write(b[:len(b)-i%50]); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	a.unharmed(16 << 20)
}

// TestApiVersionsOfTheFuture is answered in version 0, with the ranges.
func TestApiVersionsOfTheFuture(t *testing.T) {
	a := attack(t)
	r := dialRaw(t, a.addr)
	r.write(framed(head(18, 99, true), []byte("whatever")))
	_, body, err := r.frame()
	if err != nil {
		t.Fatal(err)
	}
	resp := kmsg.NewPtrApiVersionsResponse()
	if err := resp.ReadFrom(body); err != nil || !is(resp.ErrorCode, kerr.UnsupportedVersion) || len(resp.ApiKeys) < 20 {
		t.Errorf("%v, %v, %d keys", err, kerr.ErrorForCode(resp.ErrorCode), len(resp.ApiKeys))
	}
	r.write(framed(head(18, 3, true), []byte{2, ' ', 2, ' ', 0}))
	if _, body, err = r.frame(); err != nil || int16(binary.BigEndian.Uint16(body)) != kerr.InvalidRequest.Code {
		t.Errorf("software that is no name: %v", err)
	}
	_ = r.conn.Close()
	a.unharmed(8 << 20)
}
