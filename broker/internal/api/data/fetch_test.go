package data

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/broker/internal/wire"
	"github.com/weirstream/weir/internal/compress"
	"github.com/weirstream/weir/internal/env"
)

// fetchedFrom is the answer for the first partition of a Fetch.
func fetchedFrom(resp *kmsg.FetchResponse) kmsg.FetchResponseTopicPartition {
	return resp.Topics[0].Partitions[0]
}

// put appends batches to a topic by its id and fails on an error.
func (r *rig) put(id [16]byte, index int32, batches ...[]byte) {
	r.Helper()
	for _, b := range batches {
		if p := produced(ask[*kmsg.ProduceResponse](r, produceTo(13, 1, "", id, index, b))); p.ErrorCode != 0 {
			r.Fatalf("%+v", p)
		}
	}
}

func TestFetchReturnsWhatWasProducedInEveryVersion(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 2)
		first, second := batch(3, 10), batch(2, 100_000) // gathered, and spliced
		r.put(id, 0, first, second)
		r.put(id, 1, batch(1, 5))
		for version := int16(4); version <= 18; version++ {
			for _, isolation := range []int8{0, 1} {
				req := fetchOf(version, "t", id, 0, 0, 1)
				req.IsolationLevel = isolation
				got := ask[*kmsg.FetchResponse](r, req)
				p := fetchedFrom(got)
				if p.ErrorCode != 0 || p.HighWatermark != 5 || p.LastStableOffset != 5 || len(p.RecordBatches) != len(first)+len(second) {
					r.Fatalf("version %d: code %d, watermark %d, %d bytes", version, p.ErrorCode, p.HighWatermark, len(p.RecordBatches))
				}
				b, rest, _ := record.Split(p.RecordBatches)
				if b.BaseOffset() != 0 || b.LeaderEpoch() != 3 || b.Check() != nil || record.Batch(rest).BaseOffset() != 3 || record.Batch(rest).Check() != nil {
					r.Fatalf("version %d: the batches differ from what was produced", version)
				}
				if len(got.Topics[0].Partitions) != 2 || got.Topics[0].Partitions[1].HighWatermark != 1 {
					r.Fatalf("version %d: %+v", version, got.Topics[0].Partitions[1])
				}
			}
		}
	})
}

func TestFetchErrorsArePerPartition(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 1)
		r.put(id, 0, batch(3, 10))
		fenced, ahead := fetchOf(12, "t", id, 0, 0), fetchOf(12, "t", id, 0, 0)
		fenced.Topics[0].Partitions[0].CurrentLeaderEpoch = 2
		ahead.Topics[0].Partitions[0].CurrentLeaderEpoch = 9
		for name, c := range map[string]struct {
			req  *kmsg.FetchRequest
			want *kerr.Error
		}{
			"unknown topic":     {fetchOf(12, "none", id, 0, 0), kerr.UnknownTopicOrPartition},
			"unknown id":        {fetchOf(13, "", [16]byte{99}, 0, 0), kerr.UnknownTopicID},
			"unknown partition": {fetchOf(12, "t", id, 0, 7), kerr.UnknownTopicOrPartition},
			"beyond the end":    {fetchOf(12, "t", id, 4, 0), kerr.OffsetOutOfRange},
			"before the start":  {fetchOf(12, "t", id, -1, 0), kerr.OffsetOutOfRange},
			"old epoch":         {fenced, kerr.FencedLeaderEpoch},
			"new epoch":         {ahead, kerr.UnknownLeaderEpoch},
		} {
			c.req.MaxWaitMillis = 60_000
			began := time.Now()
			p := fetchedFrom(ask[*kmsg.FetchResponse](r, c.req))
			if p.ErrorCode != c.want.Code || p.HighWatermark != -1 || len(p.RecordBatches) != 0 || time.Since(began) > 0 {
				r.Errorf("%s: %+v after %v, want %v", name, p, time.Since(began), c.want)
			}
		}
		replica := fetchOf(12, "t", id, 0, 0)
		replica.ReplicaID = 1
		if got := ask[*kmsg.FetchResponse](r, replica); got.ErrorCode != kerr.ClusterAuthorizationFailed.Code {
			r.Errorf("a client that says it is a broker: %+v", got)
		}
		tagged := fetchOf(15, "t", id, 0, 0)
		tagged.ReplicaState.ID = 1
		if got := ask[*kmsg.FetchResponse](r, tagged); got.ErrorCode != kerr.ClusterAuthorizationFailed.Code {
			r.Errorf("a client that says it is a broker, in a tag: %+v", got)
		}
	})
}

