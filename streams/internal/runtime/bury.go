package runtime

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/weirstream/weir/internal/deadletter"
	"github.com/weirstream/weir/streams/processor"
)

var errNoDeadLetters = errors.New("there is no dead-letter topic")

// bury sends a record that failed to the dead-letter topic, as a part of the
// unit: the letter counts when the progress past the record does. It is the record
// that was read, or if there is none the one that was to be sent, if any. Its time
// is that of the failure, so that no retention deletes it for its age. If it cannot
// be sent the task fails.
func (t *Task) bury(e *ErrorEvent, o *Outgoing) error {
	if t.o.DeadLetters == "" {
		return errNoDeadLetters
	}
	l := t.letter(e, o)
	out := Outgoing{Topic: t.o.DeadLetters, Partition: AnyPartition, Timestamp: l.LastFailedAt}
	var own []Header
	switch {
	case e.Message != nil:
		out.Key, out.Value, own = e.Message.Key, e.Message.Value, e.Message.Headers
	case o != nil:
		out.Key, out.Value, own = o.Key, o.Value, o.Headers
	}
	headers := make([]deadletter.Header, len(own))
	for i, h := range own {
		headers[i] = deadletter.Header(h)
	}
	l.Lineage(headers)
	out.Headers = write(&l, headers)
	err := t.o.Collector.Send(&out)
	if errors.Is(err, ErrRefused) && l.Error.Stack != "" { // it may fit without
		l.Error.Stack = ""
		out.Headers = write(&l, headers)
		err = t.o.Collector.Send(&out)
	}
	t.touched = true
	if err != nil {
		return t.fail(fmt.Errorf("dead letter to %s: %w", out.Topic, err))
	}
	return nil
}

func write(l *deadletter.Letter, own []deadletter.Header) []Header {
	all := l.Append(slices.Clip(own), deadletter.Streams)
	headers := make([]Header, len(all))
	for i, h := range all {
		headers[i] = Header(h)
	}
	return headers
}

// letter says what is known of a failure.
func (t *Task) letter(e *ErrorEvent, o *Outgoing) deadletter.Letter {
	l := deadletter.Letter{
		Origin: deadletter.Nowhere(), Component: t.o.ApplicationID, Task: t.id.String(),
		Stage: e.Err.Stage.String(), Operator: e.Err.Operator,
		Error:    deadletter.Error{Class: deadletter.Class(e.Err.Err), Message: e.Err.Error(), Stack: string(e.Err.Stack)},
		Attempts: int32(e.Attempts), FirstFailedAt: e.FirstFailed.UnixMilli(), LastFailedAt: t.Now().UnixMilli(),
	}
	switch {
	case e.Message != nil:
		l.Origin = deadletter.Origin{Topic: e.Topic, Partition: e.Partition, Offset: e.Offset, Timestamp: t.came(e.Message)}
	case o != nil:
		l.Origin.Topic, l.Origin.Timestamp = o.Topic, o.Timestamp
	}
	if coded := (interface{ KafkaCode() int16 })(nil); errors.As(e.Err.Err, &coded) {
		l.Error.Code = int32(coded.KafkaCode())
	}
	l.Fingerprint = deadletter.Fingerprint(l.Error)
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails
	l.ID = deadletter.NewID(l.LastFailedAt, random)
	return l
}

// came returns the time that a message had when it came.
func (t *Task) came(m *processor.Message) int64 {
	if q := t.queue(TP{m.Topic, m.Partition}); q != nil && q.stamped {
		return q.came
	}
	return m.Timestamp
}
