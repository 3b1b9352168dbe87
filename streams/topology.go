package streams

import (
	"fmt"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/wiring"
	"github.com/weirstream/weir/streams/processor"
)

// Topology is a checked set of operators, ready to run. It is never changed, so
// any number of tasks, on any goroutines, may be made of it.
type Topology struct {
	graph   *graph.Topology
	sources map[string]*source // by node
}

// Describe returns the topology in the text format of Kafka Streams, without
// the application id in the names of internal topics.
func (t *Topology) Describe() string { return t.graph.Describe() }

// Graph returns the topology as a value, for the runtime.
func (t *Topology) Graph() *graph.Topology { return t.graph }

// NewTask instantiates the operators of a sub-topology. The processors of the
// user are initialised before it returns; if one fails, those before it are
// closed again.
func (t *Topology) NewTask(sub int, h processor.Host) (processor.Task, error) {
	if sub < 0 || sub >= len(t.graph.Subtopologies) {
		return nil, fmt.Errorf("no sub-topology %d", sub)
	}
	return wiring.NewTask(&t.graph.Subtopologies[sub], t.sources, h)
}

// What a topology is made of; see package wiring.
type (
	flow[K, V any] = wiring.Flow[K, V]
	assembly       = wiring.Assembly
	source         = wiring.Source
)
