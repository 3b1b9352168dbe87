package group

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"pgregory.net/rapid"

	"github.com/weirstream/weir/broker/internal/machine"
)

// offsetsModel is what transactions on offsets should come to: a map, and one more for each producer
// that counts or does not when its transaction ends. Whatever was written last stays.
type offsetsModel struct {
	committed map[string]written
	pending   map[int64]map[string]written
	epochs    map[int64]int16 // of open transactions
	order     int
}

type written struct {
	offset int64
	order  int
}

func (m *offsetsModel) put(into map[string]written, key string, offset int64) {
	m.order++
	into[key] = written{offset, m.order}
}

// txnDriver hosts a machine whose appends are committed when the test says so.
type txnDriver struct {
	*rapid.T
	m       *Machine
	model   offsetsModel
	log     []any // machine.Record or machine.Marker
	behind  int   // of log, not committed yet
	token   machine.Token
	errs    map[machine.Token]error
	asks    []machine.Send
	waiting map[machine.Token]*CommitInTransaction
	stale   map[any]bool // asks that a marker has overtaken
}

func newTxnDriver(t *rapid.T) *txnDriver {
	return &txnDriver{
		T: t, m: New(DefaultOptions()), errs: map[machine.Token]error{}, waiting: map[machine.Token]*CommitInTransaction{}, stale: map[any]bool{},
		model: offsetsModel{committed: map[string]written{}, pending: map[int64]map[string]written{}, epochs: map[int64]int16{}},
	}
}

func (d *txnDriver) decide(in machine.Input) {
	fx := d.m.Decide(time.Unix(1_700_000_000, 0), in)
	for _, r := range fx.Records {
		if err := d.m.Replay(r); err != nil {
			d.Fatal(err)
		}
		d.log = append(d.log, r)
		d.behind++
	}
	d.asks = append(d.asks, fx.Sends...)
	for _, r := range fx.Replies {
		d.errs[r.Token] = r.Err
		if e := d.waiting[r.Token]; e != nil {
			d.apply(e, r.Err)
			delete(d.waiting, r.Token)
		}
	}
}

// apply has the model take over what was answered.
func (d *txnDriver) apply(e *CommitInTransaction, err error) {
	if err != nil {
		return
	}
	if d.model.pending[e.ProducerID] == nil {
		d.model.pending[e.ProducerID] = map[string]written{}
	}
	d.model.epochs[e.ProducerID] = e.ProducerEpoch
	for _, o := range e.Offsets {
		d.model.put(d.model.pending[e.ProducerID], fmt.Sprint(e.Group, o.Partition), o.Offset)
	}
}

func (d *txnDriver) commitIn() {
	d.token++
	e := &CommitInTransaction{
		TransactionalID: "tx", ProducerID: rapid.Int64Range(1, 3).Draw(d.T, "producer"), ProducerEpoch: rapid.Int16Range(0, 2).Draw(d.T, "epoch"),
		Group: rapid.SampledFrom([]string{"g", "h"}).Draw(d.T, "group"), Generation: -1,
		Offsets: []CommitOffset{{Topic: "t", Partition: rapid.Int32Range(0, 2).Draw(d.T, "partition"), Offset: rapid.Int64Range(0, 99).Draw(d.T, "offset")}},
	}
	d.waiting[d.token] = e
	asked := len(d.asks)
	epoch, open := d.model.epochs[e.ProducerID]
	d.decide(machine.Input{Token: d.token, Event: e})
	_, waits := d.waiting[d.token]
	if fresh := !open || e.ProducerEpoch > epoch; fresh != waits || len(d.asks) > asked && !fresh {
		d.Fatalf("epoch %d with epoch %d open (%t): waits %t", e.ProducerEpoch, epoch, open, waits)
	}
	if open && e.ProducerEpoch < epoch && d.errs[d.token] == nil {
		d.Fatal("an older epoch got into the transaction of a newer one")
	}
}

func (d *txnDriver) answer() {
	if len(d.asks) == 0 {
		return
	}
	at := rapid.IntRange(0, len(d.asks)-1).Draw(d.T, "ask")
	send := d.asks[at]
	d.asks = append(d.asks[:at:at], d.asks[at+1:]...)
	err := rapid.SampledFrom([]error{nil, nil, nil, kerr.TransactionAbortable, kerr.NotCoordinator}).Draw(d.T, "answer")
	ask := send.Request.(*JoinTransaction)
	if epoch, open := d.model.epochs[ask.ProducerID]; open && epoch > ask.ProducerEpoch {
		err = kerr.ProducerFenced // what a coordinator has to say
	}
	before := len(d.log)
	d.decide(machine.Input{Event: machine.Answered{Send: send, Err: err}})
	if agreed := err == nil && !d.stale[send.Request]; agreed != (len(d.log) > before) {
		d.Fatalf("the coordinator's yes counts: %t, something was written: %t", agreed, !agreed)
	}
}

