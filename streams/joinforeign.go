package streams

import (
	"errors"

	"github.com/weirstream/weir/streams/internal/op"
	"github.com/weirstream/weir/streams/internal/wiring"
	"github.com/weirstream/weir/streams/serde"
)

// JoinForeign joins each row of the left table with the row of the right one that
// it points to: foreign returns the key of that row, or false if there is none.
// Many rows may point to the same one; when it changes, all their results do. The
// two tables may have different numbers of partitions. With [Store] the results
// are kept, to be read and queried. Options: those of [Table.Filter] and
// [PartitionForeignBy]; [Named] also
// names two internal topics, "<application>-<name>-subscription-registration-topic"
// and "<application>-<name>-subscription-response-topic".
//
//	left         --a:x1----b:x2--------------a gone-->
//	right        -------x:R-----------x:S----------->
//	JoinForeign  -------a:1R-b:2R--a:1S--b:2S--a gone-->   (the letter)
func JoinForeign[K, L, KF, R, VR any](left *Table[K, L], right *Table[KF, R], foreign func(key K, left L) (KF, bool), f func(key K, left L, right R) VR, opts ...Option) *Table[K, VR] {
	return joinForeign(left, right, foreign, false, f == nil, func(key K, l L, _ bool, r R, _ bool) VR { return f(key, l, r) }, opts)
}

// LeftJoinForeign is [JoinForeign] with a result for every row of the left table;
// without a partner, f gets nil for it.
//
//	left             --a:x1----b:x2--------------a gone-->
//	right            -------x:R-----------x gone---------->
//	LeftJoinForeign  --a:1~-a:1R-b:2R--a:1~--b:2~-a gone-->   (the letter)
func LeftJoinForeign[K, L, KF, R, VR any](left *Table[K, L], right *Table[KF, R], foreign func(key K, left L) (KF, bool), f func(key K, left L, right *R) VR, opts ...Option) *Table[K, VR] {
	return joinForeign(left, right, foreign, true, f == nil, func(key K, l L, _ bool, r R, has bool) VR { return f(key, l, present(r, has)) }, opts)
}

// foreignNodes are the names of a foreign-key join, in the order in which Kafka
// Streams numbers them.
type foreignNodes struct {
	registration, subscribe, subscribeSink, subscribeSource string
	store, receive, respond, publish                        string
	response, responseSink, responseSource, resolve         string
}

func nameForeign(st *step) (n foreignNodes) {
	const fk = "KTABLE-FK-JOIN-"
	name := func(suffix, prefix string) string { return st.suffixed(suffix, st.b.generate(prefix)) }
	n.registration = name("-subscription-registration", fk+"SUBSCRIPTION-REGISTRATION") + "-topic"
	n.subscribe = name("-subscription-registration-processor", fk+"SUBSCRIPTION-REGISTRATION")
	n.subscribeSink = name("-subscription-registration-sink", "KTABLE-SINK")
	n.subscribeSource = name("-subscription-registration-source", "KTABLE-SOURCE")
	n.store = name("-subscription-store", fk+"SUBSCRIPTION-STATE-STORE")
	n.receive = name("-subscription-receive", fk+"SUBSCRIPTION-PROCESSOR")
	n.respond = name("-subscription-join-foreign", fk+"SUBSCRIPTION-PROCESSOR")
	n.publish = name("-foreign-join-subscription", fk+"SUBSCRIPTION-PROCESSOR")
	n.response = name("-subscription-response", fk+"SUBSCRIPTION-RESPONSE") + "-topic"
	n.responseSink = name("-subscription-response-sink", "KTABLE-SINK")
	n.responseSource = name("-subscription-response-source", "KTABLE-SOURCE")
	n.resolve = name("-subscription-response-resolver", fk+"SUBSCRIPTION-RESPONSE-RESOLVER-PROCESSOR")
	return n
}

// foreignJoin is a join on its way into the topology.
type foreignJoin[K, L, KF, R, VR any] struct {
	left    *Table[K, L]
	right   *Table[KF, R]
	extract func(K, L) (KF, bool)
	join    op.Joiner[K, L, R, VR]
	how     op.Foreign[K, L, KF, R]
	value   serde.Serde[R]
	place   *op.Place[KF, op.Subscription[K]]
	n       foreignNodes
	st      *step
}

