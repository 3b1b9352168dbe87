// Package graph is a topology as a checked value: names, edges, stores and
// topics, without the functions that move data.
//
// The builder of the DSL fills a [Builder]; Build cuts the graph into
// sub-topologies, numbered and named as Kafka Streams does; the runtime reads
// the [Topology] to learn what to subscribe to, what to create and how many
// tasks there are.
package graph

import (
	"maps"
	"math"
	"slices"
	"strconv"
)

// Kind is what a node does with records.
type Kind int

// The kinds of node.
const (
	Source    Kind = iota // reads topics
	Processor             // works on records
	Sink                  // writes a topic
)

// Node is one vertex of the topology.
type Node struct {
	Name     string
	Kind     Kind
	Topics   []string // of a source, or the one of a sink; internal topics without the application id
	Pattern  *Pattern // of a source that reads what matches, once [Topology.Bind] has put it into Topics; nil for none
	Reset    Reset    // of a source
	Stores   []string // the stores that the node is connected to
	Parents  []string // in the order in which they were connected
	Children []string
}

// Reset is where a source begins to read a partition that has no commit.
type Reset int

// The places to begin at.
const (
	ResetDefault Reset = iota // what the application says
	Earliest
	Latest
)

// StoreKind is the shape of a store.
type StoreKind int

// The shapes of a store.
const (
	KeyValue StoreKind = iota
	Window
	Session
	Versioned
)

// Forever is the retention of a window store that drops nothing.
const Forever int64 = math.MaxInt64

// Store describes one state store and its changelog.
type Store struct {
	Name             string
	Kind             StoreKind
	RetentionMs      int64 // window and session stores, where Forever keeps every row; the history of versioned stores
	WindowSizeMs     int64 // window stores
	RetainDuplicates bool
	Timestamped      bool              // values carry the time of their last change
	Logged           bool              // has a changelog topic
	Cached           bool              // writes are held back until a commit
	Persistent       bool              // kept on disk, else in memory
	Held             bool              // window and session stores: rows stay until the operator drops them
	SegmentMs        int64             // window and session stores: the span of time that is found as one; 0 chooses
	TopicConfig      map[string]string // of the changelog, over the defaults; nil for none
}

// Repartition is a topic through which records go to the task of their key.
type Repartition struct {
	Name       string // without the application id, with "-repartition"
	Partitions int32  // 0: as many as the largest topic upstream
}

// Subtopology is a part of the topology whose nodes share tasks: nodes are in
// one part if an edge or a store joins them.
type Subtopology struct {
	ID           int
	Nodes        []Node        // largest subtree first, then by name
	Sources      []string      // user topics read, sorted
	Sinks        []string      // user topics written, sorted
	Repartitions []Repartition // internal topics read, sorted by name
	Outlets      []string      // internal topics written, sorted, without the application id
	Stores       []Store       // sorted by name
	Copartitions []Copartition // in the order in which they were demanded
	Global       *Global       // what the part is if it has no tasks; then it has nodes and nothing else
}

// Global is a global table: every instance reads its whole topic.
type Global struct {
	Topic string
	Store string
}

// Copartition is a demand of equal partition counts, made by an operator where
// records of several topics meet.
type Copartition struct {
	By      string   // the operator, and where it stands, for people
	Sources []string // nodes, sorted
	Topics  []string // that these read, sorted; internal ones without the application id
}

// Topology is a whole application. It is never changed once built, so it may be
// read from many goroutines.
type Topology struct {
	Subtopologies []Subtopology
}

// InternalTopic is a topic that the application creates for itself.
type InternalTopic struct {
	Name       string            // with the application id
	Partitions int32             // set by [Topology.Plan], else 0
	Config     map[string]string // topic configuration keys as Kafka names them
}

// RepartitionTopic returns the name of a repartition topic: "<app>-<name>". The
// name already ends in "-repartition".
func RepartitionTopic(app, name string) string { return app + "-" + name }

// ChangelogTopic returns the name of the changelog of a store.
func ChangelogTopic(app, store string) string { return app + "-" + store + "-changelog" }

// windowSlackMs is added to the retention of a windowed changelog, and to the
// history that is not compacted in a versioned one, as Kafka Streams does, so that brokers whose clocks differ do not delete too early.
const windowSlackMs = 24 * 60 * 60 * 1000

// Changelog returns the changelog topic of s for an application.
func (s *Store) Changelog(app string) InternalTopic {
	cfg := map[string]string{"cleanup.policy": "compact", "message.timestamp.type": "CreateTime"}
	switch s.Kind {
	case KeyValue:
	case Versioned:
		cfg["min.compaction.lag.ms"] = strconv.FormatInt(min(s.RetentionMs, math.MaxInt64-windowSlackMs)+windowSlackMs, 10)
	case Window, Session:
		cfg["cleanup.policy"] = "compact,delete"
		cfg["retention.ms"] = "-1"
		if s.RetentionMs <= math.MaxInt64-windowSlackMs {
			cfg["retention.ms"] = strconv.FormatInt(s.RetentionMs+windowSlackMs, 10)
		}
	}
	maps.Copy(cfg, s.TopicConfig)
	return InternalTopic{Name: ChangelogTopic(app, s.Name), Config: cfg}
}

// Topic returns the topic of r for an application. Nothing in it expires: the
// runtime deletes records that were processed.
func (r *Repartition) Topic(app string) InternalTopic {
	return InternalTopic{Name: RepartitionTopic(app, r.Name), Config: map[string]string{
		"cleanup.policy":         "delete",
		"retention.ms":           "-1",
		"segment.bytes":          "52428800",
		"message.timestamp.type": "CreateTime",
	}}
}

// SourceTopics returns every topic that the sub-topology reads, under the names
// that an application sees, sorted.
func (s *Subtopology) SourceTopics(app string) []string {
	topics := slices.Clone(s.Sources)
	for _, r := range s.Repartitions {
		topics = append(topics, RepartitionTopic(app, r.Name))
	}
	slices.Sort(topics)
	return topics
}

// Store returns the description of a store of the sub-topology.
func (s *Subtopology) Store(name string) (Store, bool) {
	for _, st := range s.Stores {
		if st.Name == name {
			return st, true
		}
	}
	return Store{}, false
}

// Globals returns the global tables, in the order in which they were added.
func (t *Topology) Globals() []Global {
	var list []Global
	for i := range t.Subtopologies {
		if g := t.Subtopologies[i].Global; g != nil {
			list = append(list, *g)
		}
	}
	return list
}

// Sources returns every user topic that tasks of the topology read, sorted, each once.
func (t *Topology) Sources() []string {
	var topics []string
	for i := range t.Subtopologies {
		topics = append(topics, t.Subtopologies[i].Sources...)
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}
