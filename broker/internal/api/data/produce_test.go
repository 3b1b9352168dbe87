package data

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/wire"
	"github.com/weirstream/weir/internal/env"
)

func inBubble(t *testing.T, f func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(newRig(t, env.NewMemFS(), "/data")) })
}

// produced is the outcome for the first partition of a Produce.
func produced(resp *kmsg.ProduceResponse) kmsg.ProduceResponseTopicPartition {
	return resp.Topics[0].Partitions[0]
}

func TestProduceAppendsInEveryVersion(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 1)
		want := int64(0)
		for version := int16(leastProduce); version <= 13; version++ {
			for _, acks := range []int16{1, -1} {
				got := ask[*kmsg.ProduceResponse](r, produceTo(version, acks, "t", id, 0, batch(3, 10)))
				if p := produced(got); p.ErrorCode != 0 || p.BaseOffset != want || p.LogAppendTime != -1 {
					r.Fatalf("version %d: %+v, want offset %d", version, p, want)
				}
				want += 3
			}
		}
		if c := r.start(produceTo(9, 0, "t", id, 0, batch(1, 1))); c.err != nil || c.resp != nil {
			r.Errorf("acks=0: %v, %v", c.resp, c.err)
		}
		if p, _ := r.Partition("t", 0); p.Status().End != want+1 {
			r.Errorf("the log ends at %d, want %d", p.Status().End, want+1)
		}
	})
}

func TestProduceVersionsThatAreOnlyAdvertisedCloseTheConnection(t *testing.T) {
	inBubble(t, func(r *rig) {
		for version := range int16(leastProduce) {
			if c := r.start(produceTo(version, 1, "t", [16]byte{}, 0, nil)); !errors.Is(c.err, wire.ErrMalformed) {
				r.Errorf("version %d: %v", version, c.err)
			}
		}
	})
}

func TestEveryPartitionOfAProduceHasItsOwnError(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 2)
		r.topic("__internal", 1)
		corrupt := batch(1, 1)
		corrupt[30]++
		for name, c := range map[string]struct {
			req  *kmsg.ProduceRequest
			want *kerr.Error
		}{
			"unknown topic":     {produceTo(9, 1, "none", id, 0, batch(1, 1)), kerr.UnknownTopicOrPartition},
			"unknown id":        {produceTo(13, 1, "t", [16]byte{99}, 0, batch(1, 1)), kerr.UnknownTopicID},
			"unknown partition": {produceTo(9, 1, "t", id, 2, batch(1, 1)), kerr.UnknownTopicOrPartition},
			"negative index":    {produceTo(9, 1, "t", id, -1, batch(1, 1)), kerr.UnknownTopicOrPartition},
			"internal topic":    {produceTo(9, 1, "__internal", id, 0, batch(1, 1)), kerr.InvalidTopicException},
			"acks of 2":         {produceTo(9, 2, "t", id, 0, batch(1, 1)), kerr.InvalidRequiredAcks},
			"corrupt batch":     {produceTo(9, 1, "t", id, 0, corrupt), kerr.CorruptMessage},
			"no batch":          {produceTo(9, 1, "t", id, 0, nil), kerr.InvalidRecord},
		} {
			good := kmsg.NewProduceRequestTopicPartition()
			good.Partition, good.Records = 1, batch(1, 1)
			both := c.req
			both.Topics[0].Partitions = append(both.Topics[0].Partitions, good)
			got := ask[*kmsg.ProduceResponse](r, both)
			p := produced(got)
			if p.ErrorCode != c.want.Code || p.BaseOffset != -1 {
				r.Errorf("%s: %+v, want %v", name, p, c.want)
			}
			other := got.Topics[0].Partitions[1].ErrorCode
			alone := c.want == kerr.CorruptMessage || c.want == kerr.InvalidRecord ||
				name == "unknown partition" || name == "negative index"
			if alone != (other == 0) {
				r.Errorf("%s: the good partition got %d", name, other)
			}
			both.Acks = 0
			if closed := r.start(both); c.want != kerr.InvalidRequiredAcks && !errors.Is(closed.err, route.ErrClose) {
				r.Errorf("%s with acks=0: %v", name, closed.err)
			}
		}
	})
}

func TestRecordErrorsAreTold(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 1, func(o *partition.Options) { o.Config.Compact = true })
		for version := int16(7); version <= 13; version++ {
			p := produced(ask[*kmsg.ProduceResponse](r, produceTo(version, 1, "t", id, 0, batch(2, 5))))
			if p.ErrorCode != kerr.InvalidRecord.Code || version >= 8 && (len(p.ErrorRecords) != 2 || p.ErrorMessage == nil) {
				r.Errorf("version %d: %+v", version, p)
			}
		}
	})
}

