package broker

import (
	"github.com/weirstream/weir/broker/internal/coordinator"
	"github.com/weirstream/weir/broker/internal/group"
	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/metadata"
)

// groupCoordinators host the groups, on the partitions of __consumer_offsets.
type groupCoordinators struct{ *coordinators }

func newGroupCoordinators(n *Node, sender coordinator.Sender) *groupCoordinators {
	limits := group.DefaultOptions()
	s := n.settings.group
	limits.MinSessionTimeout, limits.MaxSessionTimeout, limits.InitialDelay = s.minSession, s.maxSession, s.initialDelay
	limits.MaxSize, limits.MaxMetadata = int(s.maxSize), int(s.metadataBytes)
	limits.OffsetsRetention, limits.OffsetsCheck = s.retention, s.retentionCheck
	return &groupCoordinators{newCoordinators(metadata.ConsumerOffsets, coordinator.Options{
		Env: n.env, Logger: n.logger, Partitions: s.partitions, Sender: sender,
		Machine: func(int32, int32) machine.Machine { return group.New(limits) },
	})}
}

// deleted lets groups forget the offsets of topics that are gone.
func (g *groupCoordinators) deleted(topics []*metadata.Topic) {
	if len(topics) == 0 {
		return
	}
	event := group.TopicsDeleted{}
	for _, t := range topics {
		event.Topics = append(event.Topics, group.DeletedTopic{Name: t.Name, ID: t.ID})
	}
	g.runtime.Broadcast(&event)
}