func (d *txnDriver) commitPlain() {
	d.token++
	e := &CommitOffsets{Version: 9, Group: "g", Generation: -1, Retention: -1, Offsets: []CommitOffset{
		{Topic: "t", Partition: rapid.Int32Range(0, 2).Draw(d.T, "partition"), Offset: rapid.Int64Range(100, 199).Draw(d.T, "offset")},
	}}
	d.model.put(d.model.committed, fmt.Sprint("g", e.Offsets[0].Partition), e.Offsets[0].Offset)
	d.decide(machine.Input{Token: d.token, Event: e})
}

func (d *txnDriver) mark() {
	m := machine.Marker{ProducerID: rapid.Int64Range(1, 3).Draw(d.T, "producer"), Commit: rapid.Bool().Draw(d.T, "commit")}
	m.ProducerEpoch = d.model.epochs[m.ProducerID]
	if m.Bumped = rapid.Bool().Draw(d.T, "bumped"); m.Bumped {
		m.ProducerEpoch++
	}
	d.m.ReplayMarker(m)
	d.log = append(d.log, m)
	d.behind++
	for _, s := range d.asks {
		if ask := s.Request.(*JoinTransaction); ask.ProducerID == m.ProducerID && (!m.Bumped || ask.ProducerEpoch < m.ProducerEpoch) {
			d.stale[ask] = true
		}
	}
	for key, w := range d.model.pending[m.ProducerID] {
		if m.Commit && d.model.committed[key].order < w.order {
			d.model.committed[key] = w
		}
	}
	delete(d.model.pending, m.ProducerID)
	delete(d.model.epochs, m.ProducerID)
}

// reload puts the log into an empty machine.
func (d *txnDriver) reload() {
	d.m = New(DefaultOptions())
	for _, entry := range d.log {
		switch e := entry.(type) {
		case machine.Record:
			if err := d.m.Replay(e); err != nil {
				d.Fatal(err)
			}
		case machine.Marker:
			d.m.ReplayMarker(e)
		}
		d.m.Commit(1)
	}
	d.behind, d.asks = 0, nil
	clear(d.waiting)
	d.decide(machine.Input{Event: machine.Loaded{}})
}

// check compares what is decided with the model, and unstable offsets with its pending ones.
func (d *txnDriver) check() {
	got, unstable, want, pending := map[string]int64{}, map[string]bool{}, map[string]int64{}, map[string]bool{}
	for key, w := range d.model.committed {
		want[key] = w.offset
	}
	for _, offsets := range d.model.pending {
		for key := range offsets {
			pending[key] = true
		}
	}
	for _, group := range []string{"g", "h"} {
		f := &FetchOffsets{Group: group, Topics: []TopicPartitions{{Topic: "t", Partitions: []int32{0, 1, 2}}}}
		for _, p := range d.m.durable.fetch(f, func(s *slot) *Offset { return s.latest })[0].Partitions {
			if p.Offset >= 0 {
				got[fmt.Sprint(group, p.Partition)] = p.Offset
			}
		}
		f.RequireStable = true
		for _, p := range d.m.durable.fetch(f, func(s *slot) *Offset { return s.latest })[0].Partitions {
			if p.Err != nil {
				unstable[fmt.Sprint(group, p.Partition)] = true
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		d.Fatalf("offsets (-model +machine):\n%s", diff)
	}
	if diff := cmp.Diff(pending, unstable); diff != "" {
		d.Fatalf("pending offsets (-model +machine):\n%s", diff)
	}
}

// TestTransactionsKeepToTheModel: whatever the order of commits, questions, answers, markers, plain
// commits and reloads, offsets come and go with their marker, and nothing is written after it.
func TestTransactionsKeepToTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newTxnDriver(t)
		d.decide(machine.Input{Event: machine.Loaded{}})
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 11).Draw(t, "step") {
			case 0, 1, 2, 3:
				d.commitIn()
			case 4, 5, 6:
				d.answer()
			case 7:
				d.commitPlain()
			case 8, 9:
				d.mark()
			case 10:
				d.m.Commit(d.behind)
				d.behind = 0
			default:
				if rapid.IntRange(0, 3).Draw(t, "reload") == 0 {
					d.reload()
				}
			}
			d.check()
		}
	})
}
