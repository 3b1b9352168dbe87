package runtime

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/processor"
)

// collected is a collector that keeps what it gets.
type collected struct {
	out []string
	err error
}

func (c *collected) Send(o *Outgoing) error {
	if c.err != nil {
		return c.err
	}
	value := string(o.Value)
	if strings.HasSuffix(o.Topic, "-changelog") {
		value = "#"
	}
	c.out = append(c.out, o.Topic+":"+string(o.Key)+"="+value)
	return nil
}

func memory(t *testing.T) statestore.DB {
	t.Helper()
	db, err := statestore.Memory().Open("")
	must(t, err)
	return db
}

type rig struct {
	*Task
	out  *collected
	db   statestore.DB
	o    TaskOptions
	prog *program
	now  time.Time
}

func newRig(t *testing.T, change func(*rig)) *rig {
	t.Helper()
	r := &rig{out: &collected{}, db: memory(t), prog: newProgram(t), now: time.UnixMilli(1000)}
	r.o = TaskOptions{ApplicationID: "app", Disk: r.db, Collector: r.out, Now: func() time.Time { return r.now }}
	if change != nil {
		change(r)
	}
	r.open(t)
	return r
}

func (r *rig) open(t *testing.T) {
	t.Helper()
	task, err := NewTask(r.prog, TaskID{}, r.o)
	must(t, err)
	must(t, task.Start())
	r.Task = task
}

func (r *rig) put(t *testing.T, topic string, offset int64, key string, at int64) {
	t.Helper()
	must(t, r.Enqueue(&Message{Topic: topic, Offset: offset, Key: []byte(key), Value: []byte("v"), Timestamp: at}))
}

func (r *rig) drain(t *testing.T) {
	t.Helper()
	for {
		more, err := r.ProcessNext()
		must(t, err)
		if !more {
			return
		}
	}
}

func TestTaskTakesTheSmallestTimeOverPartitions(t *testing.T) {
	var order []string
	r := newRig(t, func(r *rig) {
		r.prog.hook = func(h processor.Host, m *Message) error {
			topic, _, offset, ok := h.Meta()
			if !ok || topic != m.Topic || offset != m.Offset {
				t.Errorf("meta is %s %d %v", topic, offset, ok)
			}
			order = append(order, string(m.Key))
			return nil
		}
	})
	for i, at := range []int64{10, 30, 20} {
		r.put(t, "in", int64(i), string(rune('a'+i)), at)
	}
	for i, at := range []int64{5, 25, 26} {
		r.put(t, "in2", int64(i), string(rune('x'+i)), at)
	}
	r.drain(t)
	if diff := cmp.Diff([]string{"x", "a", "y", "z", "b", "c"}, order); diff != "" {
		t.Error(diff)
	}
	if r.StreamTime() != 30 {
		t.Errorf("stream time %d", r.StreamTime())
	}
	if _, _, _, ok := r.Meta(); ok {
		t.Error("meta outside of a message")
	}
}

func TestTaskWaitsForPartitionsThatHaveMore(t *testing.T) {
	r := newRig(t, func(r *rig) { r.o.Wait = true })
	in, in2 := TP{"in", 0}, TP{"in2", 0}
	step := func(want bool) {
		t.Helper()
		if got, err := r.ProcessNext(); err != nil || got != want {
			t.Fatalf("processed %v, %v", got, err)
		}
	}
	r.put(t, "in", 0, "a", 1)
	r.SetEnd(in, 1, 1)
	step(false) // nothing is known of in2
	r.SetEnd(in2, 0, 1)
	step(false) // in2 has a record that was not fetched
	r.put(t, "in2", 0, "b", 0)
	step(true)
	r.SetEnd(in2, 1, 1)
	step(true)
	r.put(t, "in", 1, "c", 2)
	r.SetEnd(in2, -1, 9)
	step(false)
	r.GiveUp()
	step(true)
}

func TestTaskDropsWhatItHadBefore(t *testing.T) {
	r := newRig(t, nil)
	r.Resume(Offset{TP: TP{"in", 0}, Offset: 5, Metadata: Metadata{Time: 77}.encode()}, true)
	if r.StreamTime() != 77 {
		t.Errorf("stream time %d", r.StreamTime())
	}
	if r.Touched() {
		t.Error("a committed offset is no progress")
	}
	r.put(t, "in", 4, "a", 1)
	r.put(t, "in", 5, "a", 1)
	r.put(t, "in", 5, "a", 1)
	if n := r.Buffered(TP{"in", 0}); n != 1 {
		t.Errorf("%d messages wait", n)
	}
	if err := r.Enqueue(&Message{Topic: "other"}); err == nil {
		t.Error("a foreign message came in")
	}
}

