package txn

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"pgregory.net/rapid"

	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/machine/machinetest"
)

func TestLaws(t *testing.T) {
	o := DefaultOptions()
	o.MaxTimeout, o.AbortCheck, o.Expiration, o.ExpireCheck = 10*time.Second, time.Second, 30*time.Second, 10*time.Second
	o.MaxRecordBytes = 150
	machinetest.Check(t, machinetest.Subject{
		New:    func() machine.Machine { return New(o, 3) },
		Event:  drawEvent,
		Answer: drawAnswer,
		Record: drawRecord,
		Durable: func(m machine.Machine) any {
			out := map[string]string{}
			for id, x := range m.(*Machine).durable {
				out[id] = fmt.Sprintf("%q", x.encode())
			}
			return out
		},
		Agrees: func(m machine.Machine) error { return agrees(m.(*Machine)) },
		Waits: func(event any) bool {
			switch event.(type) {
			case *AddPartitions, *EndTxn:
				return true
			}
			return false
		},
	})
}

// agrees says where soft state rests on durable state: what is being completed is in a Prepare state,
// and the other way round; what is ongoing is watched.
func agrees(m *Machine) error {
	for id, x := range m.durable {
		c := m.completing[id]
		switch {
		case x.state.completing() && c == nil:
			return fmt.Errorf("%s is %s and nobody completes it", id, x.state)
		case !x.state.completing() && c != nil:
			return fmt.Errorf("%s is %s and is being completed", id, x.state)
		case x.state == Ongoing && !m.watching:
			return fmt.Errorf("%s is ongoing and nobody watches", id)
		case x.state != Ongoing && !x.state.completing() && len(x.partitions) > 0:
			return fmt.Errorf("%s is %s and has partitions", id, x.state)
		}
	}
	for id, c := range m.completing {
		if m.durable[id] == nil || len(c.left) == 0 {
			return fmt.Errorf("%s is completed in vain", id)
		}
	}
	return nil
}

func drawPartitions(t *rapid.T) []TopicPartition {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) TopicPartition {
		return TopicPartition{rapid.SampledFrom([]string{"t", "u"}).Draw(t, "topic"), rapid.Int32Range(0, 4).Draw(t, "partition")}
	}), 0, 4).Draw(t, "partitions")
}

func drawEvent(t *rapid.T, answers []machine.Reply) any {
	id := rapid.SampledFrom([]string{"a", "a", "a", "b"}).Draw(t, "id")
	known := []Producer{{noProducer, noEpoch}}
	for _, r := range answers {
		if p, ok := r.Value.(Producer); ok {
			known = append(known, p)
		}
	}
	p := known[len(known)-1]
	if rapid.IntRange(0, 3).Draw(t, "any") == 0 {
		p = rapid.SampledFrom(known[max(0, len(known)-5):]).Draw(t, "producer")
		p.Epoch += int16(rapid.IntRange(-1, 1).Draw(t, "off"))
	}
	fresh := int64(len(answers)) + 10
	if rapid.IntRange(0, 4).Draw(t, "no id") == 0 {
		fresh = noProducer
	}
	switch rapid.IntRange(0, 9).Draw(t, "event") {
	case 0, 1:
		e := &InitProducer{TransactionalID: id, Timeout: time.Duration(rapid.IntRange(0, 11).Draw(t, "timeout")) * time.Second, ProducerID: noProducer, ProducerEpoch: noEpoch, NewProducerID: fresh}
		if rapid.Bool().Draw(t, "keep") {
			e.ProducerID, e.ProducerEpoch = p.ID, p.Epoch
		}
		return e
	case 2, 3, 4, 5:
		return &AddPartitions{
			TransactionalID: id, ProducerID: p.ID, ProducerEpoch: p.Epoch, Partitions: drawPartitions(t),
			Verify: rapid.IntRange(0, 4).Draw(t, "verify") == 0, Explicit: rapid.Bool().Draw(t, "explicit"),
		}
	case 6, 7, 8:
		return &EndTxn{
			TransactionalID: id, ProducerID: p.ID, ProducerEpoch: p.Epoch, Commit: rapid.Bool().Draw(t, "commit"),
			Bump: rapid.IntRange(0, 3).Draw(t, "v1") > 0, NewProducerID: fresh,
		}
	default:
		return rapid.SampledFrom([]any{&Describe{id}, &List{Duration: -1}, &List{States: []string{"Ongoing"}, ProducerIDs: []int64{10, 11, 12}}}).Draw(t, "admin")
	}
}

func drawAnswer(t *rapid.T, s machine.Send) (any, error) {
	if rapid.IntRange(0, 5).Draw(t, "lost") == 0 {
		return nil, errors.New("lost")
	}
	w, ok := s.Request.(*WriteMarkers)
	if !ok {
		t.Fatalf("%T is sent", s.Request)
	}
	errs := make([]error, len(w.Partitions))
	for i := range errs {
		errs[i] = rapid.SampledFrom([]error{nil, nil, nil, kerr.NotLeaderForPartition, kerr.UnknownTopicOrPartition, kerr.InvalidProducerEpoch}).Draw(t, "error")
	}
	return errs, nil
}

// drawRecord draws bytes of any kind: random ones, and good ones that were cut or changed.
func drawRecord(t *rapid.T) machine.Record {
	r := machine.Record{Key: rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "key"), Value: rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "value")}
	if rapid.IntRange(0, 3).Draw(t, "good") > 0 {
		r.Key = encodeKey(rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "id"))
		x := drawTransaction(t)
		r.Value = x.encode()
	}
	if rapid.IntRange(0, 5).Draw(t, "tombstone") == 0 {
		r.Value = nil
	}
	for _, b := range [][]byte{r.Key, r.Value} {
		if len(b) > 0 && rapid.IntRange(0, 4).Draw(t, "broken") == 0 {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
	}
	if n := len(r.Value); n > 0 && rapid.IntRange(0, 4).Draw(t, "cut") == 0 {
		r.Value = slices.Clone(r.Value[:rapid.IntRange(0, n-1).Draw(t, "length")])
	}
	return r
}

func drawTransaction(t *rapid.T) *transaction {
	epochs := rapid.OneOf(rapid.Int16(), rapid.Int16Range(lastEpoch-3, lastEpoch))
	x := &transaction{
		producerID: rapid.Int64Range(-1, 3).Draw(t, "producer"), previousID: rapid.Int64Range(-1, 3).Draw(t, "previous"),
		nextID: rapid.Int64Range(-1, 3).Draw(t, "next"), epoch: epochs.Draw(t, "epoch"), timeout: rapid.Int32().Draw(t, "timeout"),
		state: State(rapid.IntRange(int(Empty), int(CompleteAbort)).Draw(t, "state")), updated: rapid.Int64().Draw(t, "updated"),
		started: rapid.Int64().Draw(t, "started"), version: rapid.Int16().Draw(t, "version"),
	}
	if x.state != Empty {
		x.partitions = x.with(drawPartitions(t))
	}
	return x
}
