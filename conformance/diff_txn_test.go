package conformance

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// diffTransactions walks transactional ids through every API of transactions: in order, repeated, by
// producers that were fenced, and by such that never were.
func diffTransactions(d *duel) {
	d.topic("txn", 3)
	d.topic("txn-other", 1)
	diffInitTransactional(d)
	for _, version := range []int16{0, 3, 4, 5} { // 4 is the first that raises the epoch of others, 5 that of itself
		diffLife(d, version)
	}
	diffOffsetsInTransactions(d)
	diffTransactionAdmin(d)
	diffMarkers(d)
	diffCutTransactions(d)
}

func initOf(id string, timeout int32) *kmsg.InitProducerIDRequest {
	r := kmsg.NewPtrInitProducerIDRequest()
	r.TransactionalID, r.TransactionTimeoutMillis = &id, timeout
	return r
}

// producer takes an id over and waits until both sides have given it.
func (d *duel) producer(id string) {
	d.t.Helper()
	for _, s := range []*side{d.kafka, d.weir} {
		waitFor(d.t, s.name+" to give "+id+" away", func() bool {
			coordinator := kmsg.NewPtrFindCoordinatorRequest() // makes the topic of transactions
			coordinator.Version, coordinator.CoordinatorKey, coordinator.CoordinatorType = 3, id, 1
			s.send(coordinator)
			r := initOf(id, 60_000)
			r.Version = 4
			resp, ok := s.send(r).(*kmsg.InitProducerIDResponse)
			if ok && resp.ErrorCode == 0 {
				s.number["pid"], s.number["epoch"] = resp.ProducerID, int64(resp.ProducerEpoch)
			}
			return ok && resp.ErrorCode == 0
		})
	}
}

// settled waits until no markers are under way for an id.
func (d *duel) settled(id string) {
	d.t.Helper()
	for _, s := range []*side{d.kafka, d.weir} {
		waitFor(d.t, s.name+" to settle "+id, func() bool {
			resp, ok := s.send(describeOf(id)).(*kmsg.DescribeTransactionsResponse)
			state := ""
			if ok {
				state = resp.TransactionStates[0].State
			}
			return ok && state != "PrepareCommit" && state != "PrepareAbort"
		})
	}
}

func describeOf(ids ...string) *kmsg.DescribeTransactionsRequest {
	r := kmsg.NewPtrDescribeTransactionsRequest()
	r.TransactionalIDs = ids
	return r
}

// describe compares all that is told of an id but for its times and producer id.
func (d *duel) describe(what, id string) {
	d.t.Helper()
	d.settled(id)
	d.do(what, 0, same(describeOf(id)))
}

func diffInitTransactional(d *duel) {
	d.each(kmsg.InitProducerID, func(v int16) {
		id := fmt.Sprintf("init-%d", v)
		ask := func(what string, change func(s *side, r *kmsg.InitProducerIDRequest)) {
			k, w := d.do(what, v, func(s *side) kmsg.Request {
				r := initOf(id, 60_000)
				if change != nil {
					change(s, r)
				}
				return r
			})
			both(d, k, w, func(s *side, r *kmsg.InitProducerIDResponse) {
				if r.ErrorCode == 0 {
					s.number["pid"], s.number["epoch"] = r.ProducerID, int64(r.ProducerEpoch)
				}
			})
		}
		d.producer(id)
		ask("again", nil)
		ask("timeout -1", func(_ *side, r *kmsg.InitProducerIDRequest) { r.TransactionTimeoutMillis = -1 })
		ask("timeout 0", func(_ *side, r *kmsg.InitProducerIDRequest) { r.TransactionTimeoutMillis = 0 })
		ask("timeout too long", func(_ *side, r *kmsg.InitProducerIDRequest) { r.TransactionTimeoutMillis = 900_001 })
		ask("timeout longest", func(_ *side, r *kmsg.InitProducerIDRequest) { r.TransactionTimeoutMillis = 900_000 })
		ask("empty id", func(_ *side, r *kmsg.InitProducerIDRequest) { r.TransactionalID = new("") })
		own := func(epoch int16) func(s *side, r *kmsg.InitProducerIDRequest) {
			return func(s *side, r *kmsg.InitProducerIDRequest) {
				r.ProducerID, r.ProducerEpoch = s.number["pid"], int16(s.number["epoch"])+epoch
			}
		}
		ask("its own identity", own(0))
		ask("its last identity", own(-1))
		ask("its last identity again", own(-1))
		ask("an identity of long ago", own(-2))
		ask("an identity to come", own(1))
		ask("another producer id", func(s *side, r *kmsg.InitProducerIDRequest) { r.ProducerID, r.ProducerEpoch = s.number["pid"]+1, 0 })
		ask("a producer id without an epoch", func(s *side, r *kmsg.InitProducerIDRequest) { r.ProducerID = s.number["pid"] })
		ask("an epoch without a producer id", func(_ *side, r *kmsg.InitProducerIDRequest) { r.ProducerEpoch = 0 })
		ask("an unknown id with an identity", func(_ *side, r *kmsg.InitProducerIDRequest) {
			r.TransactionalID, r.ProducerID, r.ProducerEpoch = new(id+"-new"), 77, 5
		})
		d.describe("after all", id)
	})
}

