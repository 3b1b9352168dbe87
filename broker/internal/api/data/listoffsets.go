package data

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/partition"
)

// ListOffsets answers ListOffsets (2): the offset of the first record at or after a
// time, or of a place such as the end.
//
// Versions: 1 one offset a partition; 2 isolation level; 4 leader epochs; 6
// flexible; 7 largest timestamp (KIP-734); 8 earliest local (KIP-405); 9 latest
// tiered (KIP-1005); 10 timeout (KIP-1075); 11 earliest pending upload (KIP-1023).
func ListOffsets(d Deps) route.Route {
	return route.New(1, 11, func(ctx context.Context, s *route.Session, req *kmsg.ListOffsetsRequest, resp *kmsg.ListOffsetsResponse) *route.Pending {
		behind := d.behind(req)
		if len(behind) == 0 && !searches(req) {
			d.listOffsets(s, req, resp)
			return nil
		}
		return route.Go(ctx, s, func(ctx context.Context) { // it waits for syncs, or reads the log
			deadline := d.Clock.Now().Add(catchUpWithin)
			for _, p := range behind {
				p.CatchUp(ctx, deadline)
			}
			d.listOffsets(s, req, resp)
		})
	})
}

// catchUpWithin bounds how long the end of a log is waited for where a disk is slow to sync.
const catchUpWithin = 5 * time.Second

// behind returns the partitions whose answer depends on the high watermark while that is yet to
// pass what was appended already.
func (d *Deps) behind(req *kmsg.ListOffsetsRequest) (ps []*partition.Partition) {
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			if ts := t.Partitions[j].Timestamp; ts == partition.TimeEarliest || ts == partition.TimeEarliestLocal {
				continue
			}
			if p, err := d.Partitions.Partition(t.Topic, t.Partitions[j].Partition); err == nil && p.Behind() {
				ps = append(ps, p)
			}
		}
	}
	return ps
}

// searches says that an offset has to be looked for in a log.
func searches(req *kmsg.ListOffsetsRequest) bool {
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			if ts := req.Topics[i].Partitions[j].Timestamp; ts >= 0 || ts == partition.TimeMax {
				return true
			}
		}
	}
	return false
}

func (d *Deps) listOffsets(s *route.Session, req *kmsg.ListOffsetsRequest, resp *kmsg.ListOffsetsResponse) {
	image := d.Image()
	seen := map[metadata.TopicPartition]bool{}
	for i := range req.Topics {
		rt := &req.Topics[i]
		t := topicRef{name: rt.Topic}
		d.resolve(image, s, route.Describe, &t, 0)
		st := kmsg.NewListOffsetsResponseTopic()
		st.Topic = rt.Topic
		for j := range rt.Partitions {
			rp := &rt.Partitions[j]
			sp := kmsg.NewListOffsetsResponseTopicPartition()
			sp.Partition, sp.Offset, sp.Timestamp, sp.LeaderEpoch = rp.Partition, -1, -1, -1
			err := error(kerr.InvalidRequest)
			if k := (metadata.TopicPartition{Topic: rt.Topic, Partition: rp.Partition}); !seen[k] {
				seen[k] = true
				err = d.offsetFor(&t, req, rp, &sp)
			}
			sp.ErrorCode = route.LogCode(d.Logger, err)
			st.Partitions = append(st.Partitions, sp)
		}
		resp.Topics = append(resp.Topics, st)
	}
}

// offsetFor fills in the offset of one partition.
func (d *Deps) offsetFor(t *topicRef, req *kmsg.ListOffsetsRequest, rp *kmsg.ListOffsetsRequestTopicPartition, sp *kmsg.ListOffsetsResponseTopicPartition) error {
	if rp.Timestamp < 0 && req.Version < sinceVersion(rp.Timestamp) {
		return kerr.UnsupportedVersion
	}
	p, err := d.find(t, rp.Partition)
	if err != nil {
		return err
	}
	offset, timestamp, epoch, err := p.OffsetForTime(rp.Timestamp, req.IsolationLevel == 1, rp.CurrentLeaderEpoch)
	if err == nil {
		sp.Offset, sp.Timestamp, sp.LeaderEpoch = offset, timestamp, epoch
	}
	return err
}

// sinceVersion is the first version that knows a place, and beyond all for other numbers.
func sinceVersion(place int64) int16 {
	switch place {
	case partition.TimeLatest, partition.TimeEarliest:
		return 0
	case partition.TimeMax:
		return 7
	case partition.TimeEarliestLocal:
		return 8
	case partition.TimeLatestTiered:
		return 9
	case partition.TimeEarliestUpload:
		return 11
	}
	return 1<<15 - 1
}
