package coordinator

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/record"
)

func TestAnswersOnCommit(t *testing.T) {
	bubble(t, Options{}, func(b *bench) {
		log := &fakeLog{slow: true}
		b.loaded(log)
		a := b.ask(put{"a", "1"})
		b.waits("a write before its commit", a)
		latest := b.ask(read{"a"})
		b.waits("a reply that rests on what is not committed", latest)
		if v := b.queried("a"); v != "" {
			b.Fatalf("a query sees %v before the commit", v)
		}
		log.commit(nil)
		b.expect("write", a, "1", nil)
		b.expect("read", latest, "1", nil)
		if v := b.queried("a"); v != "1" {
			b.Fatalf("a query sees %v after the commit", v)
		}
		b.expect("read, nothing under way", b.ask(read{"a"}), "1", nil)
	})
}

func TestBurstSharesAppends(t *testing.T) {
	bubble(t, Options{}, func(b *bench) {
		log := &fakeLog{slow: true}
		b.loaded(log)
		first := b.ask(put{"k", "0"})
		var rest []*answer
		for range 50 {
			rest = append(rest, b.ask(put{"k", "n"}))
		}
		if log.appends != 1 {
			b.Fatalf("%d appends before the first commit", log.appends)
		}
		log.commit(nil)
		b.expect("first", first, "0", nil)
		b.waits("second", rest[0])
		log.commit(nil)
		for _, a := range rest {
			b.expect("rest", a, "n", nil)
		}
		if log.appends != 2 || log.batches[1].Count() != 50 {
			b.Fatalf("%d appends, the second of %d records", log.appends, log.batches[1].Count())
		}
		for _, batch := range log.batches {
			if err := batch.Check(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestLargeDecisionIsSplit(t *testing.T) {
	bubble(t, Options{MaxBatchBytes: 1000}, func(b *bench) {
		log := &fakeLog{}
		b.loaded(log)
		b.expect("burst", b.ask(burst{100}), nil, nil)
		for _, batch := range log.batches {
			if len(batch) > 1000 {
				b.Errorf("a batch of %d bytes", len(batch))
			}
		}
		if log.next != 100 {
			b.Errorf("%d records", log.next)
		}
	})
}

func TestTransactionsHaveTheirOwnBatches(t *testing.T) {
	bubble(t, Options{}, func(b *bench) {
		log := &fakeLog{slow: true}
		b.loaded(log)
		b.ask(put{"a", "1"})
		for _, e := range []any{txn{7}, txn{7}, txn{8}, put{"b", "2"}} {
			b.ask(e)
		}
		for len(log.waiting) > 0 {
			log.commit(nil)
		}
		var ids []int64
		for _, batch := range log.batches {
			ids = append(ids, batch.ProducerID())
			if batch.IsTransactional() != (batch.ProducerID() >= 0) {
				b.Errorf("batch of producer %d: transactional %v", batch.ProducerID(), batch.IsTransactional())
			}
		}
		if want := []int64{-1, 7, 8, -1}; !equal(ids, want) {
			b.Errorf("batches of producers %v, want %v", ids, want)
		}
	})
}

func equal[T comparable](a, b []T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestFailedAppendReloads(t *testing.T) {
	tests := map[string]struct {
		fail    func(l *fakeLog, err error)
		err     error
		answer  error
		written bool
	}{
		"not written":             {func(l *fakeLog, err error) { l.appendErr = err }, errors.New("disk"), kerr.CoordinatorNotAvailable, false},
		"written, outcome unsure": {func(l *fakeLog, err error) { l.lateErr = err }, kerr.RequestTimedOut, kerr.CoordinatorNotAvailable, true},
		"no longer the leader":    {func(l *fakeLog, err error) { l.appendErr = err }, kerr.NotLeaderForPartition, kerr.NotCoordinator, false},
		"fenced":                  {func(l *fakeLog, err error) { l.appendErr = err }, kerr.FencedLeaderEpoch, kerr.NotCoordinator, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(b *bench) {
				log := &fakeLog{}
				b.loaded(log)
				b.expect("a", b.ask(put{"a", "1"}), "1", nil)
				waiter := b.ask(wait{})
				b.expect("alarm", b.ask(alarm{time.Millisecond}), nil, nil)
				log.set(func() { test.fail(log, test.err) })
				failed := b.ask(put{"b", "2"})
				b.expect("the write that failed", failed, nil, test.answer)
				b.expect("whoever waited", waiter, nil, kerr.NotCoordinator)
				b.expect("meanwhile", b.ask(read{"a"}), nil, kerr.CoordinatorLoadInProgress)
				time.Sleep(200 * time.Millisecond)
				b.expect("a after the reload", b.ask(read{"a"}), "1", nil)
				want := ""
				if test.written {
					want = "2"
				}
				b.expect("b after the reload", b.ask(read{"b"}), want, nil)
				b.expect("another write", b.ask(put{"c", "3"}), "3", nil)
			})
		})
	}
}

func TestFailureTakesLaterDecisionsAlong(t *testing.T) {
	bubble(t, Options{}, func(b *bench) {
		log := &fakeLog{slow: true}
		b.loaded(log)
		first, second := b.ask(put{"a", "1"}), b.ask(put{"a", "2"})
		reader := b.ask(read{"a"})
		log.commit(errors.New("disk"))
		b.expect("first", first, nil, kerr.CoordinatorNotAvailable)
		b.expect("second, never appended", second, nil, kerr.CoordinatorNotAvailable)
		b.expect("a reader of them", reader, nil, kerr.CoordinatorNotAvailable)
		if log.appends != 1 {
			b.Errorf("%d appends", log.appends)
		}
	})
}

func TestLoadInProgress(t *testing.T) {
	bubble(t, Options{}, func(b *bench) {
		log := &fakeLog{reading: make(chan struct{})}
		batch := record.NewBuilder(record.Options{})
		batch.Append(1, []byte("a"), []byte("old"), nil)
		batch.Append(1, []byte("bad"), []byte("?"), nil)
		log.write(batch.Build())
		b.expect("before the load", b.ask(read{"a"}), nil, kerr.NotCoordinator)
		b.Load(0, 5, log)
		b.expect("submit", b.ask(read{"a"}), nil, kerr.CoordinatorLoadInProgress)
		if _, err := b.Query(0, read{"a"}); !errors.Is(err, kerr.CoordinatorLoadInProgress) {
			b.Errorf("query: %v", err)
		}
		b.Broadcast(put{"told", "later"})
		b.Load(0, 5, log)
		b.Load(0, 4, &fakeLog{})
		close(log.reading)
		synctest.Wait()
		b.expect("after the load", b.ask(read{"a"}), "old", nil)
		b.expect("what was told meanwhile", b.ask(read{"told"}), "later", nil)
		b.Broadcast(put{"told", "now"})
		b.expect("what is told now", b.ask(read{"told"}), "now", nil)
		if v := b.queried("a"); v != "old" {
			b.Errorf("query: %v", v)
		}
	})
}

func TestLoadReadsTransactionsAndMarkers(t *testing.T) {
	bubble(t, Options{}, func(b *bench) {
		log := &fakeLog{}
		builder := record.NewBuilder(record.Options{Transactional: true, Producer: &record.Producer{ID: 9, Epoch: 2}})
		builder.Append(1, []byte("t"), []byte("v"), nil)
		log.write(builder.Build())
		log.write(record.NewEndTxn(9, 2, record.Control{Type: record.Commit, CoordinatorEpoch: 4}, 1))
		log.write(record.NewEndTxn(9, 2, record.Control{Type: record.LeaderChange}, 1))
		log.write(record.NewEndTxn(9, 2, record.Control{Type: record.Abort, CoordinatorEpoch: 4}, 1).Emptied(nil)) // by Kafka's compaction
		b.loaded(log)
		v, err := b.Query(0, nil)
		if err != nil {
			b.Fatal(err)
		}
		m := v.(*toy)
		want := machine.Marker{ProducerID: 9, ProducerEpoch: 2, CoordinatorEpoch: 4, Commit: true}
		if m.txns != 1 || len(m.markers) != 1 || m.markers[0] != want {
			b.Errorf("%d records in transactions, markers %+v", m.txns, m.markers)
		}
	})
}

func TestFailedLoadIsTriedAgain(t *testing.T) {
	builder := record.NewBuilder(record.Options{})
	builder.Append(1, []byte("a"), []byte("1"), nil)
	good := builder.Build()
	cut := bytes.Clone(good)[:len(good)-1]
	broken := bytes.Clone(good)
	broken[record.HeaderSize] = 0xff
	tests := map[string]struct{ spoil, heal func(l *fakeLog) }{
		"a read fails":     {func(l *fakeLog) { l.readErr = errors.New("disk") }, func(l *fakeLog) { l.readErr = nil }},
		"the log ends":     {func(l *fakeLog) { l.gap = true }, func(l *fakeLog) { l.gap = false }},
		"a batch is cut":   {func(l *fakeLog) { l.batches[0] = cut }, func(l *fakeLog) { l.batches[0] = good }},
		"a batch is wrong": {func(l *fakeLog) { l.batches[0] = broken }, func(l *fakeLog) { l.batches[0] = good }},
		"a marker is wrong": {
			func(l *fakeLog) { l.batches[0] = control([]byte{0}) }, func(l *fakeLog) { l.batches[0] = good },
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(b *bench) {
				log := &fakeLog{}
				log.write(good)
				log.set(func() { test.spoil(log) })
				b.Load(0, 1, log)
				b.expect("loading", b.ask(read{"a"}), nil, kerr.CoordinatorLoadInProgress)
				time.Sleep(time.Second)
				b.expect("still loading", b.ask(read{"a"}), nil, kerr.CoordinatorLoadInProgress)
				log.set(func() { test.heal(log) })
				time.Sleep(time.Second)
				b.expect("loaded", b.ask(read{"a"}), "1", nil)
			})
		})
	}
}

func control(key []byte) record.Batch {
	builder := record.NewBuilder(record.Options{Control: true})
	builder.Append(1, key, nil, nil)
	return builder.Build()
}

func TestUnload(t *testing.T) {
	bubble(t, Options{}, func(b *bench) {
		log := &fakeLog{slow: true}
		b.loaded(log)
		waiter, writer := b.ask(wait{}), b.ask(put{"a", "1"})
		b.ask(alarm{time.Hour})
		b.Unload(0, 0)
		b.waits("an unload of an older epoch", waiter)
		b.Unload(0, 1)
		b.expect("whoever waited for the machine", waiter, nil, kerr.NotCoordinator)
		b.expect("whoever waited for a commit", writer, nil, kerr.NotCoordinator)
		b.expect("whoever comes", b.ask(read{"a"}), nil, kerr.NotCoordinator)
		log.commit(nil) // of nobody
		b.Broadcast(put{"x", "y"})

		b.loadedAgain(log)
		b.expect("the write was in the log", b.ask(read{"a"}), "1", nil)
		b.Unload(0, -1)
		b.expect("unload of any epoch", b.ask(read{"a"}), nil, kerr.NotCoordinator)
	})
}

func TestNewerLoadReplacesOlder(t *testing.T) {
	bubble(t, Options{}, func(b *bench) {
		slow := &fakeLog{reading: make(chan struct{}), next: 1}
		b.Load(0, 1, slow)
		synctest.Wait()
		b.loadedAgain(&fakeLog{})
		b.expect("the newer log", b.ask(put{"a", "1"}), "1", nil)
		close(slow.reading)
		synctest.Wait()
		b.expect("the older load is void", b.ask(read{"a"}), "1", nil)

		b.Load(0, 3, slow)
		b.Unload(0, 3)
		b.expect("unloaded before it was loaded", b.ask(read{"a"}), nil, kerr.NotCoordinator)
	})
}

func TestMachinesAreToldTheLeaderEpoch(t *testing.T) {
	var told [][2]int32
	bubble(t, Options{Machine: func(partition, epoch int32) machine.Machine {
		told = append(told, [2]int32{partition, epoch})
		return newToy(partition, epoch)
	}}, func(b *bench) {
		log := &fakeLog{}
		for _, epoch := range []int32{7, 9} {
			b.Load(1, epoch, log)
			synctest.Wait()
		}
		if want := [][2]int32{{1, 7}, {1, 9}}; !slices.Equal(told, want) {
			b.Fatalf("told %v, want %v", told, want)
		}
	})
}

func TestTimers(t *testing.T) {
	bubble(t, Options{}, func(b *bench) {
		b.loaded(&fakeLog{})
		waiter := b.ask(wait{})
		b.ask(alarm{time.Second})
		b.ask(alarm{3 * time.Second}) // instead of the first
		time.Sleep(2 * time.Second)
		b.waits("before the alarm", waiter)
		time.Sleep(2 * time.Second)
		b.expect("after the alarm", waiter, "woken", nil)

		waiter = b.ask(wait{})
		b.ask(alarm{time.Second})
		b.ask(alarm{-1})
		time.Sleep(2 * time.Second)
		b.waits("a stopped alarm", waiter)
		b.expect("wake", b.ask(wake{}), "woken", nil)
		b.expect("waiter", waiter, "woken", nil)
	})
}

func TestSends(t *testing.T) {
	s := &fakeSender{}
	bubble(t, Options{Sender: s}, func(b *bench) {
		log := &fakeLog{slow: true}
		b.loaded(log)
		b.ask(send{3})
		synctest.Wait()
		if len(s.sent) != 0 {
			b.Fatal("sent before the commit")
		}
		log.commit(nil)
		synctest.Wait()
		if len(s.sent) != 1 || s.sent[0].Broker != 3 {
			b.Fatalf("sent %+v", s.sent)
		}
		s.done[0]("ok", nil)
		log.commit(nil)
		b.expect("the outcome", b.ask(read{"sent"}), "ok<nil>", nil)

		b.ask(send{4})
		log.commit(nil)
		b.Unload(0, 1)
		s.done[1]("late", nil)
		b.Load(0, 2, log)
		synctest.Wait()
		b.expect("an outcome of an earlier life", b.ask(read{"sent"}), "ok<nil>", nil)

		b.ask(send{5})
		log.commit(errors.New("disk"))
		synctest.Wait()
		if len(s.sent) != 2 {
			b.Errorf("sent after a failed append: %+v", s.sent)
		}
	})
}

type fakeSender struct {
	sent []machine.Send
	done []func(any, error)
}

func (s *fakeSender) Send(send machine.Send, done func(any, error)) {
	s.sent, s.done = append(s.sent, send), append(s.done, done)
}

func TestQueuesAreBounded(t *testing.T) {
	bubble(t, Options{MaxWaiting: 2, MaxPendingBytes: 500}, func(b *bench) {
		log := &fakeLog{slow: true}
		b.loaded(log)
		first, second := b.ask(wait{}), b.ask(wait{})
		b.expect("one too many", b.ask(wake{}), nil, kerr.CoordinatorNotAvailable)
		b.Unload(0, -1)
		b.expect("first", first, nil, kerr.NotCoordinator)
		b.expect("second", second, nil, kerr.NotCoordinator)

		b.loadedAgain(log)
		b.ask(put{"a", "1"}) // under way
		b.Broadcast(burst{5})
		b.expect("too many bytes", b.ask(read{"a"}), nil, kerr.CoordinatorNotAvailable)
		log.commit(nil)
		log.commit(nil)
		b.expect("room again", b.ask(read{"a"}), "1", nil)
	})
}

func (b *bench) loadedAgain(log Log) {
	b.Helper()
	b.Load(0, 2, log)
	synctest.Wait()
}

func TestEndOfRun(t *testing.T) {
	bubble(t, Options{}, func(b *bench) {
		b.loaded(&fakeLog{})
		waiter := b.ask(wait{})
		slow := &fakeLog{reading: make(chan struct{}), next: 1}
		b.Load(1, 1, slow)
		synctest.Wait()
		b.cancel()
		close(slow.reading)
		b.expect("waiter", waiter, nil, kerr.NotCoordinator)
		b.Load(0, 9, &fakeLog{})
		b.Unload(0, 9)
		b.expect("a load after the end", b.ask(read{"a"}), nil, kerr.NotCoordinator)
	})
}

func TestNoSuchPartition(t *testing.T) {
	bubble(t, Options{}, func(b *bench) {
		for _, partition := range []int32{-1, 2} {
			b.Load(partition, 1, &fakeLog{})
			b.Unload(partition, 1)
			var err error
			b.Submit(partition, read{}, func(_ any, e error) { err = e })
			if !errors.Is(err, kerr.NotCoordinator) {
				b.Errorf("submit to %d: %v", partition, err)
			}
			if _, err := b.Query(partition, read{}); !errors.Is(err, kerr.NotCoordinator) {
				b.Errorf("query of %d: %v", partition, err)
			}
		}
	})
}

func TestObserve(t *testing.T) {
	var took time.Duration
	bubble(t, Options{Observe: func(_ int32, d time.Duration) { took = d }}, func(b *bench) {
		log := &fakeLog{reading: make(chan struct{})}
		builder := record.NewBuilder(record.Options{})
		builder.Append(1, []byte("a"), []byte("1"), nil)
		log.write(builder.Build())
		b.Load(0, 1, log)
		time.Sleep(time.Second)
		close(log.reading)
		synctest.Wait()
		if took != time.Second {
			b.Errorf("the load took %v", took)
		}
	})
}

// TestPartition pins the hash to what Java computes.
func TestPartition(t *testing.T) {
	r := New(Options{Partitions: 50, Machine: newToy})
	if r.Partitions() != 50 {
		t.Error("partitions")
	}
	for key, want := range map[string]int32{
		"": 0, "g": 3, "polygenelubricants": 0, "my-group": 36, "gruppe-ä": 48, "😀": 49,
	} {
		if got := r.Partition(key); got != want {
			t.Errorf("partition of %q is %d, want %d", key, got, want)
		}
	}
}
