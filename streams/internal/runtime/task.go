package runtime

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/processor"
)

// TaskOptions is what a task needs from outside. Only ApplicationID, Collector
// and, if the sub-topology has stores, the databases are required.
type TaskOptions struct {
	ApplicationID string
	Sources       []string          // topics that have a partition of the task's number; nil is all that the sub-topology reads
	Disk          statestore.DB     // of the persistent stores; stays the caller's
	Memory        statestore.DB     // of the others; stays the caller's
	TopicIDs      map[string]string // of the changelogs, to tell a topic that was deleted and made again; nil leaves that out
	Globals       *GlobalTables     // nil if the topology has none
	Collector     Collector
	Now           func() time.Time // the wall clock; nil is one that stands at the epoch
	Logger        *slog.Logger     // nil discards
	ErrorPolicy                    // nil OnError fails
	Trials        Trials           // what an earlier life of the task left; nil is none
	OnDrop        func(id TaskID, reason string)
	EmitInterval  time.Duration     // see [processor.Host]
	Batch         *statestore.Batch // lent for what the task applies; nil is one of its own
	Wait          bool              // do not choose a record while another partition has data that was not fetched yet
}

// Task is one instance of a sub-topology: operators, queues and stores. It
// implements [processor.Host]. All methods are for the one goroutine that
// drives it.
//
// The driver's order is [NewTask], [Task.Restore] for what [Task.Changelogs]
// names, [Task.Start], then any number of [Task.Enqueue] and [Task.ProcessNext],
// with commits in between: [Task.Flush], [Task.Offsets] to the broker,
// [Task.Applied]. After an error the task is closed and made anew.
type Task struct {
	id      TaskID
	o       TaskOptions
	sub     *graph.Subtopology
	program Program
	log     *slog.Logger

	operators processor.Task // nil before Start
	queues    []*queue       // by topic
	current   *processor.Message
	time      int64 // stream time
	processed int64
	dropped   int64
	touched   bool             // something happened since the last commit
	asked     bool             // an operator asked for a commit
	marks     map[string]int64 // what operators remember
	acted     uint64           // times that operators sent, remembered or scheduled

	stores    []*storeState // upstream first
	broken    error         // first error of a database or the collector: never the user's to handle
	stream    agenda
	wall      agenda
	schedules int
}

// NewTask opens the stores of a task. Nothing runs yet.
func NewTask(p Program, id TaskID, o TaskOptions) (*Task, error) {
	g := p.Graph()
	if id.Subtopology < 0 || id.Subtopology >= len(g.Subtopologies) {
		return nil, fmt.Errorf("no sub-topology %d", id.Subtopology)
	}
	t := &Task{id: id, o: o, sub: &g.Subtopologies[id.Subtopology], program: p, time: -1, marks: map[string]int64{}}
	if t.o.Now == nil {
		t.o.Now = func() time.Time { return time.UnixMilli(0) }
	}
	if t.o.Trials == nil {
		t.o.Trials = Trials{}
	}
	if t.o.Batch == nil {
		t.o.Batch = new(statestore.Batch)
	}
	if t.o.Logger == nil {
		t.o.Logger = slog.New(slog.DiscardHandler)
	}
	t.log = t.o.Logger.With(slog.String("task", id.String()))
	topics := o.Sources
	if topics == nil {
		topics = t.sub.SourceTopics(o.ApplicationID)
	}
	for _, topic := range slices.Sorted(slices.Values(topics)) {
		t.queues = append(t.queues, newQueue(TP{topic, id.Partition}))
	}
	if err := t.openStores(); err != nil {
		return nil, errors.Join(fmt.Errorf("task %s: %w", id, err), t.closeStores())
	}
	return t, nil
}

// Start instantiates the operators, which reads restored stores, so it comes
// after every Restore.
func (t *Task) Start() error {
	operators, err := t.program.NewTask(t.id.Subtopology, t)
	if err != nil {
		return fmt.Errorf("task %s: %w", t.id, err)
	}
	t.operators = operators
	return nil
}

// Enqueue adds a message behind those of its partition. The task keeps the
// slices of m until it is processed. A message before the position of the
// partition is dropped: it was here before.
func (t *Task) Enqueue(m *Message) error {
	q := t.source(TP{m.Topic, m.Partition})
	if q == nil {
		return fmt.Errorf("task %s does not read %s-%d", t.id, m.Topic, m.Partition)
	}
	q.push(m)
	return nil
}

// SetEnd tells where a partition ends on the broker, and from where on messages
// may still come: next is the offset after everything that was fetched, markers
// and gaps included, and -1 if that is not known.
func (t *Task) SetEnd(tp TP, next, end int64) {
	q := t.queue(tp)
	if q == nil {
		return
	}
	q.end = end
	if next > q.next {
		q.next = next
	}
}

