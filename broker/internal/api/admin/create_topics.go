package admin

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/internal/config"
)

// CreateTopics answers key 19, versions 2 to 7: all topics of a request are one
// change, each stands for itself. -1 takes the default number of partitions or
// replicas (KIP-464); v5 answers with the configs (KIP-525), v7 with the id.
func CreateTopics(d Deps) route.Route {
	return route.New(2, 7, func(ctx context.Context, s *route.Session, req *kmsg.CreateTopicsRequest, resp *kmsg.CreateTopicsResponse) *route.Pending {
		return route.Go(ctx, s, func(ctx context.Context) { d.createTopics(ctx, s, req, resp) })
	})
}

func (d *Deps) createTopics(ctx context.Context, s *route.Session, req *kmsg.CreateTopicsRequest, resp *kmsg.CreateTopicsResponse) {
	img := d.Image()
	twice := repeated(req.Topics, func(t kmsg.CreateTopicsRequestTopic) string { return t.Topic })
	excess := d.partitionsIn(img, req.Topics) > maxPartitions
	var c metadata.CreateTopics
	var planned []int // the answers of c.Topics
	answered := map[string]bool{}
	for i := range req.Topics {
		t := &req.Topics[i]
		if answered[t.Topic] {
			continue
		}
		answered[t.Topic] = true
		var n metadata.NewTopic
		err := d.mayCreate(s, t.Topic)
		switch {
		case err != nil:
		case twice[t.Topic]:
			err = metadata.Refuse(kerr.InvalidRequest, "topic %q stands twice in the request", t.Topic)
		case excess:
			err = tooMany()
		default:
			n, err = d.planRequested(img, t)
		}
		resp.Topics = append(resp.Topics, d.refusedTopic(t.Topic, err))
		if err == nil {
			c.Topics, planned = append(c.Topics, n), append(planned, len(resp.Topics)-1)
		}
	}
	var r metadata.Result
	var err error
	if req.ValidateOnly {
		_, r = metadata.ApplyCommand(img, img.Version(), c)
	} else if len(c.Topics) > 0 {
		resp.ThrottleMillis = d.chargePartitions(s, c)
		r, err = d.propose(ctx, req.TimeoutMillis, c)
	}
	for i, at := range planned {
		if err := proposed(r, err, i); err != nil {
			resp.Topics[at] = d.refusedTopic(c.Topics[i].Name, err)
			continue
		}
		d.createdTopic(s, img, &c.Topics[i], &resp.Topics[at])
	}
}

// mayCreate asks for the cluster first: who may create any topic may create this.
func (d *Deps) mayCreate(s *route.Session, name string) error {
	if d.Authorizer.Authorize(s, route.Create, route.Cluster, route.ClusterName) {
		return nil
	}
	return route.AuthorizeTopic(d.Authorizer, s, route.Create, name)
}

// partitionsIn counts what a request would create, without believing a single
// number of it.
func (d *Deps) partitionsIn(img *metadata.Image, topics []kmsg.CreateTopicsRequestTopic) int64 {
	total := int64(0)
	for i := range topics {
		t := &topics[i]
		switch {
		case len(t.ReplicaAssignment) > 0:
			total += int64(len(t.ReplicaAssignment))
		case t.NumPartitions > 0:
			total += int64(t.NumPartitions)
		default:
			total += int64(d.brokerInt(img, "num.partitions"))
		}
	}
	return total
}

func (d *Deps) chargePartitions(s *route.Session, c metadata.CreateTopics) int32 {
	total := 0
	for i := range c.Topics {
		total += len(c.Topics[i].Assignments)
	}
	return route.ThrottleMillis(d.Quota, s, route.ControllerMutations, float64(total))
}

