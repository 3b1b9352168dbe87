package group

import (
	"maps"
	"slices"
	"time"
	"unicode/utf16"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/machine/field"
)

// commitOffsets decides on an OffsetCommit request.
func (t *turn) commitOffsets(e *CommitOffsets) {
	g := t.find(e.Group)
	if g == nil {
		if err := strangerCommit(e); err != nil {
			t.refuse(err)
			return
		}
		g = t.create(e.Group)
		defer t.settle(g)
	} else if err := g.validateCommit(e); err != nil {
		t.refuse(err)
		return
	}
	if m := g.byID[e.MemberID]; m != nil && (g.state == Stable || g.state == PreparingRebalance) {
		t.touch(m)
	}
	errs, err := t.writeOffsets(e.Group, e.Offsets, e.Retention)
	if err != nil {
		t.effects.Records = nil
		t.refuse(err)
		return
	}
	t.answer(errs)
}

// writeOffsets writes the offsets that are fit to be kept, with an error for each of the others. When
// all together are too large the caller takes them back.
func (t *turn) writeOffsets(group string, offsets []CommitOffset, retention time.Duration) ([]error, *kerr.Error) {
	errs := make([]error, len(offsets))
	size := 0
	for i := range offsets {
		o := &offsets[i]
		switch {
		case t.metadataTooLong(o.Metadata):
			errs[i] = kerr.OffsetMetadataTooLarge
			continue
		case len(group) > field.MaxString || len(o.Topic) > field.MaxString || len(o.Metadata) > field.MaxString:
			errs[i] = kerr.InvalidRequest
			continue
		}
		t.writeOffset(group, o, retention)
		size += t.effects.Records[len(t.effects.Records)-1].Size()
	}
	if size > t.options.MaxCommitBytes {
		return nil, kerr.InvalidCommitOffsetSize
	}
	return errs, nil
}

func (t *turn) writeOffset(group string, o *CommitOffset, retention time.Duration) {
	v := Offset{
		Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata,
		CommitTime: t.now.UnixMilli(), ExpireTime: -1, TopicID: o.TopicID,
	}
	if retention >= 0 {
		v.ExpireTime = t.now.Add(retention).UnixMilli()
	}
	t.write(encodeOffsetKey(offsetKey{group, o.Topic, o.Partition}), encodeOffset(&v))
}

// strangerCommit decides whether a commit may create its group: only for a client that does not use
// the group's membership.
func strangerCommit(e *CommitOffsets) *kerr.Error {
	switch {
	case e.Generation < 0:
		return nil
	case e.Version >= 9:
		return kerr.GroupIDNotFound
	}
	return kerr.IllegalGeneration
}

// validateCommit decides whether somebody may commit offsets of an existing group.
func (g *classic) validateCommit(e *CommitOffsets) *kerr.Error {
	if e.Generation < 0 && g.state == Empty {
		return nil
	}
	if e.Generation < 0 && e.MemberID == "" && e.InstanceID == nil {
		return kerr.UnknownMemberID
	}
	if _, err := g.validate(e.MemberID, e.InstanceID); err != nil {
		return err
	}
	switch {
	case e.Generation != g.generation:
		return kerr.IllegalGeneration
	case g.state == CompletingRebalance:
		return kerr.RebalanceInProgress
	}
	return nil
}

// metadataTooLong measures as Kafka does, in UTF-16 code units.
func (t *turn) metadataTooLong(s string) bool {
	return len(s) > t.options.MaxMetadata && len(utf16.Encode([]rune(s))) > t.options.MaxMetadata
}

// fetch reads offsets, as view shows them.
func (d *durable) fetch(f *FetchOffsets, view func(*slot) *Offset) []FetchedTopic {
	wanted := f.Topics
	if f.All {
		wanted = d.slots(f.Group, func(s *slot) bool { return view(s) != nil })
	}
	out := make([]FetchedTopic, len(wanted))
	for i, w := range wanted {
		out[i] = FetchedTopic{Topic: w.Topic, TopicID: w.TopicID, Partitions: make([]FetchedPartition, len(w.Partitions))}
		for j, partition := range w.Partitions {
			p := &out[i].Partitions[j]
			*p = FetchedPartition{Partition: partition, Offset: -1, LeaderEpoch: -1}
			key := offsetKey{f.Group, w.Topic, partition}
			if f.RequireStable && d.unstable(key) {
				p.Err = kerr.UnstableOffsetCommit
			} else if s := d.slot(key, false); s != nil {
				p.take(view(s), w.TopicID)
			}
		}
	}
	return out
}

func (p *FetchedPartition) take(o *Offset, topicID [16]byte) {
	if o == nil || otherTopic(o.TopicID, topicID) {
		return
	}
	p.Offset, p.LeaderEpoch, p.Metadata = o.Offset, o.LeaderEpoch, o.Metadata
}

