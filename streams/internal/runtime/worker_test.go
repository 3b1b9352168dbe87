package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/processor"
)

// bench is a worker on a cluster in memory, in a bubble.
type bench struct {
	t       *testing.T
	cluster *cluster
	disk    *databases
	prog    *program
	o       WorkerOptions
	w       *Worker
	log     *fakeLog
	stop    context.CancelFunc
	done    chan error
}

const changelogTopic = "app-counts-changelog"

// inBubble runs test with a worker that is not yet started.
func inBubble(t *testing.T, test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, cluster: newCluster(), disk: &databases{}, prog: newProgram(t)}
		b.o = WorkerOptions{
			ApplicationID: "app", Program: b.prog, Databases: b.disk, Holdings: NewHoldings(),
			Setup:          &Setup{Layout: NewLayout("app", b.prog.graph), Topics: []string{"in", "in2"}, Repartitions: []string{"in2"}},
			CommitInterval: time.Second, CacheBytes: 1 << 20, RestoreBytes: 1 << 20, Buffered: 10, PollRecords: 100,
			StopTimeout: 5 * time.Second, OnChange: func() {}, Logger: slog.New(slog.DiscardHandler),
		}
		b.o.Dial = func(_ context.Context, r Rebalancer, topics []string) (Log, error) {
			b.log = newFakeLog(b.cluster, r)
			b.log.Subscribe(topics)
			return b.log, nil
		}
		test(b)
	})
}

// start runs the worker with the two partitions of task 0_0.
func (b *bench) start() {
	b.t.Helper()
	ctx, stop := context.WithCancel(b.t.Context())
	b.stop, b.done, b.w = stop, make(chan error, 1), NewWorker(b.o)
	go func() { b.done <- b.w.Run(ctx) }()
	synctest.Wait()
	b.log.assign(b.t.Context(), TP{"in", 0}, TP{"in2", 0})
	synctest.Wait()
}

func (b *bench) end() {
	b.t.Helper()
	b.stop()
	must(b.t, <-b.done)
}

// settle lets the worker poll.
func (b *bench) settle() {
	time.Sleep(2 * pollWait)
	synctest.Wait()
}

func (b *bench) feed(n int) {
	for i := range n {
		b.cluster.add(TP{"in", 0}, fmt.Sprintf("k%d", i%3), "v", int64(i))
	}
}

func (b *bench) committed() int64 {
	b.cluster.mu.Lock()
	defer b.cluster.mu.Unlock()
	return b.cluster.committed[TP{"in", 0}].Offset
}

// locked runs f while the worker does nothing.
func (b *bench) locked(f func()) {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	f()
}

func (b *bench) aborts() (n int) {
	b.locked(func() { n = b.log.aborts })
	return n
}

func (b *bench) paused() bool {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	return b.w.slots[TaskID{}].paused[TP{"in", 0}]
}

func (b *bench) wantCounts(want ...string) {
	b.t.Helper()
	got := map[string]string{}
	for i, n := range want {
		got[fmt.Sprintf("k%d", i)] = n
	}
	if diff := cmp.Diff(got, b.cluster.last()); diff != "" {
		b.t.Error(diff)
	}
}

func TestWorkerCommitsAtItsInterval(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.feed(300)
		b.start()
		time.Sleep(900 * time.Millisecond)
		synctest.Wait()
		if n := b.committed(); n != 0 {
			t.Errorf("committed %d before the interval", n)
		}
		tasks, ready := b.w.Status()
		if !ready || len(tasks) != 1 || tasks[0].State != "running" || tasks[0].Processed != 300 {
			t.Errorf("status %+v, %v", tasks, ready)
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if n := b.committed(); n != 300 {
			t.Errorf("committed %d", n)
		}
		b.wantCounts("100", "100", "100")
		b.end()
		positions, err := b.disk.dbs[TaskID{}].Position()
		must(t, err)
		if diff := cmp.Diff(map[string]int64{changelogTopic: 3}, positions); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWorkerCommitsOnStopAndGoesOn(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.o.Leave = true
		b.feed(30)
		b.start()
		b.end()
		if !b.log.left || b.committed() != 30 {
			t.Errorf("left %v at %d", b.log.left, b.committed())
		}
		b.feed(30)
		b.start()
		b.end()
		b.wantCounts("20", "20", "20")
	})
}

