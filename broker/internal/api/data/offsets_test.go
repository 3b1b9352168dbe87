package data

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/auth"
	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/broker/internal/wire"
	"github.com/weirstream/weir/internal/env"
)

func TestListOffsets(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 1)
		b := record.NewBuilder(record.Options{})
		for _, ms := range []int64{1000, 3000, 2000} {
			b.Append(ms, nil, []byte("v"), nil)
		}
		r.put(id, 0, b.Build())
		for _, c := range []struct {
			version           int16
			at                int64
			offset, timestamp int64
			code              *kerr.Error
		}{
			{version: 1, at: -1, offset: 3, timestamp: -1},
			{version: 1, at: -2, offset: 0, timestamp: -1},
			{version: 6, at: -3, offset: -1, timestamp: -1, code: kerr.UnsupportedVersion},
			{version: 7, at: -3, offset: 1, timestamp: 3000},
			{version: 7, at: -4, offset: -1, timestamp: -1, code: kerr.UnsupportedVersion},
			{version: 8, at: -4, offset: 0, timestamp: -1},
			{version: 8, at: -5, offset: -1, timestamp: -1, code: kerr.UnsupportedVersion},
			{version: 9, at: -5, offset: -1, timestamp: -1},
			{version: 10, at: -6, offset: -1, timestamp: -1, code: kerr.UnsupportedVersion},
			{version: 11, at: -6, offset: -1, timestamp: -1},
			{version: 11, at: -7, offset: -1, timestamp: -1, code: kerr.UnsupportedVersion},
			{version: 4, at: 1500, offset: 1, timestamp: 3000},
			{version: 4, at: 1000, offset: 0, timestamp: 1000},
			{version: 4, at: 3001, offset: -1, timestamp: -1},
		} {
			req := kmsg.NewPtrListOffsetsRequest()
			req.Version = c.version
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Timestamp = c.at
			req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{p, p}}}
			got := ask[*kmsg.ListOffsetsResponse](r, req).Topics[0].Partitions
			code := int16(0)
			if c.code != nil {
				code = c.code.Code
			}
			if got[0].Offset != c.offset || got[0].Timestamp != c.timestamp || got[0].ErrorCode != code {
				r.Errorf("version %d at %d: %+v", c.version, c.at, got[0])
			}
			if got[1].ErrorCode != kerr.InvalidRequest.Code {
				r.Errorf("the same partition twice: %+v", got[1])
			}
		}
		req := kmsg.NewPtrListOffsetsRequest()
		req.Version = 4
		req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "none", Partitions: []kmsg.ListOffsetsRequestTopicPartition{{}}}}
		if got := ask[*kmsg.ListOffsetsResponse](r, req).Topics[0].Partitions[0]; got.ErrorCode != kerr.UnknownTopicOrPartition.Code {
			r.Errorf("unknown topic: %+v", got)
		}
	})
}

// TestTheEndHoldsWhatWasAnswered asks right after an answer that did not wait for the sync, which
// is under way.
func TestTheEndHoldsWhatWasAnswered(t *testing.T) {
	list := func(at int64) kmsg.Request {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Timestamp = at
		req := kmsg.NewPtrListOffsetsRequest()
		req.Version = 7
		req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}}}
		return req
	}
	offset := func(r *rig, c *call) int64 {
		return answer[*kmsg.ListOffsetsResponse](r, c).Topics[0].Partitions[0].Offset
	}
	until := kmsg.NewPtrDeleteRecordsRequest()
	until.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "t", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: 3}}}}
	low := func(r *rig, c *call) int64 {
		return answer[*kmsg.DeleteRecordsResponse](r, c).Topics[0].Partitions[0].LowWatermark
	}
	for name, c := range map[string]struct {
		req   kmsg.Request
		waits bool
		got   func(*rig, *call) int64
		want  int64
	}{
		"end":           {list(partition.TimeLatest), true, offset, 3},
		"beginning":     {list(partition.TimeEarliest), false, offset, 0},
		"largest time":  {list(partition.TimeMax), true, offset, 0},
		"time":          {list(1), true, offset, 0},
		"delete before": {until, true, low, 3},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				r.wait = commitlog.Fsync
				id := r.topic("t", 1)
				synced := make(chan struct{})
				r.env.FS.(*env.MemFS).OnOp(func(op env.Op) error {
					if op.Kind == env.OpSync {
						<-synced
					}
					return nil
				})
				ask[*kmsg.ProduceResponse](r, produceTo(9, 1, "t", id, 0, batch(3, 1)))
				asked := r.start(c.req)
				synctest.Wait()
				if asked.done() == c.waits {
					t.Errorf("answered before the sync: %v", asked.done())
				}
				close(synced)
				if got := c.got(r, asked); got != c.want {
					t.Errorf("got %d, want %d", got, c.want)
				}
			})
		})
	}
}

