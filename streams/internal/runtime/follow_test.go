package runtime

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/internal/assign"
	"github.com/weirstream/weir/streams/processor"
)

// changes writes counts of k0 to the changelog of task 0_0, as its owner elsewhere does.
func (b *bench) changes(counts ...int64) {
	for _, n := range counts {
		value, err := number{}.Append(nil, n)
		must(b.t, err)
		b.cluster.add(TP{changelogTopic, 0}, "k0", string(value), 5)
	}
}

// follows lets the worker keep copies.
func (b *bench) follows(standby, warmup []TaskID) {
	b.w.Follow(nil, standby, warmup)
	b.settle()
}

func (b *bench) status() TaskStatus {
	b.t.Helper()
	tasks, _ := b.w.Status()
	if len(tasks) != 1 {
		b.t.Fatalf("tasks %+v", tasks)
	}
	return tasks[0]
}

// count asks the worker for the count of k0.
func (b *bench) count(stale bool) (n int64, err error) {
	err = b.w.Query("counts", stale, func(_ TaskID, s processor.Stores) error {
		raw, err := s.Store("counts")
		must(b.t, err)
		kv, err := statestore.AsKeyValue(raw, text{}, number{})
		must(b.t, err)
		n, _, err = kv.Get("k0")
		return err
	})
	return n, err
}

func copies() []TaskID { return []TaskID{{}} }

// idle starts the worker without a task.
func (b *bench) idle() {
	b.t.Helper()
	b.start()
	b.log.revoke(b.t.Context(), false, TP{"in", 0}, TP{"in2", 0})
	b.settle()
}

func TestStandbyTakesOverWithoutARestore(t *testing.T) {
	for _, persistent := range []bool{true, false} {
		t.Run(fmt.Sprintf("persistent=%v", persistent), func(t *testing.T) {
			inBubble(t, func(b *bench) {
				b.prog.graph.Subtopologies[0].Stores[0].Persistent = persistent
				var events []RestoreEvent
				b.o.OnRestore = func(e RestoreEvent) { events = append(events, e) }
				b.idle()
				b.changes(1, 2, 3)
				b.follows(copies(), nil)
				if s := b.status(); !s.Standby || s.State != "following" || s.Restored != 3 || s.Unrestored != 0 || len(s.Partitions) > 0 {
					t.Errorf("status %+v", s)
				}
				if state, mine := b.w.Holds(); state[TaskID{}] != 3 || len(mine) != 1 {
					t.Errorf("holds %v, %v", state, mine)
				}
				b.changes(4)
				b.settle()
				b.feed(1)
				b.w.Follow(copies(), nil, nil)
				b.settle() // it stays until it is assigned
				if s := b.status(); !s.Standby {
					t.Errorf("status %+v", s)
				}
				b.log.assign(t.Context(), TP{"in", 0}, TP{"in2", 0})
				time.Sleep(2 * time.Second)
				if s := b.status(); s.Standby || s.State != "running" || s.Restored != 0 {
					t.Errorf("status %+v", s)
				}
				b.locked(func() {
					if len(events) > 0 || b.disk.wiped > 0 {
						t.Errorf("restored: %+v", events)
					}
				})
				if state, _ := b.w.Holds(); state[TaskID{}] != assign.Latest {
					t.Errorf("holds %v", state)
				}
				b.wantCounts("5")
				b.end()
				state, _ := b.w.Holds()
				if want := map[bool]int64{true: 5}[persistent]; state[TaskID{}] != want {
					t.Errorf("after the end it holds %v", state)
				}
			})
		})
	}
}

func TestTaskThatMovesAwayStaysAsStandby(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("lost=%v", lost), func(t *testing.T) {
			inBubble(t, func(b *bench) {
				b.feed(3)
				b.start()
				time.Sleep(2 * time.Second)
				b.w.Follow(nil, copies(), nil)
				b.settle()
				if s := b.status(); s.Standby {
					t.Errorf("status %+v", s)
				}
				b.log.revoke(t.Context(), lost, TP{"in", 0}, TP{"in2", 0})
				b.settle()
				if s := b.status(); !s.Standby || s.State != "following" || s.Restored != 0 {
					t.Errorf("status %+v", s)
				}
				if _, ready := b.w.Status(); ready == lost {
					t.Errorf("ready is %v", ready)
				}
				b.changes(9)
				b.settle()
				if n, err := b.count(true); n != 9 || err != nil {
					t.Errorf("k0 is %d, %v", n, err)
				}
				b.follows(nil, nil)
				if tasks, _ := b.w.Status(); len(tasks) > 0 {
					t.Errorf("still %+v", tasks)
				}
				b.end()
				positions, err := b.disk.dbs[TaskID{}].Position()
				must(t, err)
				if positions[changelogTopic] != 4 {
					t.Errorf("positions %v", positions)
				}
			})
		})
	}
}