func TestWorkerCommitsEarlyWhenTheCacheIsFull(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.o.CacheBytes, b.o.CommitInterval = 1, time.Hour
		b.feed(5)
		b.start()
		if b.committed() != 5 {
			t.Errorf("committed %d", b.committed())
		}
		b.end()
	})
}

func TestWorkerCommitsWhenAskedTo(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.o.CommitInterval = time.Hour
		b.prog.hook = func(h processor.Host, m *Message) error {
			if m.Offset == 3 {
				h.RequestCommit()
			}
			return nil
		}
		b.feed(5)
		b.start()
		if b.committed() != 4 {
			t.Errorf("committed %d", b.committed())
		}
		b.end()
	})
}

func TestCrashBeforeTheOffsetsRepeats(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.feed(30)
		b.start()
		b.locked(func() { b.log.commitErr = errors.New("power cut") }) // after the changelog, before the offsets
		b.stop()
		if err := <-b.done; err == nil {
			t.Fatal("a commit that failed was no error")
		}
		if n := b.committed(); n != 0 {
			t.Errorf("committed %d", n)
		}
		b.start()
		b.end()
		b.wantCounts("20", "20", "20") // at least once: never below
		if n := b.committed(); n != 30 {
			t.Errorf("committed %d", n)
		}
	})
}

func TestFailedCommitIsTriedAgain(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.feed(30)
		b.start()
		b.locked(func() { b.log.sendErr = fmt.Errorf("%w: leader gone", ErrRetry) }) // the first flush fails
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if b.aborts() != 1 || b.committed() != 30 {
			t.Errorf("%d aborts, committed %d", b.aborts(), b.committed())
		}
		b.wantCounts("10", "10", "10")
		b.end()
	})
}

func TestFinalFailureEndsTheWorker(t *testing.T) {
	boom := errors.New("boom")
	for name, breaks := range map[string]func(b *bench){
		"send":    func(b *bench) { b.log.sendErr = boom },
		"commit":  func(b *bench) { b.log.commitErr = boom },
		"process": func(b *bench) { b.prog.hook = func(processor.Host, *Message) error { return boom } },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				b.start()
				b.locked(func() { breaks(b) })
				b.feed(3)
				if err := <-b.done; !errors.Is(err, boom) {
					t.Errorf("ended with %v", err)
				}
				if b.committed() > 0 {
					t.Error("offsets were committed all the same")
				}
				b.stop()
			})
		})
	}
}

func TestDialAndStartFailures(t *testing.T) {
	boom := errors.New("boom")
	inBubble(t, func(b *bench) {
		b.o.Dial = func(context.Context, Rebalancer, []string) (Log, error) { return nil, boom }
		if err := NewWorker(b.o).Run(b.t.Context()); !errors.Is(err, boom) {
			t.Errorf("ended with %v", err)
		}
	})
	inBubble(t, func(b *bench) {
		b.prog.init = func(processor.Host) error { return boom }
		b.start()
		if err := <-b.done; !errors.Is(err, boom) {
			t.Errorf("ended with %v", err)
		}
		b.stop()
	})
	inBubble(t, func(b *bench) {
		b.start()
		b.log.assign(b.t.Context(), TP{"foreign", 0})
		if err := <-b.done; err == nil || !strings.Contains(err.Error(), "foreign-0") {
			t.Errorf("ended with %v", err)
		}
		b.stop()
	})
}

func TestRevokedTaskIsCommittedAndClosed(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.o.CommitInterval = time.Hour
		b.feed(30)
		b.start()
		b.log.revoke(b.t.Context(), false, TP{"in", 0}, TP{"in2", 0})
		synctest.Wait()
		if n := b.committed(); n != 30 {
			t.Errorf("committed %d", n)
		}
		if tasks, _ := b.w.Status(); len(tasks) != 0 {
			t.Errorf("still has %+v", tasks)
		}
		b.log.assign(b.t.Context(), TP{"in", 0}, TP{"in2", 0})
		b.feed(30)
		b.settle()
		b.end()
		b.wantCounts("20", "20", "20")
	})
}

