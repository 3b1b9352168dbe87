package streams

import (
	"fmt"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/internal/window"
	"github.com/weirstream/weir/streams/internal/wiring"
)

// Join joins each record of left with each of right that has the same key and
// is close in time, as w says. A result has the later of the two times. Keys
// that were changed go through a repartition topic first; the topics of both
// sides need equally many partitions. Records with a null key or value are
// dropped.
//
// Both sides keep their records in a window store, for the length of the
// windows plus grace. A stream that is joined with itself keeps them once.
//
//	left          --(a,1)@1-------------------(a,2)@20-->
//	right         -----------(a,x)@5---------------------->
//	Join, 10 ms   -----------(a,1x)@5-------------------->
//
// Options: [Named], [Store] as the base of the names of the stores, [InMemory],
// [NoChangelog], [TopicConfig], [KeySerde], [ValueSerde] of left, [OtherSerde]
// of right.
func Join[K, L, R, O any](left *Stream[K, L], right *Stream[K, R], join func(key K, left L, right R) O, w JoinWindows, opts ...Option) *Stream[K, O] {
	return joinStreams(left, right, joiner[K, L, R, O]{both: join, nilFunc: join == nil}, w, opts)
}

// LeftJoin is [Join] and shows the left records that meet nobody as well, with
// a nil right one: as soon as a record of either side comes after the window
// and its grace have passed. Left records with a null key are shown at once.
//
//	left              --(a,1)@1-------------------(a,2)@20---->
//	right             -----------(a,x)@5----------------------->
//	LeftJoin, 10 ms   -----------(a,1x)@5------------------...  (a,2)@20 once time is 31
func LeftJoin[K, L, R, O any](left *Stream[K, L], right *Stream[K, R], join func(key K, left L, right *R) O, w JoinWindows, opts ...Option) *Stream[K, O] {
	return joinStreams(left, right, joiner[K, L, R, O]{
		nilFunc: join == nil,
		both:    func(k K, l L, r R) O { return join(k, l, &r) },
		left:    func(k K, l L) O { return join(k, l, nil) },
	}, w, opts)
}

// OuterJoin is [LeftJoin] for both sides.
//
//	left              --(a,1)@1-----------------------(c,1)@30---------->
//	right             -----------(a,x)@5---(b,y)@6---------------------->
//	OuterJoin, 10 ms  -----------(a,1x)@5-------------(b,y)@6------...  (c,1)@30 once time is 41
func OuterJoin[K, L, R, O any](left *Stream[K, L], right *Stream[K, R], join func(key K, left *L, right *R) O, w JoinWindows, opts ...Option) *Stream[K, O] {
	return joinStreams(left, right, joiner[K, L, R, O]{
		nilFunc: join == nil,
		both:    func(k K, l L, r R) O { return join(k, &l, &r) },
		left:    func(k K, l L) O { return join(k, &l, nil) },
		right:   func(k K, r R) O { return join(k, nil, &r) },
	}, w, opts)
}

// joiner is a function of the user, and which sides are outer.
type joiner[K, L, R, O any] struct {
	nilFunc bool
	both    func(K, L, R) O
	left    func(K, L) O // nil if the left side is not outer
	right   func(K, R) O // nil if the right side is not outer
}

// joined is a join of streams while it is added.
type joined[K, L, R, O any] struct {
	*step
	joiner[K, L, R, O]

	windows JoinWindows
	l       *Stream[K, L]
	r       *Stream[K, R]
	self    bool
	op      *op.StreamJoin[K, L, R, O]
	merge   string
}

func joinStreams[K, L, R, O any](left *Stream[K, L], right *Stream[K, R], f joiner[K, L, R, O], w JoinWindows, opts []Option) *Stream[K, O] {
	if left.failed() || right.failed() {
		return broken[K, O]()
	}
	j := &joined[K, L, R, O]{joiner: f, windows: w, step: left.b.between("Join", left.out.Name, right.out.Name, opts)}
	j.check(j.o.only(setName | setStore | setMemory | setLog | setTopicConfig | setKey | setValue | setOther))
	j.need(left.b == right.b, "the streams belong to different builders")
	j.need(!f.nilFunc, "the function is nil")
	j.check(window.CheckJoin(w))
	same, ok := any(right).(*Stream[K, L])
	j.self = ok && f.left == nil && f.right == nil && same.out == left.out
	l, r := *left, *right
	j.l, j.r = &l, &r
	j.serdes()
	j.meet()
	if j.bad {
		return broken[K, O]()
	}
	j.names()
	j.nodes()
	if j.bad {
		return broken[K, O]()
	}
	out := &flow[K, O]{Name: j.merge}
	if j.self {
		j.buildSelf(out)
	} else {
		j.build(out)
	}
	return &Stream[K, O]{b: j.b, out: out, key: j.op.Key}
}

// serdes finds out how to write what the stores keep.
func (j *joined[K, L, R, O]) serdes() {
	var err error
	known := j.l.key
	if known == nil {
		known = j.r.key
	}
	j.l.key, err = pick(j.o.key, known)
	j.check(err)
	j.r.key = j.l.key
	j.l.value, err = pick(j.o.value, j.l.value)
	j.check(err)
	j.r.value, err = pick(j.o.other, j.r.value)
	j.check(err)
}

