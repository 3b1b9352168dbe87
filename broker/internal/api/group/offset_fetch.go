package group

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/group"
	"github.com/weirstream/weir/broker/internal/metadata"
)

// OffsetFetch answers OffsetFetch (9): how far groups have read. A group that never existed has read
// nothing, which is no error. It reads committed state, unless the client asks for stable offsets:
// then it waits for all that was decided on before.
//
// Versions: 2 all topics, error of the request; 5 leader epoch (KIP-320); 6 flexible; 7 stable offsets
// (KIP-447); 8 several groups (KIP-709); 9 member epoch (KIP-848), which groups of the classic
// protocol do not have; 10 topic ids.
func OffsetFetch(c Coordinator, images Images, a route.Authorizer) route.Route {
	return route.New(1, 10, func(_ context.Context, s *route.Session, req *kmsg.OffsetFetchRequest, resp *kmsg.OffsetFetchResponse) *route.Pending {
		groups := req.Groups
		if req.Version < 8 {
			groups = []kmsg.OffsetFetchRequestGroup{oneGroup(req)}
		}
		f := fetcher{c, images(), s, a, req}
		answers := make([]kmsg.OffsetFetchResponseGroup, len(groups))
		resp.Groups = answers
		finish := func() {}
		if req.Version < 8 {
			resp.Groups = nil
			finish = func() { fillOldFetch(resp, &groups[0], &answers[0]) }
		}
		all := newParts(len(groups))
		for i := range groups {
			f.fetch(&groups[i], &answers[i], func() {
				finish()
				all.done()
			})
		}
		return all.pending
	})
}

// oneGroup is the request of a version before 8 as one of version 8.
func oneGroup(req *kmsg.OffsetFetchRequest) kmsg.OffsetFetchRequestGroup {
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = req.Group
	if req.Topics == nil {
		return g
	}
	g.Topics = make([]kmsg.OffsetFetchRequestGroupTopic, len(req.Topics))
	for i, t := range req.Topics {
		g.Topics[i].Topic, g.Topics[i].Partitions = t.Topic, t.Partitions
	}
	return g
}

// fillOldFetch answers in a version before 8. Before version 2 the error stands at each partition.
func fillOldFetch(resp *kmsg.OffsetFetchResponse, asked *kmsg.OffsetFetchRequestGroup, g *kmsg.OffsetFetchResponseGroup) {
	resp.ErrorCode = g.ErrorCode
	if g.ErrorCode != 0 && resp.Version < 2 {
		for _, t := range asked.Topics {
			g.Topics = append(g.Topics, failedTopic(t, t.Topic, g.ErrorCode))
		}
	}
	for _, t := range g.Topics {
		old := kmsg.NewOffsetFetchResponseTopic()
		old.Topic = t.Topic
		for _, p := range t.Partitions {
			o := kmsg.NewOffsetFetchResponseTopicPartition()
			o.Partition, o.Offset, o.LeaderEpoch, o.Metadata, o.ErrorCode = p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode
			old.Partitions = append(old.Partitions, o)
		}
		resp.Topics = append(resp.Topics, old)
	}
}

type fetcher struct {
	coordinator Coordinator
	image       *metadata.Image
	session     *route.Session
	auth        route.Authorizer
	req         *kmsg.OffsetFetchRequest
}

// fetch answers for one group and calls done.
func (f fetcher) fetch(g *kmsg.OffsetFetchRequestGroup, out *kmsg.OffsetFetchResponseGroup, done func()) {
	*out = kmsg.NewOffsetFetchResponseGroup()
	out.Group = g.Group
	if err := route.AuthorizeGroup(f.auth, f.session, route.Describe, g.Group); err != nil {
		out.ErrorCode = route.Code(err)
		done()
		return
	}
	e := &group.FetchOffsets{Group: g.Group, RequireStable: f.req.RequireStable, All: g.Topics == nil}
	var failed []kmsg.OffsetFetchResponseGroupTopic
	e.Topics, failed = f.topics(g)
	answer := func(topics []group.FetchedTopic, err error) {
		if out.ErrorCode = route.Code(err); err == nil {
			out.Topics = append(f.fetched(topics), failed...)
		}
		done()
	}
	if e.RequireStable {
		submit(f.coordinator, g.Group, e, answer)
		return
	}
	v, err := f.coordinator.Query(f.coordinator.Partition(g.Group), e)
	answer(as[[]group.FetchedTopic](v), err)
}

// topics separates what may be asked for from what is refused. Topics by name need not exist: offsets
// may outlive them for a while.
func (f fetcher) topics(g *kmsg.OffsetFetchRequestGroup) (asked []group.TopicPartitions, failed []kmsg.OffsetFetchResponseGroupTopic) {
	byID := f.req.Version >= 10
	for _, t := range g.Topics {
		topic, err := resolve(f.auth, f.session, route.Describe, f.image, t.Topic, t.TopicID, byID)
		switch {
		case err == nil:
			asked = append(asked, group.TopicPartitions{Topic: topic.Name, TopicID: topic.ID, Partitions: t.Partitions})
		case !byID && errors.Is(err, kerr.UnknownTopicOrPartition):
			asked = append(asked, group.TopicPartitions{Topic: t.Topic, Partitions: t.Partitions})
		default:
			failed = append(failed, failedTopic(t, t.Topic, route.Code(err)))
		}
	}
	return asked, failed
}

// fetched turns what the machine found into the response's form. What was found without asking for it
// by name is shown only to those who may see the topic; with ids, only where the topic exists.
func (f fetcher) fetched(topics []group.FetchedTopic) []kmsg.OffsetFetchResponseGroupTopic {
	out := []kmsg.OffsetFetchResponseGroupTopic{}
	for _, t := range topics {
		if !f.auth.Authorize(f.session, route.Describe, route.Topic, t.Topic) {
			continue
		}
		r := kmsg.NewOffsetFetchResponseGroupTopic()
		r.Topic, r.TopicID = t.Topic, t.TopicID
		if f.req.Version >= 10 {
			topic, ok := f.image.Topic(t.Topic)
			if !ok {
				continue
			}
			r.TopicID = topic.ID
		}
		for i := range t.Partitions {
			p := &t.Partitions[i]
			o := kmsg.NewOffsetFetchResponseGroupTopicPartition()
			o.Partition, o.Offset, o.LeaderEpoch, o.Metadata = p.Partition, p.Offset, p.LeaderEpoch, &p.Metadata
			o.ErrorCode = route.Code(p.Err)
			r.Partitions = append(r.Partitions, o)
		}
		out = append(out, r)
	}
	return out
}

func failedTopic(t kmsg.OffsetFetchRequestGroupTopic, name string, code int16) kmsg.OffsetFetchResponseGroupTopic {
	r := kmsg.NewOffsetFetchResponseGroupTopic()
	r.Topic, r.TopicID = name, t.TopicID
	for _, partition := range t.Partitions {
		o := kmsg.NewOffsetFetchResponseGroupTopicPartition()
		o.Partition, o.Offset, o.LeaderEpoch, o.Metadata, o.ErrorCode = partition, -1, -1, new(string), code
		r.Partitions = append(r.Partitions, o)
	}
	return r
}
