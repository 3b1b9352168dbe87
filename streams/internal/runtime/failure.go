package runtime

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/processor"
)

// ErrRefused means that the broker takes a record neither now nor later. Nothing
// else of the unit is touched by it.
var ErrRefused = errors.New("record refused")

// Decision is the answer of an [ErrorHandler].
type Decision int

// The decisions.
const (
	Fail       Decision = iota // stop the application, or the worker's tasks
	Continue                   // drop the record and go on
	Retry                      // try the record again after a while
	DeadLetter                 // write the record to the dead-letter topic and go on
)

// ErrorEvent is a record that failed.
type ErrorEvent struct {
	Task      TaskID
	Topic     string // empty if no record was being processed, as in a punctuation
	Partition int32
	Offset    int64
	// Message is the record as it was read, except that its time is the extracted
	// one; nil if there is none. It is valid during the call.
	Message *Message
	// Err has the operator, the stage and the cause.
	Err *processor.Error
	// Attempts is how often the record was tried, this time included.
	Attempts int
	// FirstFailed is when it failed for the first time.
	FirstFailed time.Time
}

// place names the record.
func (e *ErrorEvent) place() string {
	if e.Topic == "" {
		return "outside of a record"
	}
	return fmt.Sprintf("%s-%d at offset %d", e.Topic, e.Partition, e.Offset)
}

// ErrorHandler decides about a record that could not be read, processed or
// sent. It is called from the goroutine that drives the task.
type ErrorHandler func(e ErrorEvent) Decision

// ErrorPolicy is what happens to records that fail.
type ErrorPolicy struct {
	OnError     ErrorHandler  // nil fails
	Retries     int           // how often a record is tried again at most; then Retry is Fail
	Backoff     time.Duration // before the first try; it doubles with each, up to 64 times as much
	DeadLetters string        // topic; empty makes DeadLetter fail
}

// failure is an error that a handler let end the task.
type failure struct {
	error
	clean bool // what the task did before the record is whole, and nothing of the record is done
}

// Unwrap returns the error.
func (f *failure) Unwrap() error { return f.error }

// Trials are the messages of a task that failed and are not done. They outlive the
// task when it starts again from its last commit.
type Trials map[place]*trial

// place is where a message was read; what belongs to none is nowhere.
type place struct {
	TP
	offset int64
}

func nowhere() place { return place{TP{Partition: -1}, -1} }

// trial is a message that failed.
type trial struct {
	failures int
	first    time.Time // failure
	due      time.Time // for the next try
	apart    bool      // it did something before it failed, so it is tried at the start of a unit
}

// failed counts a failure of a message, nil for none.
func (t *Task) failed(m *Message, cause *processor.Error) (*trial, ErrorEvent) {
	at := nowhere()
	if m != nil {
		at = placeOf(m)
	}
	tr := t.o.Trials[at]
	if tr == nil {
		tr = &trial{first: t.Now()}
		t.o.Trials[at] = tr
	}
	tr.failures++
	return tr, ErrorEvent{
		Task: t.id, Topic: at.Topic, Partition: at.Partition, Offset: at.offset, Message: m, Err: cause,
		Attempts: tr.failures, FirstFailed: tr.first,
	}
}

func placeOf(m *Message) place { return place{TP{m.Topic, m.Partition}, m.Offset} }

// passed forgets that a message failed: it is done.
func (t *Task) passed(m *Message) {
	if len(t.o.Trials) > 0 {
		delete(t.o.Trials, placeOf(m))
	}
}

// handled asks the handler about the failure of a message, nil for none, and does
// as it says. It returns true if the message has to stay for another try, and an
// error if the task cannot go on. acted tells whether the message did anything
// before it failed.
func (t *Task) handled(m *Message, err error, acted bool) (again bool, _ error) {
	if t.broken != nil {
		return false, fmt.Errorf("task %s: %w", t.id, t.broken)
	}
	if err == nil {
		return false, nil
	}
	cause := (*processor.Error)(nil)
	if !errors.As(err, &cause) {
		return false, fmt.Errorf("task %s: %w", t.id, err)
	}
	tr, e := t.failed(m, cause)
	return t.decide(tr, &e, nil, err, acted)
}