func joinForeign[K, L, KF, R, VR any](left *Table[K, L], right *Table[KF, R], extract func(K, L) (KF, bool), outer, nilFunc bool, f op.Joiner[K, L, R, VR], opts []Option) *Table[K, VR] {
	if left.failed() || right.failed() {
		return &Table[K, VR]{}
	}
	b, o := left.b, collect(opts)
	st := &step{b: b, o: o, name: "KTABLE-FK-JOIN"}
	n := nameForeign(st)
	st.name = st.suffixed("-result", b.generate("KTABLE-FK-JOIN-OUTPUT"))
	generated := ""
	if !o.has(setStore) {
		generated = b.generate("KTABLE-FK-JOIN-OUTPUT-STATE-STORE")
		st.need(!b.requireNames || o.has(setName), "%w: of the topics of the join; give one with Named", ErrUnnamed)
	}
	st.check(o.only(setName | setTable | setPartition))
	st.need(!nilFunc && extract != nil, "the function is nil")
	if b != right.b {
		st.check(errors.New("the tables belong to different builders"))
	}
	j := &foreignJoin[K, L, KF, R, VR]{left: left, right: right, extract: extract, join: f, n: n, st: st}
	j.serdes(outer)
	if f := partitioner[func(KF, int32) int32](st); f != nil {
		j.place = &op.Place[KF, op.Subscription[K]]{Choose: func(key KF, _ op.Subscription[K], n int32) int32 { return f(key, n) }}
	}
	state := materialised[K, VR](st, left.key, nil, setPartition)
	if st.bad {
		return &Table[K, VR]{}
	}
	results := j.wire()
	st.processor(n.resolve)
	st.keepIn(state.Store)
	if st.bad {
		return &Table[K, VR]{}
	}
	return tableOf(st, results, state, generated)
}

// serdes finds out how the keys and values of both tables are encoded.
func (j *foreignJoin[K, L, KF, R, VR]) serdes(outer bool) {
	var errs [4]error
	j.how.Key, errs[0] = pick(nil, j.left.key)
	j.how.Left, errs[1] = pick(nil, j.left.value)
	j.how.Foreign, errs[2] = pick(nil, j.right.key)
	j.value, errs[3] = pick(nil, j.right.value)
	j.st.check(errors.Join(errs[:]...))
	j.how.Store, j.how.Topic, j.how.Outer = j.n.store, j.n.registration+"-vh", outer
}

// node adds one processor of the join.
func (j *foreignJoin[K, L, KF, R, VR]) node(name, parent string, stores ...string) {
	s := &step{b: j.st.b, o: j.st.o, name: name, bad: j.st.bad}
	s.processor(parent)
	s.connectAll(stores)
	j.st.bad = s.bad
}

// wire adds everything up to the results.
func (j *foreignJoin[K, L, KF, R, VR]) wire() *flow[K, VR] {
	b, n, st := j.left.b, j.n, j.st
	j.left.view.tell(st, true)
	j.right.view.tell(st, true)
	subscribed := &flow[KF, op.Subscription[K]]{Name: n.subscribe}
	j.node(n.subscribe, j.left.out.Name)
	received := through(st, subscribed, hop[KF, op.Subscription[K]]{
		topic: n.registration, sink: n.subscribeSink, source: n.subscribeSource, parents: []string{n.subscribe},
		key: j.how.Foreign, value: op.SubscriptionSerde(j.how.Key), partition: j.place,
	})
	st.addStore((&options{set: setCache}).keyValue(n.store))
	if st.bad {
		return nil
	}
	j.node(n.receive, n.subscribeSource, n.store)
	j.node(n.respond, n.receive, j.right.view.keep(st)...)
	j.node(n.publish, j.right.out.Name, n.store)
	answers := &flow[K, op.Answer[R]]{Name: n.responseSink}
	answered := through(st, answers, hop[K, op.Answer[R]]{
		topic: n.response, sink: n.responseSink, source: n.responseSource, parents: []string{n.respond, n.publish},
		key: j.how.Key, value: op.AnswerSerde(j.value), partition: &op.Place[K, op.Answer[R]]{Known: op.AnswerPartition[R]},
	})
	j.node(n.resolve, n.responseSource, j.left.view.keep(st)...)
	if st.bad {
		return nil
	}
	b.graph.Copartition(st.at(), n.subscribeSource, j.right.out.Name)
	b.graph.Copartition(st.at(), n.responseSource, j.left.out.Name)
	j.flowRight(subscribed, received, answers)
	results := &flow[K, VR]{Name: n.resolve}
	wiring.Pass(answered, results, func(a *assembly, next op.Next[K, VR]) (op.Next[K, op.Answer[R]], error) {
		rows, err := j.left.view.open(a)
		if err != nil {
			return nil, err
		}
		return op.Resolve(a.Env, n.resolve, j.how, rows, j.join, next), nil
	})
	return results
}

// flowRight connects what leads to the answers.
func (j *foreignJoin[K, L, KF, R, VR]) flowRight(subscribed, received *flow[KF, op.Subscription[K]], answers *flow[K, op.Answer[R]]) {
	wiring.Pass(j.left.out, subscribed, func(a *assembly, next op.Next[KF, op.Subscription[K]]) (op.Next[K, op.Change[L]], error) {
		return op.Subscribe(a.Env, j.n.subscribe, j.how, j.extract, j.left.view.versioned, next), nil
	})
	wiring.Pass(received, answers, func(a *assembly, next op.Next[K, op.Answer[R]]) (op.Next[KF, op.Subscription[K]], error) {
		rows, err := j.right.view.open(a)
		if err != nil {
			return nil, err
		}
		return op.Receive(a.Env, j.n.receive, j.how, op.Respond(a.Env, j.n.respond, rows, next))
	})
	wiring.Pass(j.right.out, answers, func(a *assembly, next op.Next[K, op.Answer[R]]) (op.Next[KF, op.Change[R]], error) {
		return op.Publish(a.Env, j.n.publish, j.how, j.right.view.versioned, next)
	})
}