func TestFetchKeepsToTheBytesItIsAllowed(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 3)
		one := batch(1, 1000)
		for i := range int32(3) {
			r.put(id, i, batch(1, 1000), batch(1, 1000), batch(1, 1000))
		}
		sizes := func(req *kmsg.FetchRequest) (n []int) {
			for _, p := range ask[*kmsg.FetchResponse](r, req).Topics[0].Partitions {
				n = append(n, len(p.RecordBatches)/len(one))
			}
			return n
		}
		tiny := fetchOf(12, "t", id, 0, 0, 1, 2)
		tiny.MaxBytes = 1
		if got := sizes(tiny); got[0] != 1 || got[1] != 0 || got[2] != 0 {
			r.Errorf("1 byte: %v batches", got)
		}
		total := fetchOf(12, "t", id, 0, 0, 1, 2)
		total.MaxBytes = int32(4 * len(one))
		if got := sizes(total); got[0] != 3 || got[1] != 1 || got[2] != 0 {
			r.Errorf("room for four: %v batches", got)
		}
		each := fetchOf(12, "t", id, 0, 0, 1, 2)
		for i := range each.Topics[0].Partitions {
			each.Topics[0].Partitions[i].PartitionMaxBytes = int32(2 * len(one))
		}
		if got := sizes(each); got[0] != 2 || got[1] != 2 || got[2] != 2 {
			r.Errorf("room for two of each: %v batches", got)
		}
		end := fetchOf(12, "t", id, 3, 0)
		if got := sizes(end); got[0] != 0 {
			r.Errorf("at the end: %v batches", got)
		}
	})
}

func TestOldClientsGetNoZstd(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 1)
		r.put(id, 0, batch(1, 10), batch(10, 100, record.Options{Codec: compress.Zstd}))
		for version := int16(4); version < 12; version++ {
			p := fetchedFrom(ask[*kmsg.FetchResponse](r, fetchOf(version, "t", id, 0, 0)))
			if refused := p.ErrorCode == kerr.UnsupportedCompressionType.Code; refused != (version < 10) {
				r.Errorf("version %d: code %d", version, p.ErrorCode)
			}
		}
	})
}

func TestAFetchWaitsForData(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 2)
		wait := fetchOf(13, "t", id, 0, 0, 1)
		wait.MaxWaitMillis = 500
		began := time.Now()
		if p := fetchedFrom(ask[*kmsg.FetchResponse](r, wait)); p.ErrorCode != 0 || time.Since(began) != 500*time.Millisecond {
			r.Errorf("without data: %+v after %v", p, time.Since(began))
		}
		wait.MaxWaitMillis = 60_000
		c := r.start(wait)
		synctest.Wait()
		if c.done() {
			r.Fatal("answered without data")
		}
		r.put(id, 1, batch(1, 10))
		got := answer[*kmsg.FetchResponse](r, c)
		if n := len(got.Topics[0].Partitions[1].RecordBatches); n == 0 {
			r.Errorf("woken without data: %+v", got)
		}
		more := fetchOf(13, "t", id, 0, 0, 1)
		more.MaxWaitMillis, more.MinBytes = 60_000, 3000
		c = r.start(more)
		for i := range int32(4) {
			synctest.Wait()
			if c.done() != (i == 3) {
				r.Fatalf("after %d batches of 1000: done %v", i, c.done())
			}
			r.put(id, i%2, batch(1, 1000))
		}
		answer[*kmsg.FetchResponse](r, c)
	})
}