func TestAWrongLeaderIsAnsweredWithTheRightOne(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 1)
		p, _ := r.Partition("t", 0)
		p.Follow(4)
		for version := int16(9); version <= 13; version++ {
			got := ask[*kmsg.ProduceResponse](r, produceTo(version, 1, "t", id, 0, batch(1, 1)))
			if produced(got).ErrorCode != kerr.NotLeaderForPartition.Code {
				r.Fatalf("version %d: %+v", version, got)
			}
			hinted := len(got.Brokers) == 1 && got.Brokers[0].Host == "broker" && got.Brokers[0].NodeID == 1 && *got.Brokers[0].Rack == "r" &&
				produced(got).CurrentLeader.LeaderID == 1
			if hinted != (version >= 10) {
				r.Errorf("version %d: %+v", version, got)
			}
		}
		for version := int16(12); version <= 18; version++ {
			got := ask[*kmsg.FetchResponse](r, fetchOf(version, "t", id, 0, 0))
			p := got.Topics[0].Partitions[0]
			if p.ErrorCode != kerr.NotLeaderForPartition.Code || p.CurrentLeader.LeaderID != 1 || (len(got.Brokers) == 1) != (version >= 16) {
				r.Errorf("Fetch version %d: %+v", version, got)
			}
		}
	})
}

func TestProduceWaitsForTheDiskAndKeepsItsPlace(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.wait = commitlog.Fsync
		id := r.topic("t", 2)
		req := produceTo(9, -1, "t", id, 0, batch(2, 10))
		second := kmsg.NewProduceRequestTopicPartition()
		second.Partition, second.Records = 1, batch(4, 10)
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, second)
		disk := make(chan struct{})
		r.env.FS.(*env.MemFS).OnOp(func(op env.Op) error {
			if op.Kind == env.OpSync {
				<-disk
			}
			return nil
		})
		c := r.start(req)
		if c.pending == nil {
			r.Fatal("acks=all did not wait for the sync")
		}
		close(disk)
		got := answer[*kmsg.ProduceResponse](r, c)
		for i, p := range got.Topics[0].Partitions {
			if p.ErrorCode != 0 || p.BaseOffset != 0 || p.Partition != int32(i) {
				r.Errorf("%+v", p)
			}
		}
	})
}

func TestTopicsMayBeForbidden(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 1)
		r.may = denyAll{}
		for _, version := range []int16{9, 13} {
			if p := produced(ask[*kmsg.ProduceResponse](r, produceTo(version, 1, "t", id, 0, batch(1, 1)))); p.ErrorCode != kerr.TopicAuthorizationFailed.Code {
				r.Errorf("Produce version %d: %+v", version, p)
			}
			f := ask[*kmsg.FetchResponse](r, fetchOf(version, "t", id, 0, 0))
			if f.Topics[0].Partitions[0].ErrorCode != kerr.TopicAuthorizationFailed.Code {
				r.Errorf("Fetch version %d: %+v", version, f)
			}
		}
		hidden := ask[*kmsg.ProduceResponse](r, produceTo(9, 1, "none", id, 0, batch(1, 1)))
		if produced(hidden).ErrorCode != kerr.TopicAuthorizationFailed.Code {
			r.Errorf("a topic that does not exist: %+v", hidden)
		}
		txn := "x"
		req := produceTo(9, 1, "t", id, 0, batch(1, 1))
		req.TransactionID = &txn
		if p := produced(ask[*kmsg.ProduceResponse](r, req)); p.ErrorCode != kerr.TopicAuthorizationFailed.Code {
			r.Errorf("a transactional id: %+v", p)
		}
	})
}

type denyAll struct{}

func (denyAll) Authorize(*route.Session, route.Operation, route.ResourceType, string) bool {
	return false
}

func FuzzProduce(f *testing.F) {
	f.Add(int16(9), produceTo(9, 1, "t", [16]byte{}, 0, batch(2, 10)).AppendTo(nil))
	f.Add(int16(3), produceTo(3, -1, "t", [16]byte{}, 0, batch(2, 10)).AppendTo(nil))
	f.Add(int16(13), produceTo(13, 0, "t", [16]byte{1}, 0, nil).AppendTo(nil))
	f.Fuzz(func(t *testing.T, version int16, body []byte) {
		if version < leastProduce || version > 13 {
			return
		}
		o := produce{version: version, image: metadata.Empty()}
		err := o.read(body)
		req := kmsg.NewPtrProduceRequest()
		req.Version = version
		if theirs := req.ReadFrom(body); err == nil && theirs != nil {
			t.Errorf("read what kmsg refuses: %v", theirs)
		}
		if err == nil && len(o.topics) != len(req.Topics) {
			t.Errorf("read %d topics, kmsg %d", len(o.topics), len(req.Topics))
		}
	})
}

func BenchmarkProduce(b *testing.B) {
	r := newRig(b, env.RealFS(), b.TempDir())
	id := r.topic("t", 1)
	records := batch(100, 100)
	body := produceTo(13, 1, "t", id, 0, records).AppendTo(nil)
	scratch := make([]byte, len(body))
	var out wire.Out
	s := &route.Session{Listener: "PLAINTEXT"}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		copy(scratch, body)
		resp, _, err := r.table[0].Start(b.Context(), s, 13, scratch)
		if err != nil {
			b.Fatal(err)
		}
		if err := resp.Respond(&out); err != nil {
			b.Fatal(err)
		}
		out.Reset()
	}
}
