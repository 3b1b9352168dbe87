package admin

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
)

// CreatePartitions answers key 37, versions 0 to 3 (KIP-195): topics only grow,
// and the partitions there are keep their records and their numbers.
func CreatePartitions(d Deps) route.Route {
	return route.New(0, 3, func(ctx context.Context, s *route.Session, req *kmsg.CreatePartitionsRequest, resp *kmsg.CreatePartitionsResponse) *route.Pending {
		return route.Go(ctx, s, func(ctx context.Context) { d.createPartitions(ctx, s, req, resp) })
	})
}

func (d *Deps) createPartitions(ctx context.Context, s *route.Session, req *kmsg.CreatePartitionsRequest, resp *kmsg.CreatePartitionsResponse) {
	img := d.Image()
	twice := repeated(req.Topics, func(t kmsg.CreatePartitionsRequestTopic) string { return t.Topic })
	answered := map[string]bool{}
	var c metadata.CreatePartitions
	var planned []int
	added := 0
	for i := range req.Topics {
		t := &req.Topics[i]
		if answered[t.Topic] {
			continue
		}
		answered[t.Topic] = true
		var n metadata.NewPartitions
		err := route.AuthorizeTopic(d.Authorizer, s, route.Alter, t.Topic)
		switch {
		case err != nil:
		case twice[t.Topic]:
			err = metadata.Refuse(kerr.InvalidRequest, "topic %q stands twice in the request", t.Topic)
		default:
			n, err = d.planPartitions(img, t, maxPartitions-added)
		}
		out := kmsg.NewCreatePartitionsResponseTopic()
		out.Topic = t.Topic
		d.fill(err, &out.ErrorCode, &out.ErrorMessage)
		resp.Topics = append(resp.Topics, out)
		if err == nil {
			added += len(n.Assignments)
			c.Topics, planned = append(c.Topics, n), append(planned, len(resp.Topics)-1)
		}
	}
	if req.ValidateOnly || len(c.Topics) == 0 {
		return
	}
	resp.ThrottleMillis = route.ThrottleMillis(d.Quota, s, route.ControllerMutations, float64(added))
	r, err := d.propose(ctx, req.TimeoutMillis, c)
	for i, at := range planned {
		d.fill(proposed(r, err, i), &resp.Topics[at].ErrorCode, &resp.Topics[at].ErrorMessage)
	}
}

// planPartitions checks one topic of a request, which may create up to room
// partitions, and places what is new.
func (d *Deps) planPartitions(img *metadata.Image, t *kmsg.CreatePartitionsRequestTopic, room int) (metadata.NewPartitions, error) {
	topic, ok := img.Topic(t.Topic)
	if !ok {
		return metadata.NewPartitions{}, kerr.UnknownTopicOrPartition
	}
	from := int32(len(topic.Partitions))
	n := metadata.NewPartitions{Topic: t.Topic, From: from}
	grow := int64(t.Count) - int64(from)
	factor := len(topic.Partitions[0].Replicas)
	switch {
	case grow == 0:
		return n, metadata.Refuse(kerr.InvalidPartitions, "topic %q has %d partitions already", t.Topic, from)
	case grow < 0:
		return n, metadata.Refuse(kerr.InvalidPartitions, "topic %q has %d partitions; %d would not be more", t.Topic, from, t.Count)
	case grow > int64(room):
		return n, tooMany()
	case t.Assignment == nil:
		var err error
		n.Assignments, err = img.Place(int32(grow), int32(factor), uint32(img.PartitionCount()))
		return n, err
	case int64(len(t.Assignment)) != grow:
		return n, metadata.Refuse(kerr.InvalidReplicaAssignment, "%d partitions are new, %d are assigned", grow, len(t.Assignment))
	}
	for _, a := range t.Assignment {
		if err := checkAssignment(img, a.Replicas, factor); err != nil {
			return n, err
		}
		n.Assignments = append(n.Assignments, a.Replicas)
	}
	return n, nil
}