func TestCommitLaw(t *testing.T) {
	r := newRig(t, nil)
	changelog := "app-counts-changelog"
	r.put(t, "in", 0, "a", 10)
	r.put(t, "in", 1, "a", 11)
	r.put(t, "in", 2, "b", 12)
	for range 2 {
		_, err := r.ProcessNext()
		must(t, err)
	}
	must(t, r.Flush())
	if diff := cmp.Diff([]string{changelog + ":a=#", "out:a=2"}, r.out.out); diff != "" {
		t.Error(diff)
	}
	want := []Offset{{TP: TP{"in", 0}, Offset: 2, Metadata: Metadata{Time: 11}.encode()}}
	if diff := cmp.Diff(want, r.Offsets()); diff != "" {
		t.Error(diff)
	}
	positions, err := r.db.Position()
	must(t, err)
	if len(positions) != 0 {
		t.Errorf("the database is ahead of the commit: %v", positions)
	}
	must(t, r.Applied(map[string]int64{changelog: 41}))
	positions, err = r.db.Position()
	must(t, err)
	if diff := cmp.Diff(map[string]int64{changelog: 42}, positions); diff != "" {
		t.Error(diff)
	}
	if r.Touched() || r.PendingBytes() != 0 {
		t.Error("something is left after the commit")
	}
	must(t, r.Close())
	r.open(t)
	if logs := r.Changelogs(); len(logs) != 1 || logs[0].Position != 42 {
		t.Errorf("reopened with %v", logs)
	}
}

func TestUncommittedChangesAreForgotten(t *testing.T) {
	r := newRig(t, nil)
	r.put(t, "in", 0, "a", 10)
	r.drain(t)
	must(t, r.Flush())
	must(t, r.Close())
	r.open(t)
	r.put(t, "in", 0, "a", 10)
	r.drain(t)
	must(t, r.Flush())
	if got := r.out.out[len(r.out.out)-1]; got != "out:a=1" {
		t.Errorf("counted %s", got)
	}
}

func TestRestoreGoesOnWhereTheDatabaseIs(t *testing.T) {
	r := newRig(t, nil)
	topic := "app-counts-changelog"
	eight := func(n byte) []byte { return []byte{0, 0, 0, 0, 0, 0, 0, n} }
	must(t, r.Restore(topic, []Message{
		{Offset: 0, Key: []byte("a"), Value: eight(7), Timestamp: 5},
		{Offset: 1, Key: []byte("b"), Value: eight(1), Timestamp: 5},
		{Offset: 3, Key: []byte("b"), Timestamp: 6},
	}, 5))
	must(t, r.Restored())
	if logs := r.Changelogs(); logs[0].Position != 5 {
		t.Errorf("position %d", logs[0].Position)
	}
	must(t, r.Restore(topic, []Message{{Offset: 4, Key: []byte("a"), Value: eight(1)}}, 5)) // again
	r.put(t, "in", 0, "a", 10)
	r.put(t, "in", 1, "b", 10)
	r.drain(t)
	must(t, r.Flush())
	if got := strings.Join(r.out.out, " "); !strings.Contains(got, "out:a=8") || !strings.Contains(got, "out:b=1") {
		t.Errorf("sent %s", got)
	}
	if err := r.Restore("other", nil, 1); err == nil {
		t.Error("restored a foreign changelog")
	}
}

func TestStateOfAnotherChangelogIsStale(t *testing.T) {
	r := newRig(t, func(r *rig) { r.o.TopicIDs = map[string]string{"app-counts-changelog": "one"} })
	r.put(t, "in", 0, "a", 10)
	r.drain(t)
	must(t, r.Flush())
	must(t, r.Applied(map[string]int64{"app-counts-changelog": 0}))
	must(t, r.Close())
	r.o.TopicIDs = map[string]string{"app-counts-changelog": "two"}
	if _, err := NewTask(r.prog, TaskID{}, r.o); !errors.Is(err, ErrStale) {
		t.Errorf("opened with %v", err)
	}
	r.o.TopicIDs = map[string]string{"app-counts-changelog": "one"}
	r.open(t)
}

func TestProduceFailureIsNeverHandled(t *testing.T) {
	boom := errors.New("boom")
	asked := 0
	r := newRig(t, func(r *rig) {
		r.prog.hook = func(h processor.Host, _ *Message) error { return h.Send(Outgoing{Topic: "out"}) }
		r.o.OnError = func(ErrorEvent) Decision { asked++; return Continue }
	})
	r.out.err = boom
	r.put(t, "in", 0, "a", 1)
	if _, err := r.ProcessNext(); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	if err := r.Flush(); !errors.Is(err, boom) {
		t.Errorf("flush after a lost record: %v", err)
	}
	if asked != 0 {
		t.Error("the user's handler was asked about the broker")
	}
}