// life is one transactional id under test.
type life struct {
	*duel
	id       string
	endTxn   int16 // version of EndTxn
	sequence map[string]int32
}

func (l *life) add(what string, version int16, change func(s *side, x *kmsg.AddPartitionsToTxnRequestTransaction)) {
	l.t.Helper()
	version = l.clip(kmsg.AddPartitionsToTxn, version)
	l.do(what, version, func(s *side) kmsg.Request {
		x := kmsg.NewAddPartitionsToTxnRequestTransaction()
		x.TransactionalID, x.ProducerID, x.ProducerEpoch = l.id, s.number["pid"], int16(s.number["epoch"])
		x.Topics = []kmsg.AddPartitionsToTxnRequestTransactionTopic{{Topic: "txn", Partitions: []int32{0}}}
		if change != nil {
			change(s, &x)
		}
		r := kmsg.NewPtrAddPartitionsToTxnRequest()
		r.Transactions = append(r.Transactions, x)
		r.TransactionalID, r.ProducerID, r.ProducerEpoch = x.TransactionalID, x.ProducerID, x.ProducerEpoch
		for _, t := range x.Topics {
			r.Topics = append(r.Topics, kmsg.AddPartitionsToTxnRequestTopic{Topic: t.Topic, Partitions: t.Partitions})
		}
		return r
	})
}

// produce writes one record; sequence -1 is the next.
func (l *life) produce(what string, version int16, epoch int16, sequence int32, change func(b *kmsg.RecordBatch)) {
	l.t.Helper()
	var next int32
	k, w := l.do(what, version, func(s *side) kmsg.Request {
		at := fmt.Sprint(s.number["pid"], s.number["epoch"]+int64(epoch))
		if next = sequence; next < 0 {
			next = l.sequence[s.name+at]
		}
		r := produceOf(s, -1, "txn", batchOf(1, func(b *kmsg.RecordBatch) {
			b.ProducerID, b.ProducerEpoch, b.FirstSequence, b.Attributes = s.number["pid"], int16(s.number["epoch"])+epoch, next, 1<<4
			if change != nil {
				change(b)
			}
		}))
		r.TransactionID = &l.id
		return r
	})
	both(l.duel, k, w, func(s *side, r *kmsg.ProduceResponse) {
		if r.Topics[0].Partitions[0].ErrorCode == 0 && sequence < 0 {
			l.sequence[s.name+fmt.Sprint(s.number["pid"], s.number["epoch"]+int64(epoch))] = next + 1
		}
	})
}

func (l *life) end(what string, commit bool, change func(s *side, r *kmsg.EndTxnRequest)) {
	l.t.Helper()
	k, w := l.do(what, l.endTxn, func(s *side) kmsg.Request {
		r := kmsg.NewPtrEndTxnRequest()
		r.TransactionalID, r.ProducerID, r.ProducerEpoch, r.Commit = l.id, s.number["pid"], int16(s.number["epoch"]), commit
		if change != nil {
			change(s, r)
		}
		return r
	})
	both(l.duel, k, w, func(s *side, r *kmsg.EndTxnResponse) {
		if r.ErrorCode == 0 && r.ProducerID >= 0 && l.endTxn >= 5 {
			s.number["pid"], s.number["epoch"] = r.ProducerID, int64(r.ProducerEpoch)
		}
	})
	l.settled(l.id)
}