// planRequested checks one topic of a request and plans it.
func (d *Deps) planRequested(img *metadata.Image, t *kmsg.CreateTopicsRequestTopic) (metadata.NewTopic, error) {
	w := wanted{name: t.Topic, partitions: t.NumPartitions, factor: int32(t.ReplicationFactor)}
	for _, c := range t.Configs {
		if c.Value == nil {
			return metadata.NewTopic{}, metadata.Refuse(kerr.InvalidConfig, "config %s has no value", c.Name)
		}
		if w.configs == nil {
			w.configs = map[string]string{}
		}
		w.configs[c.Name] = *c.Value
	}
	if len(t.ReplicaAssignment) > 0 {
		if err := img.CheckNew(t.Topic); err != nil {
			return metadata.NewTopic{}, err
		}
		var err error
		if w.replicas, err = manual(img, t); err != nil {
			return metadata.NewTopic{}, err
		}
	}
	return d.plan(img, w)
}

// manual checks an assignment by hand: every partition from 0 once, with the same
// number of known brokers.
func manual(img *metadata.Image, t *kmsg.CreateTopicsRequestTopic) ([][]int32, error) {
	if t.ReplicationFactor != -1 || t.NumPartitions != -1 {
		return nil, metadata.Refuse(kerr.InvalidRequest, "an assignment goes with -1 partitions and replication factor -1")
	}
	replicas := make([][]int32, len(t.ReplicaAssignment))
	for _, a := range t.ReplicaAssignment {
		if a.Partition < 0 || int(a.Partition) >= len(replicas) {
			return nil, metadata.Refuse(kerr.InvalidReplicaAssignment, "partition %d: partitions are numbered from 0 without gaps", a.Partition)
		}
		if replicas[a.Partition] != nil {
			return nil, metadata.Refuse(kerr.InvalidReplicaAssignment, "partition %d is assigned twice", a.Partition)
		}
		if err := checkAssignment(img, a.Replicas, len(t.ReplicaAssignment[0].Replicas)); err != nil {
			return nil, err
		}
		replicas[a.Partition] = a.Replicas
	}
	return replicas, nil
}

// checkAssignment checks the replicas of one partition.
func checkAssignment(img *metadata.Image, replicas []int32, factor int) error {
	if err := img.CheckReplicas(replicas); err != nil {
		return err
	}
	if len(replicas) != factor {
		return metadata.Refuse(kerr.InvalidReplicaAssignment, "%d replicas in one partition and %d in another", len(replicas), factor)
	}
	return nil
}

// refusedTopic is the answer for a topic that was not created.
func (d *Deps) refusedTopic(name string, err error) kmsg.CreateTopicsResponseTopic {
	out := kmsg.NewCreateTopicsResponseTopic()
	out.Topic, out.NumPartitions, out.ReplicationFactor = name, -1, -1
	out.Configs = []kmsg.CreateTopicsResponseTopicConfig{} // never null: Java's client cannot read that
	d.fill(err, &out.ErrorCode, &out.ErrorMessage)
	return out
}

// createdTopic fills the answer for a topic that was created, or would be.
func (d *Deps) createdTopic(s *route.Session, img *metadata.Image, n *metadata.NewTopic, out *kmsg.CreateTopicsResponseTopic) {
	out.TopicID = n.ID
	if err := route.AuthorizeTopic(d.Authorizer, s, route.DescribeConfigs, n.Name); err != nil {
		out.ConfigErrorCode = route.Code(err)
		return
	}
	out.NumPartitions, out.ReplicationFactor = int32(len(n.Assignments)), int16(len(n.Assignments[0]))
	for _, k := range d.TopicKeys.Keys() {
		now := k.Candidates(d.scopes(img, n.Configs))[0]
		c := kmsg.NewCreateTopicsResponseTopicConfig()
		c.Name, c.Source, c.IsSensitive = k.Name, int8(kafkaSource(now.Source)), k.Sensitive()
		c.Value = shown(&k, now)
		out.Configs = append(out.Configs, c)
	}
	slices.SortFunc(out.Configs, func(a, b kmsg.CreateTopicsResponseTopicConfig) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
}

// shown is a value as clients may see it: null where it is unset or secret.
func shown(k *config.Key, c config.Candidate) *string {
	if c.Null || k.Sensitive() {
		return nil
	}
	return &c.Value
}

// kafkaSource is the number of a source in DescribeConfigs.
func kafkaSource(s config.Source) kmsg.ConfigSource { return kmsg.ConfigSource(s) }
