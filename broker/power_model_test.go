package broker_test

import (
	"maps"
	"slices"
)

// promises is what clients were told, and what they asked for, up to a moment. What
// was asked for may be there after a power cut; what was told has to be.
type promises struct {
	topics  map[string]*topicPromise
	gone    map[string]bool // the deletion was acknowledged
	commits map[commitKey]*told
	pids    map[int64]bool // producer ids that were handed out
	txns    []*txnPromise
	rows    map[string]*told // of the table, by key; "" is no row
}

// told is a value that changes: the last one acknowledged, "" if none, and those
// asked for since.
type told struct {
	acked string
	asked []string
}

func (s *told) ask(value string) { s.asked = append(s.asked, value) }

func (s *told) ack() { s.acked, s.asked = s.asked[len(s.asked)-1], nil }

// allows tells whether the value can be what a power cut has left.
func (s *told) allows(value string) bool { return value == s.acked || slices.Contains(s.asked, value) }

type commitKey struct {
	group string
	tp    tp
}

// topicPromise is one life of a topic.
type topicPromise struct {
	id        [16]byte // zero until its creation is acknowledged
	dropping  bool     // its deletion was asked for
	parts     []*partPromise
	partCount int // acknowledged
	configs   map[string]*told
	capped    bool // retention takes its oldest segments
	gapped    bool // markers and compaction leave offsets without records
}

// sentRecord is a record on its way; pid is -1 without idempotence.
type sentRecord struct {
	value string
	pid   int64
	seq   int32
}

// sentBatch is an idempotent batch.
type sentBatch struct {
	pid    int64
	seq    int32
	values []string
}

type partPromise struct {
	sent         []sentRecord
	acked        []seen // by acks=all
	read         []seen
	batches      []sentBatch // of the one idempotent producer, in order
	batchesAcked int
	start, cut   int64 // start acknowledged, start asked for
}

func newPromises() *promises {
	return &promises{topics: map[string]*topicPromise{}, gone: map[string]bool{}, commits: map[commitKey]*told{}, pids: map[int64]bool{}, rows: map[string]*told{}}
}

func (p *promises) clone() *promises {
	c := &promises{topics: map[string]*topicPromise{}, gone: maps.Clone(p.gone), commits: map[commitKey]*told{}, pids: maps.Clone(p.pids), rows: map[string]*told{}}
	for key, t := range p.commits {
		c.commits[key] = t.clone()
	}
	for key, t := range p.rows {
		c.rows[key] = t.clone()
	}
	for _, x := range p.txns {
		c.txns = append(c.txns, x.clone())
	}
	for name, t := range p.topics {
		own := *t
		own.parts, own.configs = nil, map[string]*told{}
		for key, value := range t.configs {
			own.configs[key] = value.clone()
		}
		for _, part := range t.parts {
			mine := *part // appending to a clipped slice copies it
			mine.sent, mine.acked = slices.Clip(part.sent), slices.Clip(part.acked)
			mine.read, mine.batches = slices.Clip(part.read), slices.Clip(part.batches)
			own.parts = append(own.parts, &mine)
		}
		c.topics[name] = &own
	}
	return c
}

func (s *told) clone() *told { return &told{s.acked, slices.Clone(s.asked)} }

func (p *promises) part(at tp) *partPromise { return p.topics[at.topic].parts[at.index] }

// commit returns the promise of a committed offset.
func (p *promises) commit(group string, at tp) *told {
	key := commitKey{group, at}
	if p.commits[key] == nil {
		p.commits[key] = &told{}
	}
	return p.commits[key]
}

// askTopic begins a life of a topic.
func (p *promises) askTopic(name string, partitions int, configs map[string]string) *topicPromise {
	t := &topicPromise{configs: map[string]*told{}}
	for key, value := range configs {
		t.configs[key] = &told{acked: value}
	}
	t.grow(partitions)
	p.topics[name] = t
	delete(p.gone, name)
	return t
}

func (t *topicPromise) grow(partitions int) {
	for len(t.parts) < partitions {
		t.parts = append(t.parts, &partPromise{})
	}
}

func (t *topicPromise) live() bool { return t.id != [16]byte{} && !t.dropping }