func TestWarmupAsksForItsTaskOnceItHasCaughtUp(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.o.AcceptableLag, b.o.ProbingInterval, b.o.PollRecords = 1, time.Minute, 2
		b.idle()
		b.changes(1, 2, 3, 4, 5)
		b.follows(nil, copies())
		asked := func() (n int) {
			b.locked(func() { n = b.log.rejoins })
			return n
		}
		if asked() != 1 {
			t.Errorf("asked %d times", asked())
		}
		time.Sleep(50 * time.Second)
		if asked() != 1 {
			t.Errorf("asked again after 50 s")
		}
		time.Sleep(20 * time.Second)
		if asked() != 2 {
			t.Errorf("asked %d times after 70 s", asked())
		}
		b.follows(copies(), nil) // what is a standby waits
		time.Sleep(2 * time.Minute)
		if asked() != 2 {
			t.Error("a standby asked")
		}
		b.end()
	})
}

func TestStandbyStartsAgainAfterAFailure(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.idle()
		b.changes(1)
		b.follows(copies(), nil)
		b.locked(func() { b.log.restoreErr = fmt.Errorf("%w: leader gone", ErrRetry) })
		b.changes(2)
		time.Sleep(5 * time.Second)
		if s := b.status(); s.State != "following" || s.Restored != 2 {
			t.Errorf("status %+v", s)
		}
		b.locked(func() { b.log.restoreErr = errors.New("boom") })
		if err := <-b.done; err == nil {
			t.Error("a final failure was none")
		}
	})
}

func TestStandbyIsAskedByStaleQueriesOnly(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.idle()
		b.changes(7)
		b.follows(copies(), nil)
		early := (*NotReadyError)(nil)
		if _, err := b.count(false); !errors.As(err, &early) || !early.Standby || early.Error() == "" {
			t.Errorf("got %v", err)
		}
		if n, err := b.count(true); n != 7 || err != nil {
			t.Errorf("k0 is %d, %v", n, err)
		}
		b.disk.inUse = 100
		b.follows(nil, nil)
		b.follows(copies(), nil)
		if _, err := b.count(true); !errors.As(err, &early) || early.Standby {
			t.Errorf("before it is open: %v", err)
		}
		b.end()
	})
}

// TestRestoresReachTheDatabaseOnTheirWay looks how far the database is when each
// batch came.
func TestRestoresReachTheDatabaseOnTheirWay(t *testing.T) {
	for most, want := range map[int][]int64{1: {0, 7, 14}, 1 << 20: {0, 0, 0}} {
		inBubble(t, func(b *bench) {
			for i := range 20 {
				b.cluster.add(TP{changelogTopic, 0}, fmt.Sprintf("k%d", i), "\x00\x00\x00\x00\x00\x00\x00\x01", 0)
			}
			var at []int64
			b.o.PollRecords, b.o.RestoreBytes = 7, most
			b.o.OnRestore = func(e RestoreEvent) {
				if e.Step == RestoreBatch {
					positions, err := b.disk.dbs[TaskID{}].Position()
					must(t, err)
					at = append(at, positions[changelogTopic])
				}
			}
			b.start()
			b.settle()
			b.end()
			if !slices.Equal(at, want) {
				t.Errorf("with %d bytes: %v, want %v", most, at, want)
			}
			positions, err := b.disk.dbs[TaskID{}].Position()
			must(t, err)
			if positions[changelogTopic] != 20 {
				t.Errorf("positions %v", positions)
			}
		})
	}
}