// Resume sets where a partition goes on after a start: its committed offset and
// the time that was committed with it. One that is not committed counts as
// progress to commit.
func (t *Task) Resume(from Offset, committed bool) {
	q := t.source(from.TP)
	if q == nil || from.Offset < 0 {
		return
	}
	q.next = from.Offset
	if committed {
		q.committed = from.Offset
	}
	m := DecodeMetadata(from.Metadata)
	q.time, t.time = m.Time, max(t.time, m.Time)
	for name, n := range m.Marks {
		if old, ok := t.marks[name]; !ok || n > old {
			t.marks[name] = n
		}
	}
}

// ProcessNext runs the queued message with the smallest time, and the
// stream-time punctuations that it makes due. It returns false if there is
// nothing to run now. A message that fails stays where it is, for another try or
// for the next task to find.
func (t *Task) ProcessNext() (bool, error) {
	if _, waits := t.RetryAt(); waits {
		return false, nil
	}
	q, err := t.choose()
	if errors.Is(err, errAgain) {
		return false, nil
	}
	if q == nil || err != nil {
		return false, err
	}
	m := q.first()
	if t.apart(m) {
		t.asked = true
		return false, nil
	}
	t.time = max(t.time, m.Timestamp)
	q.time = max(q.time, m.Timestamp)
	t.current = m
	before := t.acts()
	err = t.operators.Process(m)
	again := false
	if err != nil || t.broken != nil {
		again, err = t.handled(m, err, t.acts() != before)
	}
	t.current = nil
	if again || err != nil {
		return false, err
	}
	t.touched = true
	t.passed(m)
	q.pop()
	t.processed++
	if len(t.stream) > 0 {
		_, err = t.stream.run(t.time)
	}
	return true, err
}

// choose returns the queue whose head is next, nil for none.
func (t *Task) choose() (*queue, error) {
	var best *queue
	for _, q := range t.queues {
		if err := t.stamp(q); err != nil {
			return nil, err
		}
		if q.len == 0 {
			continue
		}
		if best == nil || q.first().Timestamp < best.first().Timestamp {
			best = q
		}
	}
	if best != nil && t.o.Wait && len(t.queues) > 1 && t.Waiting() {
		return nil, nil
	}
	return best, nil
}

// errAgain says that a message whose time cannot be told waits for another try.
var errAgain = errors.New("tried again")

// stamp gives the head of a queue the time of its source, and drops heads
// whose time cannot be told if the source or the handler says so.
func (t *Task) stamp(q *queue) error {
	for q.len > 0 && !q.stamped {
		m := q.first()
		at, err := t.operators.Timestamp(m, q.time)
		if err == nil {
			q.came, m.Timestamp, q.stamped = m.Timestamp, at, true
			return nil
		}
		again := false
		if !errors.Is(err, processor.ErrSkip) {
			if again, err = t.handled(m, err, false); err != nil {
				return err
			}
		}
		if again {
			return errAgain
		}
		t.touched = true
		t.passed(m)
		q.pop()
	}
	return nil
}

func (t *Task) queue(tp TP) *queue {
	for _, q := range t.queues {
		if q.tp == tp {
			return q
		}
	}
	return nil
}

// source is queue, of a topic that a pattern brings in too if the task is to read
// all that its sub-topology does.
func (t *Task) source(tp TP) *queue {
	q := t.queue(tp)
	if q != nil || t.o.Sources != nil || tp.Partition != t.id.Partition {
		return q
	}
	if _, reads := t.sub.Source(tp.Topic); reads {
		q = newQueue(tp)
		t.queues = append(t.queues, q)
		slices.SortFunc(t.queues, func(a, b *queue) int { return strings.Compare(a.tp.Topic, b.tp.Topic) })
	}
	return q
}

// Waiting reports whether a partition is empty here although the broker has
// more of it, or may have.
func (t *Task) Waiting() bool {
	return slices.ContainsFunc(t.queues, func(q *queue) bool { return q.len == 0 && !q.drained() })
}

// GiveUp ends the waiting for every partition that is empty here: the broker
// has nothing more to give below the end that is known.
func (t *Task) GiveUp() {
	for _, q := range t.queues {
		if q.len == 0 {
			q.end = max(0, q.next)
		}
	}
}

// Buffered returns how many messages of a partition wait.
func (t *Task) Buffered(tp TP) int {
	if q := t.queue(tp); q != nil {
		return q.len
	}
	return 0
}

// Partitions returns what the task reads, by topic.
func (t *Task) Partitions() []TP {
	tps := make([]TP, len(t.queues))
	for i, q := range t.queues {
		tps[i] = q.tp
	}
	return tps
}

// Processed returns how many messages went through the operators.
func (t *Task) Processed() int64 { return t.processed }

// Dropped returns how many records were dropped, by operators or by decision of
// the error handler.
func (t *Task) Dropped() int64 { return t.dropped }

// Close closes operators and stores. What was not applied is forgotten; the
// databases stay open.
func (t *Task) Close() error {
	var err error
	if t.operators != nil {
		err = t.operators.Close()
		t.operators = nil
	}
	t.stream, t.wall = nil, nil
	return errors.Join(err, t.closeStores())
}

var (
	_ processor.Host = (*Task)(nil)
	_ io.Closer      = (*Task)(nil)
)