func (l *life) read(what string) {
	l.t.Helper()
	for v := int16(4); v <= l.last(kmsg.Fetch); v += 4 {
		for _, isolation := range []int8{0, 1} {
			l.do(fmt.Sprintf("%s, isolation %d", what, isolation), v, func(s *side) kmsg.Request {
				r := fetchOf(s, 0, -1, fetched{"txn", 0, 0, 1 << 20, -1})
				r.IsolationLevel = isolation
				return r
			})
		}
	}
}

func diffLife(d *duel, version int16) {
	l := &life{duel: d, id: fmt.Sprintf("life-%d", version), endTxn: version, sequence: map[string]int32{}}
	d.producer(l.id)
	d.producer(l.id) // so that there is an epoch before
	fenced := func(by int16) func(s *side, r *kmsg.EndTxnRequest) {
		return func(s *side, r *kmsg.EndTxnRequest) { r.ProducerEpoch += by }
	}
	l.end("abort of nothing", false, nil)
	l.end("commit of nothing", true, nil)
	l.end("an epoch to come", true, fenced(1))
	l.end("an epoch before", false, fenced(-1))
	l.end("another producer id", true, func(_ *side, r *kmsg.EndTxnRequest) { r.ProducerID += 1000 })
	l.end("an unknown id", true, func(_ *side, r *kmsg.EndTxnRequest) { r.TransactionalID = "nobody" })
	l.end("an empty id", true, func(_ *side, r *kmsg.EndTxnRequest) { r.TransactionalID = "" })
	d.describe("before the first", l.id)
	for _, v := range []int16{9, 11} {
		l.produce("not in a transaction", v, 0, -1, nil)
	}
	for v := range d.last(kmsg.AddPartitionsToTxn) + 1 {
		l.add("unknown id", v, func(_ *side, x *kmsg.AddPartitionsToTxnRequestTransaction) { x.TransactionalID = "nobody" })
		l.add("empty id", v, func(_ *side, x *kmsg.AddPartitionsToTxnRequestTransaction) { x.TransactionalID = "" })
		l.add("another producer id", v, func(_ *side, x *kmsg.AddPartitionsToTxnRequestTransaction) { x.ProducerID++ })
		l.add("an epoch to come", v, func(_ *side, x *kmsg.AddPartitionsToTxnRequestTransaction) { x.ProducerEpoch++ })
		l.add("an epoch before", v, func(_ *side, x *kmsg.AddPartitionsToTxnRequestTransaction) { x.ProducerEpoch-- })
		l.add("unknown topic and another", v, func(_ *side, x *kmsg.AddPartitionsToTxnRequestTransaction) {
			x.Topics = append(x.Topics, kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: "nowhere", Partitions: []int32{0}})
		})
		l.add("unknown partition", v, func(_ *side, x *kmsg.AddPartitionsToTxnRequestTransaction) { x.Topics[0].Partitions = []int32{9} })
		l.add("an internal topic", v, func(_ *side, x *kmsg.AddPartitionsToTxnRequestTransaction) {
			x.Topics[0].Topic = "__transaction_state"
		})
		l.add("no partition", v, func(_ *side, x *kmsg.AddPartitionsToTxnRequestTransaction) { x.Topics[0].Partitions = nil })
		if v >= 4 {
			l.add("verify what is not in", v, func(_ *side, x *kmsg.AddPartitionsToTxnRequestTransaction) {
				x.VerifyOnly, x.Topics[0].Partitions = true, []int32{2}
			})
		}
	}
	d.describe("without partitions", l.id)
	for round := range 2 {
		commit := round == 0
		l.add("good", 3, nil)
		l.add("again", 3, nil)
		l.add("two more", 4, func(_ *side, x *kmsg.AddPartitionsToTxnRequestTransaction) {
			x.Topics = []kmsg.AddPartitionsToTxnRequestTransactionTopic{{Topic: "txn-other", Partitions: []int32{0}}, {Topic: "txn", Partitions: []int32{1}}}
		})
		l.add("verify", 5, func(_ *side, x *kmsg.AddPartitionsToTxnRequestTransaction) { x.VerifyOnly = true })
		l.produce("good", 11, 0, -1, nil)
		l.produce("good", 9, 0, -1, nil)
		l.produce("a duplicate", 9, 0, 0, nil)
		l.produce("a gap", 9, 0, 7, nil)
		l.produce("not transactional in a transaction", 9, 0, -1, func(b *kmsg.RecordBatch) { b.Attributes = 0 })
		l.produce("an epoch before", 9, -1, 0, nil)
		l.produce("an epoch to come", 9, 1, 0, nil)
		l.produce("another producer", 9, 0, 0, func(b *kmsg.RecordBatch) { b.ProducerID += 5000 })
		d.describe("under way", l.id)
		l.read("under way")
		for _, isolation := range []int8{0, 1} {
			d.do(fmt.Sprintf("end under way, isolation %d", isolation), 5, listOffsetsOf("txn", 0, -1, -1, isolation))
		}
		l.end("an epoch before", commit, fenced(-1))
		l.end("an epoch to come", commit, fenced(1))
		l.end("good", commit, nil)
		back := int16(0)
		if version >= 5 {
			back = -1
		}
		l.end("again", commit, fenced(back))
		l.end("the opposite", !commit, fenced(back))
		d.describe("after the end", l.id)
		l.read("after the end")
		l.produce("late", 9, back, -1, nil)
		if version < 5 {
			l.produce("late, old epoch", 9, -1, -1, nil)
		}
		d.describe("after a late record", l.id)
	}
	l.produce("by produce alone", 12, 0, -1, nil)
	d.describe("begun by produce", l.id)
	l.end("begun by produce", true, nil)
	l.add("then fenced", 3, nil)
	l.produce("then fenced", 9, 0, -1, nil)
	pid := map[string]int64{d.kafka.name: d.kafka.number["epoch"], d.weir.name: d.weir.number["epoch"]}
	d.producer(l.id)
	d.describe("taken over", l.id)
	old := func(s *side) int16 { return int16(pid[s.name]) }
	l.add("fenced", 3, func(s *side, x *kmsg.AddPartitionsToTxnRequestTransaction) { x.ProducerEpoch = old(s) })
	l.end("fenced", true, func(s *side, r *kmsg.EndTxnRequest) { r.ProducerEpoch = old(s) })
	for _, v := range []int16{3, 9, 11, 12, 13} {
		l.do("fenced", v, func(s *side) kmsg.Request {
			r := produceOf(s, -1, "txn", batchOf(1, func(b *kmsg.RecordBatch) {
				b.ProducerID, b.ProducerEpoch, b.FirstSequence, b.Attributes = s.number["pid"], old(s), 1, 1<<4
			}))
			r.TransactionID = &l.id
			return r
		})
	}
	l.read("after fencing")
	for _, v := range []int16{9, 12} {
		d.do("transactional without a transactional id", v, func(s *side) kmsg.Request {
			return produceOf(s, -1, "txn", batchOf(1, func(b *kmsg.RecordBatch) {
				b.ProducerID, b.ProducerEpoch, b.FirstSequence, b.Attributes = s.number["pid"], int16(s.number["epoch"]), 0, 1<<4
			}))
		})
		l.produce("by an id that is not known", v, 0, 0, func(b *kmsg.RecordBatch) { b.ProducerID += 9000 + int64(v) })
	}
	d.do("transactional with acks 1", 9, func(s *side) kmsg.Request {
		r := produceOf(s, 1, "txn", batchOf(1, func(b *kmsg.RecordBatch) {
			b.ProducerID, b.ProducerEpoch, b.FirstSequence, b.Attributes = s.number["pid"], int16(s.number["epoch"]), 0, 1<<4
		}))
		r.TransactionID = &l.id
		return r
	})
}

