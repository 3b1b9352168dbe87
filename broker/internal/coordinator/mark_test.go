package coordinator

import (
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/machine"
)

// mark marks partition 0. The answer is there after a synctest.Wait, if it comes.
func (b *bench) mark(m machine.Marker) *answer {
	a := &answer{}
	b.Mark(0, m, func(v any, err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.value, a.err = v, err
		a.times++
	})
	return a
}

// TestMarkersKeepTheirPlace: a marker stands in the log behind what was decided before it and before
// what was decided after, is answered on its commit, and what piles up leaves in one append.
func TestMarkersKeepTheirPlace(t *testing.T) {
	bubble(t, Options{}, func(b *bench) {
		log := &fakeLog{slow: true}
		b.loaded(log)
		b.ask(put{"a", "1"})
		b.ask(txn{7})
		commit := b.mark(machine.Marker{ProducerID: 7, ProducerEpoch: 3, CoordinatorEpoch: 5, Commit: true})
		b.ask(txn{7})
		abort := b.mark(machine.Marker{ProducerID: 7, ProducerEpoch: 4, CoordinatorEpoch: 5})
		after := b.ask(put{"b", "2"})
		b.waits("a marker before its commit", commit)
		log.commit(nil)
		b.waits("a marker whose append is under way", commit)
		log.commit(nil)
		b.expect("commit", commit, nil, nil)
		b.expect("abort", abort, nil, nil)
		b.expect("a write behind it", after, "2", nil)
		if log.appends != 2 {
			b.Errorf("%d appends, want 2", log.appends)
		}
		type place struct {
			producer int64
			epoch    int16
			control  bool
		}
		var got []place
		for _, batch := range log.batches {
			if err := batch.Intact(); err != nil {
				b.Fatal(err)
			}
			got = append(got, place{batch.ProducerID(), batch.ProducerEpoch(), batch.IsControl()})
		}
		want := []place{{-1, -1, false}, {7, 0, false}, {7, 3, true}, {7, 0, false}, {7, 4, true}, {-1, -1, false}}
		if !equal(got, want) {
			b.Errorf("log: %v, want %v", got, want)
		}
		c, err := log.batches[2].Control()
		if err != nil || c.CoordinatorEpoch != 5 || !c.IsEndTxn() {
			b.Errorf("control record %+v, %v", c, err)
		}
	})
}

func TestAppendsAreBounded(t *testing.T) {
	bubble(t, Options{MaxBatchBytes: 200}, func(b *bench) {
		log := &fakeLog{slow: true}
		b.loaded(log)
		b.ask(put{"a", "1"})
		var marks []*answer
		for i := range 5 { // each about 78 bytes
			marks = append(marks, b.mark(machine.Marker{ProducerID: int64(i)}))
		}
		for range 4 {
			log.commit(nil)
		}
		for _, m := range marks {
			b.expect("marker", m, nil, nil)
		}
		if log.appends != 4 {
			b.Errorf("%d appends, want the record, 2, 2 and 1 markers", log.appends)
		}
	})
}

func TestMarkersAreRefused(t *testing.T) {
	bubble(t, Options{}, func(b *bench) {
		b.expect("not hosted", b.mark(machine.Marker{}), nil, kerr.NotCoordinator)
		log := &fakeLog{}
		b.loaded(log)
		log.checkErr = kerr.TransactionCoordinatorFenced
		b.expect("from the past", b.mark(machine.Marker{}), nil, kerr.TransactionCoordinatorFenced)
		if log.appends != 0 {
			b.Errorf("a refused marker was appended")
		}
		log.checkErr = nil
		log.appendErr = kerr.NotLeaderForPartition
		b.expect("not appended", b.mark(machine.Marker{}), nil, kerr.NotCoordinator)
		var once sync.Once
		b.Mark(9, machine.Marker{}, func(_ any, err error) {
			once.Do(func() { b.expect("no such partition", &answer{err: err, times: 1}, nil, kerr.NotCoordinator) })
		})
	})
}