func TestRestoresAreTold(t *testing.T) {
	inBubble(t, func(b *bench) {
		var told []string
		b.o.OnRestore = func(e RestoreEvent) {
			told = append(told, fmt.Sprintf("%s %s %s %d..%d..%d %d", e.Step, e.Task, e.Store, e.From, e.Next, e.End, e.Records))
		}
		b.o.PollRecords = 2
		b.changes(1, 2, 3)
		b.start()
		b.settle()
		b.log.revoke(t.Context(), false, TP{"in", 0}, TP{"in2", 0})
		b.settle()
		b.locked(func() {
			want := []string{
				"start 0_0 counts 0..0..3 0", "batch 0_0 counts 0..2..3 2", "batch 0_0 counts 0..3..3 1", "end 0_0 counts 0..3..3 3",
			}
			if diff := cmp.Diff(want, told); diff != "" {
				t.Error(diff)
			}
			told, b.log.stuck = nil, true
		})
		b.changes(4)
		b.log.assign(t.Context(), TP{"in", 0}, TP{"in2", 0})
		b.settle()
		b.end()
		if diff := cmp.Diff([]string{"start 0_0 counts 3..3..4 0", "suspended 0_0 counts 3..3..4 0"}, told); diff != "" {
			t.Error(diff)
		}
		if RestoreStep(9).String() != "unknown" {
			t.Error(RestoreStep(9))
		}
	})
}

func TestCopiesAreTold(t *testing.T) {
	inBubble(t, func(b *bench) {
		var told []string
		b.o.OnStandby = func(e StandbyEvent) {
			why := ""
			if e.Step == StandbySuspended {
				why = " " + e.Reason.String()
			}
			told = append(told, fmt.Sprintf("%s%s %s %s %s %d..%d..%d %d", e.Step, why, e.Task, e.Store, e.Changelog.Topic, e.From, e.Next, e.End, e.Records))
		}
		wants := func(want ...string) {
			t.Helper()
			b.locked(func() {
				for i := range want {
					want[i] = fmt.Sprintf(want[i], "0_0 counts "+changelogTopic)
				}
				if diff := cmp.Diff(want, told); diff != "" {
					t.Error(diff)
				}
				told = nil
			})
		}
		b.o.PollRecords = 2
		b.idle()
		b.changes(1, 2, 3)
		b.follows(copies(), nil)
		wants("start %s 0..0..3 0", "batch %s 0..2..3 2", "batch %s 0..3..3 1")
		b.locked(func() { b.log.restoreErr = fmt.Errorf("%w: leader gone", ErrRetry) })
		b.changes(4)
		time.Sleep(5 * time.Second)
		wants("suspended migrated %s 0..3..3 3", "start %s 3..3..4 0", "batch %s 3..4..4 1")
		b.w.Follow(copies(), nil, nil)
		b.log.assign(t.Context(), TP{"in", 0}, TP{"in2", 0})
		b.settle()
		wants("suspended promoted %s 3..4..4 1")
		b.log.revoke(t.Context(), false, TP{"in", 0}, TP{"in2", 0})
		b.follows(copies(), nil)
		b.follows(nil, nil)
		wants("start %s 4..4..4 0", "suspended migrated %s 4..4..4 0")
		b.end()
		if StandbyStep(9).String() != "unknown" || SuspendReason(9).String() != "unknown" {
			t.Error("what is unknown has a name")
		}
	})
}

func TestHoldingsAreReadFromTheDatabases(t *testing.T) {
	prog := newProgram(t)
	setup := &Setup{Layout: NewLayout("app", prog.graph), TopicIDs: map[string]string{changelogTopic: "id"}}
	dbs := &databases{}
	for partition, key := range map[int32]string{0: changelogTopic + "@id", 1: changelogTopic} {
		db, err := dbs.Open(TaskID{Partition: partition})
		must(t, err)
		must(t, db.Apply(&statestore.Batch{}, map[string]int64{key: 42}))
	}
	h := NewHoldings()
	for _, id := range []TaskID{{}, {Partition: 1}, {Subtopology: 8}} {
		must(t, h.Read(id, dbs, setup))
	}
	if diff := cmp.Diff(map[TaskID]int64{{}: 42}, h.State()); diff != "" {
		t.Error(diff)
	}
	dbs.inUse = 1
	if err := h.Read(TaskID{}, dbs, setup); !errors.Is(err, statestore.ErrInUse) {
		t.Errorf("got %v", err)
	}
	if len(setup.Layout.Changelogs(TaskID{Subtopology: -1})) > 0 {
		t.Error("a task that cannot be has changelogs")
	}
}