func diffOffsetsInTransactions(d *duel) {
	l := &life{duel: d, id: "offsets-in", endTxn: 3, sequence: map[string]int32{}}
	d.producer(l.id)
	// The group has no members; a generation and a member are refused.
	addOffsets := func(what string, v int16, change func(r *kmsg.AddOffsetsToTxnRequest)) {
		d.do(what, v, func(s *side) kmsg.Request {
			r := kmsg.NewPtrAddOffsetsToTxnRequest()
			r.TransactionalID, r.ProducerID, r.ProducerEpoch, r.Group = l.id, s.number["pid"], int16(s.number["epoch"]), "txn-group"
			if change != nil {
				change(r)
			}
			return r
		})
	}
	commit := func(what string, v int16, change func(s *side, r *kmsg.TxnOffsetCommitRequest)) {
		d.do(what, v, func(s *side) kmsg.Request {
			r := kmsg.NewPtrTxnOffsetCommitRequest()
			r.TransactionalID, r.ProducerID, r.ProducerEpoch, r.Group = l.id, s.number["pid"], int16(s.number["epoch"]), "txn-group"
			r.Generation = -1
			t := kmsg.NewTxnOffsetCommitRequestTopic()
			t.Topic = "txn"
			p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			p.Offset, p.LeaderEpoch = 5, -1
			t.Partitions = append(t.Partitions, p)
			r.Topics = append(r.Topics, t)
			if change != nil {
				change(s, r)
			}
			return r
		})
	}
	offsets := func(what string, stable bool) {
		for v := int16(7); v <= 8; v++ {
			d.do(what, v, func(*side) kmsg.Request {
				r := kmsg.NewPtrOffsetFetchRequest()
				r.Group, r.RequireStable = "txn-group", stable
				r.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "txn", Partitions: []int32{0, 1}}}
				r.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "txn-group", MemberEpoch: -1, Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "txn", Partitions: []int32{0, 1}}}}}
				return r
			})
		}
	}
	for _, s := range []*side{d.kafka, d.weir} { // makes the topic of offsets
		waitFor(d.t, s.name+" to have a coordinator", func() bool {
			r := kmsg.NewPtrOffsetFetchRequest()
			r.Version, r.Group = 7, "txn-group"
			f := kmsg.NewPtrFindCoordinatorRequest()
			f.CoordinatorKey = "txn-group"
			s.send(f)
			resp, ok := s.send(r).(*kmsg.OffsetFetchResponse)
			return ok && resp.ErrorCode == 0
		})
	}
	for v := range d.last(kmsg.AddOffsetsToTxn) + 1 {
		addOffsets("unknown id", v, func(r *kmsg.AddOffsetsToTxnRequest) { r.TransactionalID = "nobody" })
		addOffsets("empty id", v, func(r *kmsg.AddOffsetsToTxnRequest) { r.TransactionalID = "" })
		addOffsets("another producer id", v, func(r *kmsg.AddOffsetsToTxnRequest) { r.ProducerID++ })
		addOffsets("an epoch to come", v, func(r *kmsg.AddOffsetsToTxnRequest) { r.ProducerEpoch++ })
	}
	for v := range d.last(kmsg.TxnOffsetCommit) + 1 {
		d.producer(l.id)
		if v < 5 {
			commit("not in the transaction", v, nil)
		}
		addOffsets("good", min(v, 3), nil)
		commit("good", v, nil)
		commit("another partition", v, func(_ *side, r *kmsg.TxnOffsetCommitRequest) {
			r.Topics[0].Partitions[0].Partition, r.Topics[0].Partitions[0].Metadata = 1, new("note")
		})
		commit("unknown partition", v, func(_ *side, r *kmsg.TxnOffsetCommitRequest) { r.Topics[0].Partitions[0].Partition = 99 })
		commit("unknown topic", v, func(_ *side, r *kmsg.TxnOffsetCommitRequest) { r.Topics[0].Topic = "nowhere" })
		commit("no topics", v, func(_ *side, r *kmsg.TxnOffsetCommitRequest) { r.Topics = nil })
		commit("a negative offset", v, func(_ *side, r *kmsg.TxnOffsetCommitRequest) { r.Topics[0].Partitions[0].Offset = -1 })
		commit("too much metadata", v, func(_ *side, r *kmsg.TxnOffsetCommitRequest) {
			r.Topics[0].Partitions[0].Metadata = new(fmt.Sprintf("%5000d", 1))
		})
		commit("an epoch to come", v, func(_ *side, r *kmsg.TxnOffsetCommitRequest) { r.ProducerEpoch++ })
		commit("an epoch before", v, func(_ *side, r *kmsg.TxnOffsetCommitRequest) { r.ProducerEpoch-- })
		commit("another producer id", v, func(_ *side, r *kmsg.TxnOffsetCommitRequest) { r.ProducerID += 10_000 })
		commit("another transactional id", v, func(_ *side, r *kmsg.TxnOffsetCommitRequest) { r.TransactionalID = "nobody" })
		commit("empty group", v, func(_ *side, r *kmsg.TxnOffsetCommitRequest) { r.Group = "" })
		if v >= 3 {
			commit("a generation of none", v, func(_ *side, r *kmsg.TxnOffsetCommitRequest) { r.Generation = 3 })
			commit("a member of none", v, func(_ *side, r *kmsg.TxnOffsetCommitRequest) { r.MemberID = "who" })
			commit("both of none", v, func(_ *side, r *kmsg.TxnOffsetCommitRequest) { r.MemberID, r.Generation = "who", 3 })
			commit("an instance of none", v, func(_ *side, r *kmsg.TxnOffsetCommitRequest) { r.InstanceID = new("i") })
		}
		offsets("pending", false)
		offsets("pending, stable wanted", true)
		d.describe("with offsets", l.id)
		l.end("with offsets", v%2 == 0, nil)
		offsets("ended", true)
	}
}

