package streamstest_test

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
	"github.com/weirstream/weir/streams/streamstest"
)

// intKey is a key whose text is a number and whose bytes are those of an int32,
// which decide ties in time. Other text is itself.
type intKey struct{}

func (intKey) Append(dst []byte, _ string, k string) ([]byte, error) {
	n, err := strconv.ParseInt(k, 10, 32)
	if err != nil {
		return append(dst, k...), nil //nolint:nilerr // not a number, so text
	}
	return binary.BigEndian.AppendUint32(dst, uint32(n)), nil
}

func (intKey) Decode(_ string, b []byte) (string, error) {
	if len(b) != 4 {
		return string(b), nil
	}
	return strconv.Itoa(int(int32(binary.BigEndian.Uint32(b)))), nil
}

var intKeys = serde.Serde[string](intKey{})

// ints returns inputs of number keys and text values.
func ints(topics ...string) map[string]pipe {
	m := map[string]pipe{}
	for _, topic := range topics {
		m[topic] = func(d *streamstest.Driver, r caseRec) error {
			return streamstest.Input(d, topic, intKeys, serde.String()).PipeRecord(record(r))
		}
	}
	return m
}

func drainInts(d *streamstest.Driver) ([]caseRec, error) {
	return drain(d, "out", intKeys, serde.String(), strings.Clone, strings.Clone)
}

// orNullText is the text of a side that may be missing.
func orNullText(v *string) string {
	if v == nil {
		return "null"
	}
	return *v
}

// joinWindows reads before, after and grace.
func (c *testCase) joinWindows() (w streams.JoinWindows, err error) {
	var before, after, grace int64
	for _, p := range []struct {
		key string
		to  *int64
	}{{"before", &before}, {"after", &after}, {"grace", &grace}} {
		if *p.to, err = c.millis(p.key, 0); err != nil {
			return w, err
		}
	}
	const ms = time.Millisecond
	w = streams.Within(0).Before(time.Duration(before) * ms).After(time.Duration(after) * ms).Grace(time.Duration(grace) * ms)
	switch fix, ok := c.args["fix"]; {
	case ok && fix != "off":
		return w, fmt.Errorf("unknown fix=%s", fix)
	case ok:
		w = w.Eager()
	}
	return w, nil
}

// ssJoinRig is the rig of the op ssjoin.
func ssJoinRig(c *testCase) (*rig, error) {
	if err := c.only("kind", "before", "after", "grace", "sep", "fix"); err != nil {
		return nil, err
	}
	w, err := c.joinWindows()
	if err != nil {
		return nil, err
	}
	sep := c.args["sep"]
	outer := func(_ string, l, r *string) string { return orNullText(l) + sep + orNullText(r) }
	build := func(join func(l, r *streams.Stream[string, string]) *streams.Stream[string, string]) (*streams.Topology, error) {
		b := streams.NewBuilder()
		l, r := streams.From(b, "L", intKeys, serde.String()), streams.From(b, "R", intKeys, serde.String())
		join(l, r).To("out", intKeys, serde.String())
		return b.Build()
	}
	r := &rig{inputs: ints("L", "R"), drain: drainInts, cached: true}
	r.build = func(opts ...streams.Option) (*streams.Topology, error) {
		return build(func(l, r *streams.Stream[string, string]) *streams.Stream[string, string] {
			switch c.args["kind"] {
			case "left":
				return streams.LeftJoin(l, r, func(k, l string, r *string) string { return outer(k, &l, r) }, w, opts...)
			case "outer":
				return streams.OuterJoin(l, r, outer, w, opts...)
			default:
				return streams.Join(l, r, func(k, l, r string) string { return outer(k, &l, &r) }, w, opts...)
			}
		})
	}
	switch c.args["kind"] {
	case "inner", "left", "outer":
		return r, nil
	default:
		return nil, fmt.Errorf("unknown kind=%s", c.args["kind"])
	}
}

// selfJoinRig is the rig of the op selfjoin.
func selfJoinRig(c *testCase) (*rig, error) {
	if err := c.only("before", "after", "grace", "sep"); err != nil {
		return nil, err
	}
	w, err := c.joinWindows()
	if err != nil {
		return nil, err
	}
	r := &rig{inputs: ints("LR"), drain: drainInts, cached: true}
	r.build = func(opts ...streams.Option) (*streams.Topology, error) {
		b := streams.NewBuilder()
		s := streams.From(b, "LR", intKeys, serde.String())
		join := func(_, l, r string) string { return l + c.args["sep"] + r }
		streams.Join(s, s, join, w, opts...).To("out", intKeys, serde.String())
		return b.Build()
	}
	return r, nil
}