// otherTopic reports whether two ids, as far as they are known, are those of different topics.
func otherTopic(a, b [16]byte) bool {
	unknown := [16]byte{}
	return a != unknown && b != unknown && a != b
}

// slots lists the partitions of a group's slots that are wanted, sorted.
func (d *durable) slots(group string, wanted func(*slot) bool) []TopicPartitions {
	g := d.offsets[group]
	if g == nil {
		return nil
	}
	var out []TopicPartitions
	for _, topic := range sortedKeys(g.topics) {
		slots := g.topics[topic]
		w := TopicPartitions{Topic: topic}
		for _, partition := range slices.Sorted(maps.Keys(slots)) {
			if wanted(slots[partition]) {
				w.Partitions = append(w.Partitions, partition)
			}
		}
		if w.Partitions != nil {
			out = append(out, w)
		}
	}
	return out
}

// ofTopic reports whether an offset of a slot, decided or pending, may belong to a topic.
func (d *durable) ofTopic(s *slot, key offsetKey, topicID [16]byte) bool {
	if s.latest != nil {
		return !otherTopic(s.latest.TopicID, topicID)
	}
	return slices.ContainsFunc(s.open, func(producerID int64) bool {
		return !otherTopic(d.txns[producerID].offsets[key].TopicID, topicID)
	})
}

// deleteOffsets decides on an OffsetDelete request (KIP-496).
func (t *turn) deleteOffsets(e *DeleteOffsets) {
	g := t.find(e.Group)
	if g == nil {
		t.refuse(kerr.GroupIDNotFound)
		return
	}
	if g.state != Empty && g.protocolType != consumerProtocol {
		t.refuse(kerr.NonEmptyGroup)
		return
	}
	var errs []error
	for _, topic := range e.Topics {
		for _, partition := range topic.Partitions {
			var err error
			key := offsetKey{e.Group, topic.Topic, partition}
			if g.topics[topic.Topic] {
				err = kerr.GroupSubscribedToTopic
			} else if t.durable.latest(key) != nil || t.durable.unstable(key) {
				t.dropOffset(key)
			}
			errs = append(errs, err)
		}
	}
	t.answer(errs)
}

// topicsDeleted removes the offsets of topics that are gone.
func (t *turn) topicsDeleted(e *TopicsDeleted) {
	for _, group := range sortedKeys(t.durable.offsets) {
		topics := t.durable.offsets[group].topics
		for _, gone := range e.Topics {
			slots := topics[gone.Name]
			for _, partition := range slices.Sorted(maps.Keys(slots)) {
				if t.durable.ofTopic(slots[partition], offsetKey{group, gone.Name, partition}, gone.ID) {
					t.dropOffset(offsetKey{group, gone.Name, partition})
				}
			}
		}
	}
}

// expireOffsets removes offsets that were not used for the retention time, and groups of which then
// nothing is left.
func (t *turn) expireOffsets() {
	ids := make(map[string]bool)
	for id := range t.groups {
		ids[id] = true
	}
	for id := range t.durable.groups {
		ids[id] = true
	}
	for id := range t.durable.offsets {
		ids[id] = true
	}
	for _, id := range sortedKeys(ids) {
		g := t.find(id)
		if g == nil {
			continue
		}
		kept := t.expireGroup(g)
		if kept || g.state != Empty || len(g.promised) > 0 || t.durable.inTransaction(id) {
			continue
		}
		t.write(encodeMetadataKey(id), nil)
		t.forget(g)
	}
}

// expireGroup removes a group's expired offsets and reports whether any are kept. They count from the
// time when the group became Empty; from their commit, where there is no such time or where members
// are there but do not subscribe to the topic.
func (t *turn) expireGroup(g *classic) (kept bool) {
	since := int64(-1)
	live := g.state == Stable && g.protocolType == consumerProtocol && g.topicsKnown
	switch {
	case g.protocolType == "" || live:
	case g.state == Empty:
		since = g.since
	default:
		return true
	}
	for _, w := range t.durable.slots(g.id, func(s *slot) bool { return s.latest != nil }) {
		for _, partition := range w.Partitions {
			key := offsetKey{g.id, w.Topic, partition}
			if g.topics[w.Topic] || t.durable.unstable(key) || !t.expired(t.durable.latest(key), since) {
				kept = true
				continue
			}
			t.dropOffset(key)
		}
	}
	return kept
}

func (t *turn) expired(o *Offset, since int64) bool {
	now := t.now.UnixMilli()
	if o.ExpireTime >= 0 {
		return now >= o.ExpireTime
	}
	if since < 0 {
		since = o.CommitTime
	}
	return now-since >= t.options.OffsetsRetention.Milliseconds()
}

// forget drops the soft state of a group that the log will no longer know.
func (t *turn) forget(g *classic) {
	delete(t.groups, g.id)
	if !g.armed.IsZero() {
		t.timer(machine.TimerKey{Kind: timerGroup, ID: g.id}, zeroTime())
	}
}
