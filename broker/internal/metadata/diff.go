package metadata

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// TopicChange is one topic in two images.
type TopicChange struct {
	Old, New *Topic
}

// LeaderChange is one partition whose leader or leader epoch differs.
type LeaderChange struct {
	Topic     *Topic // in the new image
	Partition int32
	Old       Partition
}

// Delta is what differs between two images. A topic that was deleted and created
// again under its name is in both Deleted and Created; deletions come first.
// Every other list is in order of topic name, then partition.
type Delta struct {
	Deleted      []*Topic // in the old image
	Created      []*Topic
	Grown        []TopicChange // partitions were added
	Reconfigured []TopicChange // overrides of the topic differ
	Led          []LeaderChange
	Brokers      bool       // some registration differs
	Configs      []Resource // brokers whose overrides differ, sorted by name
}

// Diff compares two images; nil stands for the empty one. Topics shared by both
// images cost one comparison of pointers.
func Diff(from, to *Image) Delta {
	if from == nil {
		from = Empty()
	}
	if to == nil {
		to = Empty()
	}
	var d Delta
	d.topics(from.topics.Values(), to.topics.Values())
	d.Brokers = !reflect.DeepEqual(from.brokers, to.brokers)
	d.Configs = configDiff(from.configs, to.configs)
	return d
}

// topics merges two lists sorted by name.
func (d *Delta) topics(from, to []*Topic) {
	for len(from) > 0 || len(to) > 0 {
		switch order := compareHeads(from, to); {
		case order < 0:
			d.Deleted = append(d.Deleted, from[0])
			from = from[1:]
		case order > 0:
			d.Created = append(d.Created, to[0])
			to = to[1:]
		default:
			if from[0] != to[0] {
				d.topic(from[0], to[0])
			}
			from, to = from[1:], to[1:]
		}
	}
}

func compareHeads(from, to []*Topic) int {
	switch {
	case len(from) == 0:
		return 1
	case len(to) == 0:
		return -1
	}
	return strings.Compare(from[0].Name, to[0].Name)
}

func (d *Delta) topic(from, to *Topic) {
	if from.ID != to.ID {
		d.Deleted = append(d.Deleted, from)
		d.Created = append(d.Created, to)
		return
	}
	if len(to.Partitions) > len(from.Partitions) {
		d.Grown = append(d.Grown, TopicChange{from, to})
	}
	if !maps.Equal(from.Configs, to.Configs) {
		d.Reconfigured = append(d.Reconfigured, TopicChange{from, to})
	}
	for n := range min(len(from.Partitions), len(to.Partitions)) {
		before, after := &from.Partitions[n], &to.Partitions[n]
		if before.Leader != after.Leader || before.LeaderEpoch != after.LeaderEpoch {
			d.Led = append(d.Led, LeaderChange{Topic: to, Partition: int32(n), Old: *before})
		}
	}
}

func configDiff(from, to map[Resource]map[string]string) []Resource {
	var changed []Resource
	for r, values := range to {
		if !maps.Equal(values, from[r]) {
			changed = append(changed, r)
		}
	}
	for r := range from {
		if _, kept := to[r]; !kept {
			changed = append(changed, r)
		}
	}
	slices.SortFunc(changed, compareResource)
	return changed
}

func compareResource(a, b Resource) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), strings.Compare(a.Name, b.Name))
}