// decide does what the handler says about a failure, which may be that of sending
// o. An error of it is final for the task.
func (t *Task) decide(tr *trial, e *ErrorEvent, o *Outgoing, err error, acted bool) (again bool, _ error) {
	attrs := []any{
		slog.String("topic", e.Topic), slog.Int("partition", int(e.Partition)), slog.Int64("offset", e.Offset),
		slog.String("operator", e.Err.Operator), slog.String("stage", e.Err.Stage.String()), slog.Int("attempts", e.Attempts), slog.Any("error", e.Err.Err),
	}
	decision, panicked := t.ask(*e, err)
	err = errors.Join(err, panicked)
	switch decision {
	case Continue:
		t.dropped++
		t.log.Warn("record dropped", attrs...)
		return false, nil
	case DeadLetter:
		unwritten := t.bury(e, o)
		if errors.Is(unwritten, ErrRetry) {
			return false, fmt.Errorf("task %s: %w", t.id, unwritten)
		}
		if unwritten != nil {
			err = fmt.Errorf("%w; %w", unwritten, err)
			break
		}
		t.dropped++
		t.log.Warn("record written to the dead letters", append(attrs, slog.String("letters", t.o.DeadLetters))...)
		return false, nil
	case Retry:
		if e.Attempts > t.o.Retries {
			err = fmt.Errorf("given up after %d attempts: %w", e.Attempts, err)
			break
		}
		wait := t.o.Backoff << min(e.Attempts-1, 6)
		tr.due = t.Now().Add(wait)
		t.log.Warn("record is tried again", append(attrs, slog.Duration("wait", wait))...)
		if !acted {
			return true, nil
		}
		tr.apart = true
		return false, fmt.Errorf("%w: task %s: %s: %w", ErrRetry, t.id, e.place(), err)
	case Fail:
	}
	if e.Err.Stack != nil {
		attrs = append(attrs, slog.String("stack", string(e.Err.Stack)))
	}
	t.log.Error("record failed", attrs...)
	return false, &failure{fmt.Errorf("task %s: %s: %w", t.id, e.place(), err), !acted && t.broken == nil}
}

// ask calls the handler. One that panics has decided to fail.
func (t *Task) ask(e ErrorEvent, err error) (d Decision, panicked error) {
	if t.o.OnError == nil || errors.Is(err, processor.ErrStop) {
		return Fail, nil
	}
	defer func() {
		if p := recover(); p != nil {
			d, panicked = Fail, fmt.Errorf("the error handler panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return t.o.OnError(e), nil
}

// Handle implements processor.Host: what fails while stores are flushed, or in a
// punctuation, belongs to no message. All of the unit is made again to try it
// again.
func (t *Task) Handle(err error) error {
	if err == nil {
		return nil
	}
	if _, err = t.handled(nil, err, true); err != nil && errors.Is(err, ErrRetry) {
		return t.fail(err)
	}
	return err
}

// refused asks the handler about a record that the broker refuses. It returns
// nil if the rest of the message's work goes on.
func (t *Task) refused(o *Outgoing, err error) error {
	named := &processor.Error{Operator: t.sink(o.Topic), Stage: processor.Produce, Err: err}
	tr, e := t.failed(t.current, named)
	_, err = t.decide(tr, &e, o, named, true)
	return t.fail(err)
}

// sink returns the node that writes a topic, or the topic if none does.
func (t *Task) sink(topic string) string {
	for i := range t.sub.Nodes {
		n := &t.sub.Nodes[i]
		if n.Kind == graph.Sink && (slices.Contains(n.Topics, topic) || len(n.Topics) == 1 && graph.RepartitionTopic(t.o.ApplicationID, n.Topics[0]) == topic) {
			return n.Name
		}
	}
	return topic
}

// RetryAt returns when a message of the task is tried again, and false if none
// waits for it. Until then the task stands still, so that records keep their order.
func (t *Task) RetryAt() (time.Time, bool) {
	var at time.Time
	for _, tr := range t.o.Trials {
		if tr.due.After(at) {
			at = tr.due
		}
	}
	return at, at.After(t.Now())
}

// apart reports whether a commit has to come before m is tried again.
func (t *Task) apart(m *Message) bool {
	if len(t.o.Trials) == 0 || !t.Touched() {
		return false
	}
	tr := t.o.Trials[placeOf(m)]
	return tr != nil && tr.apart
}

// acts counts what the task did that another try would do again.
func (t *Task) acts() uint64 {
	n := t.acted
	for _, s := range t.stores {
		n += s.store.Writes()
	}
	return n
}
