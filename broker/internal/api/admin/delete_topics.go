package admin

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
)

// DeleteTopics answers key 20, versions 1 to 6: by name, from v6 also by id
// (KIP-516). All topics of a request are one change, each stands for itself.
func DeleteTopics(d Deps) route.Route {
	return route.New(1, 6, func(ctx context.Context, s *route.Session, req *kmsg.DeleteTopicsRequest, resp *kmsg.DeleteTopicsResponse) *route.Pending {
		return route.Go(ctx, s, func(ctx context.Context) { d.deleteTopics(ctx, s, req, resp) })
	})
}

func (d *Deps) deleteTopics(ctx context.Context, s *route.Session, req *kmsg.DeleteTopicsRequest, resp *kmsg.DeleteTopicsResponse) {
	img := d.Image()
	topics := req.Topics
	for i := range req.TopicNames {
		topics = append(topics, kmsg.DeleteTopicsRequestTopic{Topic: &req.TopicNames[i]})
	}
	found := make([]*metadata.Topic, len(topics))
	named := map[metadata.ID]int{} // how often a topic is named
	for i := range topics {
		if t, ok := lookUp(img, &topics[i]); ok {
			found[i] = t
			named[t.ID]++
		}
	}
	var c metadata.DeleteTopics
	var planned []int
	for i := range topics {
		out := kmsg.NewDeleteTopicsResponseTopic()
		out.Topic, out.TopicID = topics[i].Topic, topics[i].TopicID
		err := d.checkDelete(s, img, &topics[i], found[i])
		if err == nil && named[found[i].ID] > 1 {
			err = metadata.Refuse(kerr.InvalidRequest, "the topic is named twice in the request")
		}
		if err == nil {
			out.Topic, out.TopicID = &found[i].Name, found[i].ID
			c.IDs, planned = append(c.IDs, found[i].ID), append(planned, i)
		}
		d.fill(err, &out.ErrorCode, &out.ErrorMessage)
		resp.Topics = append(resp.Topics, out)
	}
	if len(c.IDs) == 0 {
		return
	}
	r, err := d.propose(ctx, req.TimeoutMillis, c)
	for i, at := range planned {
		d.fill(proposed(r, err, i), &resp.Topics[at].ErrorCode, &resp.Topics[at].ErrorMessage)
	}
}

func lookUp(img *metadata.Image, t *kmsg.DeleteTopicsRequestTopic) (*metadata.Topic, bool) {
	if t.Topic != nil {
		return img.Topic(*t.Topic)
	}
	return img.TopicByID(t.TopicID)
}

// checkDelete says why a topic of a request, found or not, is not deleted. Who may
// not see a topic learns nothing about it.
func (d *Deps) checkDelete(s *route.Session, img *metadata.Image, t *kmsg.DeleteTopicsRequestTopic, found *metadata.Topic) error {
	byID := t.TopicID != (metadata.ID{})
	switch {
	case t.Topic != nil && byID:
		return metadata.Refuse(kerr.InvalidRequest, "name the topic or give its id, not both")
	case t.Topic == nil && !byID:
		return metadata.Refuse(kerr.InvalidRequest, "the topic has neither name nor id")
	case byID && (found == nil || !d.Authorizer.Authorize(s, route.Describe, route.Topic, found.Name)):
		return kerr.UnknownTopicID
	}
	name := ""
	if byID {
		name = found.Name
	} else {
		name = *t.Topic
	}
	switch err := route.AuthorizeTopic(d.Authorizer, s, route.Delete, name); {
	case err != nil:
		return err
	case found == nil:
		return kerr.UnknownTopicOrPartition
	case !d.brokerBool(img, "delete.topic.enable"):
		return kerr.TopicDeletionDisabled
	}
	return nil
}