func TestOffsetForLeaderEpoch(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 1)
		r.put(id, 0, batch(4, 1))
		for version := int16(2); version <= 4; version++ {
			for epoch, want := range map[int32]int64{3: 4, 9: -1, 1: -1} {
				req := kmsg.NewPtrOffsetForLeaderEpochRequest()
				req.Version = version
				p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
				p.LeaderEpoch = epoch
				gone := p
				gone.Partition = 5
				req.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{p, gone}}}
				got := ask[*kmsg.OffsetForLeaderEpochResponse](r, req).Topics[0].Partitions
				if epoch == 3 && (got[0].EndOffset != want || got[0].LeaderEpoch != 3) || got[0].ErrorCode != 0 {
					r.Errorf("version %d, epoch %d: %+v", version, epoch, got[0])
				}
				if got[1].ErrorCode != kerr.UnknownTopicOrPartition.Code {
					r.Errorf("unknown partition: %+v", got[1])
				}
			}
		}
	})
}

func TestDeleteRecords(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 1)
		r.topic("__in", 1)
		r.put(id, 0, batch(4, 1), batch(4, 1))
		for _, c := range []struct {
			topic  string
			offset int64
			low    int64
			code   int16
		}{
			{"t", 3, 3, 0},
			{"t", 9, -1, kerr.OffsetOutOfRange.Code},
			{"t", -1, 8, 0},
			{"none", 0, -1, kerr.UnknownTopicOrPartition.Code},
			{"__in", 0, -1, kerr.InvalidTopicException.Code},
		} {
			req := kmsg.NewPtrDeleteRecordsRequest()
			req.Version = 2
			req.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: c.topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: c.offset}}}}
			got := ask[*kmsg.DeleteRecordsResponse](r, req).Topics[0].Partitions[0]
			if got.LowWatermark != c.low || got.ErrorCode != c.code {
				r.Errorf("%s to %d: %+v", c.topic, c.offset, got)
			}
		}
	})
}

func TestApiVersions(t *testing.T) {
	inBubble(t, func(r *rig) {
		rt := &r.table[len(r.table)-1]
		body := func(version int16, name string) []byte {
			req := kmsg.NewPtrApiVersionsRequest()
			req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = version, name, "1.0"
			return req.AppendTo(nil)
		}
		for version, as := range map[int16]int16{0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 0, 99: 0, -1: 0} {
			c := r.startBytes(rt, version, body(min(max(version, 0), 4), "kgo"))
			var resp kmsg.ApiVersionsResponse
			resp.Version = as
			if err := resp.ReadFrom(c.body()); err != nil {
				r.Fatalf("version %d: %v", version, err)
			}
			if unsupported := resp.ErrorCode == kerr.UnsupportedVersion.Code; unsupported != (version != as) || len(resp.ApiKeys) != len(r.table) {
				r.Errorf("version %d: %+v", version, resp)
			}
			supported, finalized := 0, 0
			if as >= 3 {
				supported, finalized = 1, 2 // metadata.version, and transaction.version, which goes down to 0
			}
			if as >= 4 {
				supported = 2
			}
			if len(resp.SupportedFeatures) != supported || len(resp.FinalizedFeatures) != finalized || (resp.FinalizedFeaturesEpoch == 5) != (as >= 3) {
				r.Errorf("version %d: features %+v %+v", version, resp.SupportedFeatures, resp.FinalizedFeatures)
			}
			if k := resp.ApiKeys[0]; k.ApiKey != 0 || k.MinVersion != 0 || k.MaxVersion != 13 {
				r.Errorf("Produce is advertised as %+v", k)
			}
		}
		for _, name := range []string{"", "-x", "a b", "x\n"} {
			var resp kmsg.ApiVersionsResponse
			resp.Version = 3
			if err := resp.ReadFrom(r.startBytes(rt, 3, body(3, name)).body()); err != nil || resp.ErrorCode != kerr.InvalidRequest.Code {
				r.Errorf("software %q: %+v, %v", name, resp, err)
			}
		}
		if c := r.startBytes(rt, 3, []byte{9}); !errors.Is(c.err, wire.ErrMalformed) {
			r.Errorf("garbage: %v", c.err)
		}
		s := &route.Session{Client: new(auth.Client)}
		if _, _, err := rt.Start(r.Context(), s, 3, body(3, "kgo")); err != nil {
			r.Fatal(err)
		}
		if name, version := s.Client.Software(); name != "kgo" || version != "1.0" {
			r.Errorf("the client is %q %q", name, version)
		}
	})
}