func diffTransactionAdmin(d *duel) {
	l := &life{duel: d, id: "admin", endTxn: 3, sequence: map[string]int32{}}
	d.producer(l.id)
	l.add("good", 3, nil)
	l.produce("good", 11, 0, -1, nil)
	d.do("many", 0, same(describeOf("admin", "nobody", "", "admin")))
	d.do("none", 0, same(describeOf()))
	d.each(kmsg.ListTransactions, func(v int16) {
		lists := []struct {
			what   string
			change func(s *side, r *kmsg.ListTransactionsRequest)
		}{
			{"of a producer", func(s *side, r *kmsg.ListTransactionsRequest) { r.ProducerIDFilters = []int64{s.number["pid"]} }},
			{"of no producer", func(_ *side, r *kmsg.ListTransactionsRequest) { r.ProducerIDFilters = []int64{1 << 40, -1} }},
			{"ongoing", func(_ *side, r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Ongoing"} }},
			{"states that are none", func(_ *side, r *kmsg.ListTransactionsRequest) {
				r.StateFilters = []string{"ongoing", "Nonsense", "Ongoing", "", "Nonsense"}
			}},
			{"only states that are none", func(_ *side, r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Nonsense"} }},
			{"dead", func(_ *side, r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Dead", "PrepareEpochFence"} }},
			{"longer than an hour", func(_ *side, r *kmsg.ListTransactionsRequest) {
				r.DurationFilterMillis, r.StateFilters = 3_600_000, []string{"Ongoing"}
			}},
			{"longer than nothing", func(_ *side, r *kmsg.ListTransactionsRequest) {
				r.DurationFilterMillis, r.StateFilters = 0, []string{"Ongoing"}
			}},
			{"a pattern", func(_ *side, r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = new("adm.*") }},
			{"a pattern in the middle", func(_ *side, r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = new("dmi") }},
			{"an empty pattern", func(_ *side, r *kmsg.ListTransactionsRequest) {
				r.TransactionalIDPattern, r.StateFilters = new(""), []string{"Ongoing"}
			}},
			{"a bad pattern", func(_ *side, r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = new("(") }},
		}
		for _, c := range lists {
			d.do(c.what, v, func(s *side) kmsg.Request {
				r := kmsg.NewPtrListTransactionsRequest()
				c.change(s, r)
				return r
			})
		}
	})
	d.producers("open and none", kmsg.DescribeProducersRequestTopic{Topic: "txn", Partitions: []int32{1, 2}})
	d.producers("unknown", kmsg.DescribeProducersRequestTopic{Topic: "nowhere", Partitions: []int32{0}}, kmsg.DescribeProducersRequestTopic{Topic: "txn", Partitions: []int32{9}})
	d.producers("bad name", kmsg.DescribeProducersRequestTopic{Topic: "a/b", Partitions: []int32{0}})
	d.producers("nothing")
	l.end("admin", false, nil)
}

// producers describes those of partitions.
func (d *duel) producers(what string, topics ...kmsg.DescribeProducersRequestTopic) {
	d.do(what, 0, func(*side) kmsg.Request {
		r := kmsg.NewPtrDescribeProducersRequest()
		r.Topics = topics
		return r
	})
}

// diffMarkers writes markers as an administrator does to end what hangs.
func diffMarkers(d *duel) {
	d.topic("txn-markers", 2)
	l := &life{duel: d, id: "markers", endTxn: 3, sequence: map[string]int32{}}
	d.each(kmsg.WriteTxnMarkers, func(v int16) {
		d.producer(l.id)
		mark := func(what string, change func(s *side, m *kmsg.WriteTxnMarkersRequestMarker)) {
			d.do(what, v, func(s *side) kmsg.Request {
				r := kmsg.NewPtrWriteTxnMarkersRequest()
				m := kmsg.NewWriteTxnMarkersRequestMarker()
				m.ProducerID, m.ProducerEpoch = s.number["pid"], int16(s.number["epoch"])
				m.Topics = []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: "txn-markers", Partitions: []int32{0}}}
				if change != nil {
					change(s, &m)
				}
				r.Markers = append(r.Markers, m)
				return r
			})
		}
		l.add("marked", 3, func(_ *side, x *kmsg.AddPartitionsToTxnRequestTransaction) { x.Topics[0].Topic = "txn-markers" })
		l.do("marked", 11, func(s *side) kmsg.Request {
			r := produceOf(s, -1, "txn-markers", batchOf(1, func(b *kmsg.RecordBatch) {
				b.ProducerID, b.ProducerEpoch, b.FirstSequence, b.Attributes = s.number["pid"], int16(s.number["epoch"]), 0, 1<<4
			}))
			r.TransactionID = &l.id
			return r
		})
		mark("an epoch before", func(_ *side, m *kmsg.WriteTxnMarkersRequestMarker) { m.ProducerEpoch-- })
		mark("unknown topic", func(_ *side, m *kmsg.WriteTxnMarkersRequestMarker) { m.Topics[0].Topic = "nowhere" })
		mark("unknown partition", func(_ *side, m *kmsg.WriteTxnMarkersRequestMarker) { m.Topics[0].Partitions = []int32{7} })
		mark("no partitions", func(_ *side, m *kmsg.WriteTxnMarkersRequestMarker) { m.Topics = nil })
		mark("good", nil)
		mark("again", nil)
		mark("a producer that is not known", func(_ *side, m *kmsg.WriteTxnMarkersRequestMarker) { m.ProducerID += 70_000 })
		later := func(epoch int32, version int8) func(s *side, m *kmsg.WriteTxnMarkersRequestMarker) {
			return func(_ *side, m *kmsg.WriteTxnMarkersRequestMarker) { // not where the real coordinator would be fenced
				m.CoordinatorEpoch, m.TransactionVersion, m.Topics[0].Partitions = epoch, version, []int32{1}
			}
		}
		mark("a later coordinator", later(5, 0))
		mark("an earlier coordinator", later(3, 0))
		mark("version 2 of transactions", later(5, 2))
		l.end("marked", false, nil)
		for _, isolation := range []int8{0, 1} {
			d.do(fmt.Sprintf("markers, isolation %d", isolation), 12, func(s *side) kmsg.Request {
				r := fetchOf(s, 0, -1, fetched{"txn-markers", 0, 0, 1 << 20, -1})
				r.IsolationLevel = isolation
				return r
			})
		}
	})
}