func TestRevokeWithoutACommitRepeats(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.o.CommitInterval = time.Hour
		b.feed(30)
		b.start()
		b.locked(func() { b.log.commitErr = fmt.Errorf("%w: generation is over", ErrRetry) })
		b.log.revoke(b.t.Context(), false, TP{"in", 0}, TP{"in2", 0})
		synctest.Wait()
		if b.aborts() != 1 || b.committed() != 0 {
			t.Errorf("%d aborts, committed %d", b.aborts(), b.committed())
		}
		b.end()
	})
}

func TestLostTaskCommitsNothing(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.o.CommitInterval = time.Hour
		b.feed(30)
		b.start()
		b.log.revoke(b.t.Context(), true, TP{"in", 0}, TP{"in2", 0})
		synctest.Wait()
		if b.committed() != 0 || len(b.cluster.last()) != 0 || b.aborts() != 1 {
			t.Error("a lost task wrote")
		}
		b.end()
	})
}

func TestRestoreComesBeforeProcessing(t *testing.T) {
	inBubble(t, func(b *bench) {
		for i := range 250 {
			b.cluster.add(TP{changelogTopic, 0}, "k0", string([]byte{0, 0, 0, 0, 0, 0, 0, byte(i)}), 1)
		}
		b.feed(1)
		b.start()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		b.wantCounts("250")
		b.end()
		if len(b.log.restoring) != 0 {
			t.Error("the restore goes on")
		}
	})
}

func TestStateThatDoesNotFitIsWiped(t *testing.T) {
	for name, breaks := range map[string]func(c *cluster){
		"changelog is shorter": func(c *cluster) { c.topics[TP{changelogTopic, 0}] = nil },
		"changelog was cut":    func(c *cluster) { c.starts[TP{changelogTopic, 0}] = 100 },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				b.feed(30)
				b.start()
				b.end()
				breaks(b.cluster)
				b.start()
				b.end()
				if b.disk.wiped != 1 {
					t.Errorf("wiped %d times", b.disk.wiped)
				}
			})
		})
	}
}

func TestStateInUseIsWaitedFor(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.disk.inUse = 3
		b.feed(3)
		b.start()
		synctest.Wait()
		err := b.w.Query("counts", false, func(TaskID, processor.Stores) error { return errors.New("asked") })
		if early := (*NotReadyError)(nil); !errors.As(err, &early) || early.State != "opening" || early.Task != (TaskID{}) {
			t.Errorf("query of a store that is not open: %v", err)
		} else if err.Error() != "task 0_0 is opening, 0 offsets to restore" {
			t.Error(err)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n := b.committed(); n != 3 {
			t.Errorf("committed %d", n)
		}
		b.end()
		b.disk.inUse = 1000
		b.start()
		if err := <-b.done; !errors.Is(err, statestore.ErrInUse) {
			t.Errorf("ended with %v", err)
		}
		b.stop()
	})
}

func TestPartitionsWithoutACommitStartWhereTheyShould(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.o.ResetToEnd = true
		b.feed(30)
		b.start()
		b.feed(3)
		b.settle()
		b.end()
		if n := b.committed(); n != 33 {
			t.Errorf("committed %d", n)
		}
		b.wantCounts("1", "1", "1")
	})
}

func TestFullQueuesPause(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.start()
		// The other partition has a record that never comes, so this one waits.
		b.locked(func() { b.w.slots[TaskID{}].task.SetEnd(TP{"in2", 0}, -1, 5) })
		b.feed(50)
		time.Sleep(time.Second)
		synctest.Wait()
		if !b.paused() {
			t.Error("a full queue still fetches")
		}
		time.Sleep(idleLimit)
		synctest.Wait()
		if b.paused() || b.committed() != 50 {
			t.Errorf("paused %v, committed %d", b.paused(), b.committed())
		}
		b.end()
	})
}

func TestQueryAndPurge(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.feed(3)
		b.cluster.add(TP{"in2", 0}, "k9", "v", 9)
		b.start()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff(map[TP]int64{{"in2", 0}: 1}, b.w.Purgeable()); diff != "" {
			t.Error(diff)
		}
		if len(b.w.Purgeable()) != 0 {
			t.Error("the same records are purged twice")
		}
		var ids []TaskID
		must(t, b.w.Query("counts", false, func(id TaskID, s processor.Stores) error {
			ids = append(ids, id)
			_, err := s.Store("counts")
			return err
		}))
		must(t, b.w.Query("other", false, func(TaskID, processor.Stores) error { return errors.New("asked") }))
		boom := errors.New("boom")
		if err := b.w.Query("counts", false, func(TaskID, processor.Stores) error { return boom }); !errors.Is(err, boom) {
			t.Errorf("got %v", err)
		}
		if diff := cmp.Diff([]TaskID{{}}, ids); diff != "" {
			t.Error(diff)
		}
		b.end()
	})
}