func TestAWaitingFetchSeesItsTopicGo(t *testing.T) {
	inBubble(t, func(r *rig) {
		for version, want := range map[int16]*kerr.Error{12: kerr.UnknownTopicOrPartition, 13: kerr.UnknownTopicID} {
			id := r.topic("t", 1)
			wait := fetchOf(version, "t", id, 0, 0)
			wait.MaxWaitMillis = 60_000
			c := r.start(wait)
			synctest.Wait()
			r.remove("t", id)
			if p := fetchedFrom(answer[*kmsg.FetchResponse](r, c)); p.ErrorCode != want.Code {
				r.Errorf("version %d: %+v", version, p)
			}
			if err := r.dir.Delete("t", 0); err != nil {
				r.Fatal(err)
			}
		}
	})
}

func TestAHurriedFetchLeavesNothingBehind(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 1)
		wait := fetchOf(13, "t", id, 0, 0)
		wait.MaxWaitMillis = 60_000
		c := r.start(wait)
		began := time.Now()
		c.resp.(route.Poll).Hurry()
		c.resp.(route.Poll).Hurry()
		if p := fetchedFrom(answer[*kmsg.FetchResponse](r, c)); p.ErrorCode != 0 || time.Since(began) > 0 {
			r.Errorf("%+v after %v", p, time.Since(began))
		}
		immediate := r.start(fetchOf(13, "t", id, 0, 0))
		immediate.resp.(route.Poll).Hurry()
		answer[*kmsg.FetchResponse](r, immediate)
	})
}

func TestSessionsTellOnlyWhatChanged(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 3)
		full := fetchOf(13, "t", id, 0, 0, 1, 2)
		full.SessionEpoch = 0
		got := ask[*kmsg.FetchResponse](r, full)
		session := got.SessionID
		if session == 0 || len(got.Topics[0].Partitions) != 3 {
			r.Fatalf("%+v", got)
		}
		next := func(epoch int32, change func(*kmsg.FetchRequest)) *kmsg.FetchResponse {
			req := fetchOf(13, "t", id, 0)
			req.Topics, req.SessionID, req.SessionEpoch = nil, session, epoch
			if change != nil {
				change(req)
			}
			return ask[*kmsg.FetchResponse](r, req)
		}
		if got = next(1, nil); len(got.Topics) != 0 || got.SessionID != session {
			r.Errorf("nothing changed: %+v", got)
		}
		r.put(id, 1, batch(1, 10))
		if got = next(2, nil); len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 1 || got.Topics[0].Partitions[0].Partition != 1 {
			r.Errorf("one partition changed: %+v", got)
		}
		if got = next(2, nil); got.ErrorCode != kerr.InvalidFetchSessionEpoch.Code {
			r.Errorf("a repeated epoch: %+v", got)
		}
		session++
		if got = next(3, nil); got.ErrorCode != kerr.FetchSessionIDNotFound.Code {
			r.Errorf("another session: %+v", got)
		}
		session--
		if got = next(3, func(req *kmsg.FetchRequest) {
			forget := kmsg.NewFetchRequestForgottenTopic()
			forget.TopicID, forget.Partitions = id, []int32{1, 2}
			req.ForgottenTopics = append(req.ForgottenTopics, forget)
		}); len(got.Topics) != 0 || got.SessionID != session {
			r.Errorf("after forgetting: %+v", got)
		}
	})
}

