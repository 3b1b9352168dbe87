package streamstest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
	"github.com/weirstream/weir/streams/streamstest"
)

// TestConformance runs the cases of testdata/cases, or of the folder that
// WEIR_CASES names.
func TestConformance(t *testing.T) {
	dir := filepath.Join("testdata", "cases")
	if d, ok := os.LookupEnv("WEIR_CASES"); ok {
		dir = d
	}
	cases, err := readCases(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.id, func(t *testing.T) { runCase(t, &c) })
	}
}

// rigs returns what runs the cases of each op.
func rigs() map[string]func(*testCase) (*rig, error) {
	return map[string]func(*testCase) (*rig, error){
		"ssjoin":      ssJoinRig,
		"selfjoin":    selfJoinRig,
		"stjoin":      stJoinRig,
		"gtjoin":      gtJoinRig,
		"ttjoin":      ttJoinRig,
		"fkjoin":      fkJoinRig,
		"timewin":     timeWinRig,
		"slidewin":    slideWinRig,
		"sesswin":     sessWinRig,
		"winsuppress": winSuppressRig,
		"ktagg":       ktAggRig,
		"cogroup":     cogroupRig,
	}
}

// rig is a case, made ready to run: a topology and how to feed and read it.
type rig struct {
	// build makes the topology; opts are for the operator under test.
	build            func(opts ...streams.Option) (*streams.Topology, error)
	inputs           map[string]pipe // by the topic of an in line
	drain            func(d *streamstest.Driver) ([]caseRec, error)
	cached, uncached bool // runs as built, and with NoCache
}

// pipe pushes one record of a case.
type pipe func(d *streamstest.Driver, r caseRec) error

func runCase(t *testing.T, c *testCase) {
	open, known := rigs()[c.op]
	if !known {
		t.Fatalf("%s:%d: unknown op %q", c.file, c.line, c.op)
	}
	r, err := open(c)
	if err != nil {
		t.Fatalf("%s:%d: %v", c.file, c.line, err)
	}
	if r.cached {
		if err := r.replay(c); err != nil {
			t.Errorf("%s:%d: %v", c.file, c.line, err)
		}
	}
	if r.uncached {
		if err := r.replay(c, streams.NoCache()); err != nil {
			t.Errorf("%s:%d, without a cache: %v", c.file, c.line, err)
		}
	}
}

// replay runs the lines of a case.
func (r *rig) replay(c *testCase, opts ...streams.Option) error {
	topo, err := r.build(opts...)
	if err != nil {
		return err
	}
	d, err := streamstest.New(topo)
	if err != nil {
		return err
	}
	for i := range c.body {
		l := &c.body[i]
		if l.verb != "in" {
			got, err := r.drain(d)
			if err == nil {
				err = l.check(got)
			}
			if err != nil {
				return err
			}
			continue
		}
		in, ok := r.inputs[l.topic]
		if !ok {
			return fmt.Errorf("line %d: %s does not read %s", l.line, c.op, l.topic)
		}
		for _, rec := range l.recs {
			if err := in(d, rec); err != nil {
				return fmt.Errorf("line %d, %s: %w", l.line, rec, err)
			}
		}
	}
	return d.Close()
}

// texts returns inputs of text for topics.
func texts(topics ...string) map[string]pipe {
	m := map[string]pipe{}
	for _, topic := range topics {
		m[topic] = func(d *streamstest.Driver, r caseRec) error {
			return streamstest.Input(d, topic, serde.String(), serde.String()).PipeRecord(record(r))
		}
	}
	return m
}

// drain returns what was emitted to a topic, in the text of a case.
func drain[K, V any](d *streamstest.Driver, topic string, key serde.Serde[K], value serde.Serde[V], showKey func(K) string, showValue func(V) string) ([]caseRec, error) {
	recs, err := streamstest.Output(d, topic, key, value).Drain()
	if err != nil {
		return nil, err
	}
	list := make([]caseRec, 0, len(recs))
	for _, r := range recs {
		c := caseRec{at: r.Timestamp}
		if !r.NullKey {
			k := showKey(r.Key)
			c.key = &k
		}
		if !r.NullValue {
			v := showValue(r.Value)
			c.value = &v
		}
		list = append(list, c)
	}
	return list, nil
}

// number is the text of a number.
func number(n int64) string { return strconv.FormatInt(n, 10) }

func record(r caseRec) streams.Record[string, string] {
	out := streams.Record[string, string]{NullKey: r.key == nil, NullValue: r.value == nil, Timestamp: r.at}
	if r.key != nil {
		out.Key = *r.key
	}
	if r.value != nil {
		out.Value = *r.value
	}
	return out
}

// nullable is text that a lambda can tell from null.
type nullable = *string

type nullableSerde struct{}

func (nullableSerde) Append(dst []byte, _ string, v nullable) ([]byte, error) {
	return append(dst, *v...), nil
}

func (nullableSerde) Decode(_ string, b []byte) (nullable, error) {
	s := string(b)
	return &s, nil
}

// say is the text of a value inside an aggregate, as Java prints it.
func say(v nullable) string {
	if v == nil {
		return "null"
	}
	return *v
}