func TestErrorHandlerDecides(t *testing.T) {
	for name, test := range map[string]struct {
		at       int64
		value    string
		decision Decision
		stage    processor.Stage
		fails    bool
	}{
		"bad time, continue": {-1, "v", Continue, processor.Deserialize, false},
		"bad time, fail":     {-1, "v", Fail, processor.Deserialize, true},
		"bad work, continue": {1, "bad", Continue, processor.Process, false},
		"bad work, fail":     {1, "bad", Fail, processor.Process, true},
	} {
		t.Run(name, func(t *testing.T) {
			var events []ErrorEvent
			r := newRig(t, func(r *rig) {
				r.o.OnError = func(e ErrorEvent) Decision { events = append(events, e); return test.decision }
				r.prog.hook = func(_ processor.Host, m *Message) error {
					if string(m.Value) == "bad" {
						return errors.New("bad value")
					}
					return nil
				}
			})
			must(t, r.Enqueue(&Message{Topic: "in", Offset: 3, Key: []byte("a"), Value: []byte(test.value), Timestamp: test.at}))
			r.put(t, "in", 4, "b", 5)
			_, err := r.ProcessNext()
			if (err != nil) != test.fails {
				t.Fatalf("got %v", err)
			}
			if len(events) != 1 || events[0].Offset != 3 || events[0].Topic != "in" || events[0].Err.Stage != test.stage {
				t.Errorf("asked about %+v", events)
			}
			if !test.fails {
				r.drain(t)
				if o := r.Offsets(); len(o) != 1 || o[0].Offset != 5 || r.Dropped() != 1 {
					t.Errorf("offsets %v, dropped %d", o, r.Dropped())
				}
			}
		})
	}
}

func TestFailuresWithoutAName(t *testing.T) {
	if _, err := NewTask(newProgram(t), TaskID{Subtopology: 7}, TaskOptions{}); err == nil {
		t.Error("opened a task of no sub-topology")
	}
	if _, err := NewTask(newProgram(t), TaskID{}, TaskOptions{}); err == nil {
		t.Error("opened a store without a database")
	}
	r := newRig(t, nil)
	if _, err := r.Store("none"); err == nil {
		t.Error("found a store that does not exist")
	}
	boom := errors.New("boom")
	r.prog.init = func(processor.Host) error { return boom }
	if err := r.Start(); !errors.Is(err, boom) {
		t.Errorf("started with %v", err)
	}
}

func TestStreamTimePunctuation(t *testing.T) {
	var fired []int64
	r := newRig(t, func(r *rig) {
		r.prog.init = func(h processor.Host) error {
			h.Schedule(10*time.Millisecond, processor.StreamTime, func(now int64) error {
				fired = append(fired, now)
				return nil
			})
			return nil
		}
	})
	for i, at := range []int64{3, 9, 10, 47, 45, 50, 51} {
		r.put(t, "in", int64(i), "a", at)
	}
	r.drain(t)
	// The first record fires; missed intervals are skipped and the phase stays.
	if diff := cmp.Diff([]int64{3, 10, 47, 50}, fired); diff != "" {
		t.Error(diff)
	}
}

func TestWallClockPunctuation(t *testing.T) {
	var fired []int64
	var cancel func()
	boom := errors.New("boom")
	r := newRig(t, func(r *rig) {
		r.prog.init = func(h processor.Host) error {
			cancel = h.Schedule(100*time.Millisecond, processor.WallClock, func(now int64) error {
				fired = append(fired, now)
				if now == 2000 {
					return boom
				}
				return nil
			})
			return nil
		}
	})
	must(t, r.Punctuate())
	for _, ms := range []int64{1099, 1100, 1150, 1350, 1400} {
		r.now = time.UnixMilli(ms)
		must(t, r.Punctuate())
	}
	if diff := cmp.Diff([]int64{1100, 1350, 1400}, fired); diff != "" {
		t.Error(diff)
	}
	if next, ok := r.NextPunctuation(); !ok || next.UnixMilli() != 1500 {
		t.Errorf("next at %v", next.UnixMilli())
	}
	if !r.Touched() {
		t.Error("a punctuation is something to commit")
	}
	r.now = time.UnixMilli(2000)
	if err := r.Punctuate(); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	cancel()
	r.now = time.UnixMilli(3000)
	must(t, r.Punctuate())
	if _, ok := r.NextPunctuation(); ok || len(fired) != 4 {
		t.Errorf("a cancelled schedule fired: %v", fired)
	}
}

func TestRequestCommit(t *testing.T) {
	r := newRig(t, func(r *rig) {
		r.prog.hook = func(h processor.Host, _ *Message) error { h.RequestCommit(); h.Drop("late"); return nil }
	})
	r.put(t, "in", 0, "a", 1)
	r.drain(t)
	if !r.CommitRequested() || r.Dropped() != 1 || r.Processed() != 1 {
		t.Error("the request or the drop was not noted")
	}
	must(t, r.Flush())
	if r.CommitRequested() {
		t.Error("the request outlived its commit")
	}
}

func TestPartitionIsThatOfKafka(t *testing.T) {
	// From Kafka's own murmur2 test.
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		if got := Hash([]byte(key)); got != uint32(want)&0x7fffffff {
			t.Errorf("%s hashes to %d", key, got)
		}
	}
	if p := Partition([]byte("abc"), 4); p != 479470107%4 {
		t.Errorf("partition %d", p)
	}
}