func TestLargeRangesGoFromTheFileToTheSocket(t *testing.T) {
	r := newRig(t, env.RealFS(), t.TempDir())
	id := r.topic("t", 2)
	large, small := batch(20, 100_000), batch(2, 10)
	r.put(id, 0, small, large, small)
	r.put(id, 1, large)
	l, err := env.RealNetwork().Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	got := make(chan []byte, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			got <- nil
			return
		}
		all, _ := io.ReadAll(conn)
		_ = conn.Close()
		got <- all
	}()
	conn, err := env.RealNetwork().Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	r.start(fetchOf(12, "t", id, 0, 0, 1)).writeTo(conn)
	_ = conn.Close()
	var resp kmsg.FetchResponse
	resp.Version = 12
	if err := resp.ReadFrom((<-got)[8:]); err != nil {
		t.Fatal(err)
	}
	parts := resp.Topics[0].Partitions
	if !bytes.HasSuffix(parts[0].RecordBatches, small[21:]) || len(parts[0].RecordBatches) != 2*len(small)+len(large) ||
		record.Batch(parts[1].RecordBatches).Check() != nil || len(parts[1].RecordBatches) != len(large) {
		t.Errorf("%d and %d bytes", len(parts[0].RecordBatches), len(parts[1].RecordBatches))
	}
}

func TestGarbageFetchesAreRefused(t *testing.T) {
	for version := int16(4); version <= 18; version++ {
		body := fetchOf(version, "t", [16]byte{1}, 5, 0, 1, 2).AppendTo(nil)
		for cut := range body {
			var q fetchRequest
			if err := q.read(version, body[:cut], metadata.Empty()); !errors.Is(err, wire.ErrMalformed) {
				t.Fatalf("version %d: %d of %d bytes: %v", version, cut, len(body), err)
			}
		}
	}
	many := fetchOf(4, "t", [16]byte{}, 0)
	many.Topics[0].Partitions = make([]kmsg.FetchRequestTopicPartition, maxPartitions+1)
	var q fetchRequest
	if err := q.read(4, many.AppendTo(nil), metadata.Empty()); err == nil || !strings.Contains(err.Error(), "too many partitions") {
		t.Errorf("very many partitions: %v", err)
	}
	produce := produceTo(9, 1, "t", [16]byte{}, 0, nil)
	produce.Topics[0].Partitions = make([]kmsg.ProduceRequestTopicPartition, maxPartitions+1)
	o := produceOf(9)
	if err := o.read(produce.AppendTo(nil)); err == nil || !strings.Contains(err.Error(), "too many partitions") {
		t.Errorf("very many batches: %v", err)
	}
}

func produceOf(version int16) *produce { return &produce{version: version, image: metadata.Empty()} }

func FuzzFetch(f *testing.F) {
	for _, version := range []int16{4, 11, 12, 18} {
		f.Add(version, fetchOf(version, "t", [16]byte{1}, 5, 0, 1).AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, version int16, body []byte) {
		if version < 4 || version > 18 {
			return
		}
		var q fetchRequest
		err := q.read(version, body, metadata.Empty())
		req := kmsg.NewPtrFetchRequest()
		req.Version = version
		if err == nil && req.ReadFrom(body) == nil {
			n := 0
			for _, t := range req.Topics {
				n += len(t.Partitions)
			}
			if n != len(q.session.Fetch) {
				t.Errorf("read %d partitions, kmsg %d", len(q.session.Fetch), n)
			}
		}
	})
}

// discard is a connection that takes everything.
type discard struct{ net.Conn }

func (discard) Write(p []byte) (int, error)      { return len(p), nil }
func (discard) SetWriteDeadline(time.Time) error { return nil }

func BenchmarkFetch(b *testing.B) {
	for name, size := range map[string]int{"gathered": 100, "spliced": 5000} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, env.RealFS(), b.TempDir())
			id := r.topic("t", 4)
			for i := range int32(4) {
				r.put(id, i, batch(50, size))
			}
			body := fetchOf(13, "t", id, 0, 0, 1, 2, 3).AppendTo(nil)
			w := wire.NewWriter(discard{}, r.env.Clock, new(wire.Buffers), time.Minute)
			s := &route.Session{Listener: "PLAINTEXT"}
			var out wire.Out
			b.SetBytes(int64(4 * 50 * size))
			b.ReportAllocs()
			for b.Loop() {
				resp, _, err := r.table[1].Start(b.Context(), s, 13, body)
				if err != nil {
					b.Fatal(err)
				}
				if err := errors.Join(resp.Respond(&out), w.Write(&out)); err != nil {
					b.Fatal(err)
				}
				out.Reset()
			}
		})
	}
}