// meet brings records of one key into one task.
func (j *joined[K, L, R, O]) meet() {
	if j.bad {
		return
	}
	rekeyed := j.r.rekeyed
	if j.l.rekeyed {
		j.l = reroute(j.step, j.l, j.suffixed("-left", j.l.out.Name))
	}
	switch {
	case rekeyed && j.self:
		j.b.index += 3 // Kafka Streams counts the topic twice, and has it once
	case rekeyed:
		j.r = reroute(j.step, j.r, j.suffixed("-right", j.r.out.Name))
	}
}

// names gives the operators and stores their names.
func (j *joined[K, L, R, O]) names() {
	b := j.b
	this, other, shared := "JOINTHIS", "JOINOTHER", "-left-shared-join"
	thisSuffix, otherSuffix := "-this-join", "-other-join"
	if j.right != nil {
		this, thisSuffix, shared = "OUTERTHIS", "-outer-this-join", "-outer-shared-join"
	}
	if j.left != nil {
		other, otherSuffix = "OUTEROTHER", "-outer-other-join"
	}
	lw, rw := b.generate("KSTREAM-WINDOWED"), b.generate("KSTREAM-WINDOWED")
	lj, rj := b.generate("KSTREAM-"+this), b.generate("KSTREAM-"+other)
	j.merge = j.suffixed("-merge", b.generate("KSTREAM-MERGE"))
	if b.requireNames {
		j.need(j.o.has(setStore), "%w: of the stores; give one with Store", ErrUnnamed)
	}
	left := op.Side[K, L]{Window: j.suffixed("-this-windowed", lw), Join: j.suffixed(thisSuffix, lj), Store: lj, Value: j.l.value}
	right := op.Side[K, R]{Window: j.suffixed("-other-windowed", rw), Join: j.suffixed(otherSuffix, rj), Store: rj, Value: j.r.value}
	waiting := "KSTREAM-OUTERSHARED" + lj[len("KSTREAM-"+this):]
	if j.o.has(setStore) {
		left.Store, right.Store, waiting = j.o.store+thisSuffix, j.o.store+otherSuffix, j.o.store+shared
	}
	left.Store += "-store"
	right.Store += "-store"
	j.op = &op.StreamJoin[K, L, R, O]{
		Left: left, Right: right, Key: j.l.key, Both: j.both, LeftAlone: j.left, RightAlone: j.right,
	}
	j.op.Before, j.op.After, j.op.Grace = window.Reach(j.windows)
	if j.left != nil && !window.IsEager(j.windows) {
		j.op.Waiting = waiting + "-store"
	}
}

// side describes the store of the records of one side.
func (j *joined[K, L, R, O]) side(name string) graph.Store {
	s := j.o.keyValue(name)
	window.JoinStore(j.windows, &s)
	return s
}

// nodes adds the operators and stores to the graph.
func (j *joined[K, L, R, O]) nodes() {
	g, left, right := j.b.graph, &j.op.Left, &j.op.Right
	if j.self {
		left.Join = j.merge
		j.node(left.Window, j.l.out.Name)
		j.node(j.merge, left.Window)
		j.keep(j.side(left.Store), left.Window, j.merge)
		return
	}
	j.node(left.Window, j.l.out.Name)
	j.node(right.Window, j.r.out.Name)
	j.node(left.Join, left.Window)
	j.node(right.Join, right.Window)
	j.node(j.merge, left.Join, right.Join)
	j.keep(j.side(left.Store), left.Window, right.Join)
	j.keep(j.side(right.Store), right.Window, left.Join)
	if j.op.Waiting != "" {
		waiting := j.o.keyValue(j.op.Waiting)
		waiting.Timestamped, waiting.Cached = false, false
		j.keep(waiting, left.Join, right.Join)
	}
	if j.bad {
		return
	}
	if j.left != nil {
		g.TakeNullKeys(left.Join)
	}
	if j.right != nil {
		g.TakeNullKeys(right.Join)
	}
	g.Copartition(j.at(), left.Window, right.Window)
}

// sides is what a join of streams is in a task.
type sides[K, L, R any] struct {
	left  op.Next[K, L]
	right op.Next[K, R]
}

func (j *joined[K, L, R, O]) build(out *flow[K, O]) {
	open := func(a *assembly) (sides[K, L, R], error) {
		return wiring.Once(a, j, func() (s sides[K, L, R], err error) {
			next, err := out.Build(a)
			if err == nil {
				s.left, s.right, err = j.op.Open(a.Env, next)
			}
			return s, err
		})
	}
	j.l.out.Then(func(a *assembly) (op.Next[K, L], error) {
		s, err := open(a)
		return s.left, err
	})
	j.r.out.Then(func(a *assembly) (op.Next[K, R], error) {
		s, err := open(a)
		return s.right, err
	})
}

func (j *joined[K, L, R, O]) buildSelf(out *flow[K, O]) {
	both, ok := any(j.both).(func(K, L, L) O)
	if !ok {
		panic(fmt.Sprintf("a stream of %T is joined with itself by %T", *new(L), j.both))
	}
	self := op.SelfJoin[K, L, O]{
		Side: j.op.Left, Key: j.op.Key, Both: both, Before: j.op.Before, After: j.op.After,
		Retention: j.side("").RetentionMs,
	}
	j.l.out.Then(func(a *assembly) (op.Next[K, L], error) {
		next, err := out.Build(a)
		if err != nil {
			return nil, err
		}
		return self.Open(a.Env, next)
	})
}