func TestWallClockPunctuationOfAWorker(t *testing.T) {
	inBubble(t, func(b *bench) {
		fired := 0
		b.prog.init = func(h processor.Host) error {
			h.Schedule(30*time.Millisecond, processor.WallClock, func(int64) error { fired++; return nil })
			return nil
		}
		b.start()
		time.Sleep(301 * time.Millisecond)
		synctest.Wait()
		b.end()
		if fired != 10 {
			t.Errorf("fired %d times", fired)
		}
	})
}

func TestStopThatTakesTooLongIsKilled(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.prog.hook = func(processor.Host, *Message) error { <-b.log.killed; return errors.New("killed") }
		b.feed(1)
		b.start()
		begun := time.Now()
		b.stop()
		if err := <-b.done; err == nil {
			t.Error("no error")
		}
		if d := time.Since(begun); d != b.o.StopTimeout {
			t.Errorf("ended after %v", d)
		}
	})
}

// admin is a cluster whose topics can be made.
type admin struct {
	*cluster
	names   map[string]Topic
	rf      int16
	hidden  int // describes that do not show new topics yet
	appears map[string]time.Time
	failing error
}

func (a *admin) Topics(_ context.Context, names []string) (map[string]Topic, error) {
	found := map[string]Topic{}
	for _, n := range names {
		if t, ok := a.names[n]; ok && !time.Now().Before(a.appears[n]) && (a.hidden == 0 || !strings.HasPrefix(n, "app-")) {
			found[n] = t
		}
	}
	if a.hidden > 0 && strings.HasPrefix(names[0], "app-") {
		a.hidden--
	}
	return found, a.failing
}

func (a *admin) AllTopics(context.Context) (map[string]Topic, error) {
	return maps.Clone(a.names), a.failing
}

func (a *admin) Create(_ context.Context, topics []Topic, rf int16) error {
	a.rf = rf
	for _, t := range topics {
		t.ID = "id-" + t.Name
		a.names[t.Name] = t
	}
	return nil
}

func (a *admin) DeleteRecords(context.Context, map[TP]int64) error { return nil }
func (a *admin) Close()                                            {}

func TestPrepare(t *testing.T) {
	inBubble(t, func(b *bench) {
		a := &admin{cluster: b.cluster, names: map[string]Topic{"in": {Name: "in", Partitions: 2}}, hidden: 3}
		_, err := Prepare(b.t.Context(), a, "app", b.prog.graph, SetupOptions{})
		if err == nil || !strings.Contains(err.Error(), "in2") {
			t.Errorf("a missing topic gave %v", err)
		}
		a.names["in2"] = Topic{Name: "in2", Partitions: 3}
		a.appears = map[string]time.Time{"in2": time.Now().Add(shown - time.Second)}
		s, err := Prepare(b.t.Context(), a, "app", b.prog.graph, SetupOptions{
			Replication: 2, Changelog: map[string]string{"retention.ms": "-1"},
		})
		must(t, err)
		made := a.names[changelogTopic]
		if made.Partitions != 3 || a.rf != 2 || made.Config["retention.ms"] != "-1" || made.Config["cleanup.policy"] != "compact" {
			t.Errorf("made %+v with %d replicas", made, a.rf)
		}
		if len(s.Work) != 3 || !slices.Equal(s.Changelogs, []string{changelogTopic}) || s.TopicIDs[changelogTopic] != "id-"+changelogTopic {
			t.Errorf("setup %+v", s)
		}
		made.Partitions = 4
		a.names[changelogTopic] = made
		if _, err := Prepare(b.t.Context(), a, "app", b.prog.graph, SetupOptions{}); !errors.Is(err, ErrPartitions) {
			t.Errorf("a misfit gave %v", err)
		}
		a.failing = errors.New("boom")
		if _, err := Prepare(b.t.Context(), a, "app", b.prog.graph, SetupOptions{}); !errors.Is(err, a.failing) {
			t.Errorf("got %v", err)
		}
	})
}
