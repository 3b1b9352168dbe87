package runtime

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/processor"
)

// ApplicationID implements processor.Host.
func (t *Task) ApplicationID() string { return t.o.ApplicationID }

// TaskID implements processor.Host.
func (t *Task) TaskID() TaskID { return t.id }

// Store implements processor.Host.
func (t *Task) Store(name string) (statestore.Store, error) {
	for _, s := range t.stores {
		if s.desc.Name == name {
			return s.store, nil
		}
	}
	return nil, fmt.Errorf("task %s has no store %s", t.id, name)
}

// Global implements processor.Host.
func (t *Task) Global(store string) (processor.GlobalRows, error) { return t.o.Globals.Rows(store) }

// Send implements processor.Host.
func (t *Task) Send(o Outgoing) error {
	err := t.collect(&o)
	if errors.Is(err, ErrRefused) {
		return t.refused(&o, err)
	}
	return t.fail(err)
}

func (t *Task) collect(o *Outgoing) error {
	t.touched = true
	t.acted++
	return t.o.Collector.Send(o)
}

// StreamTime implements processor.Host.
func (t *Task) StreamTime() int64 { return t.time }

// Now implements processor.Host.
func (t *Task) Now() time.Time { return t.o.Now() }

// EmitInterval implements processor.Host.
func (t *Task) EmitInterval() time.Duration { return t.o.EmitInterval }

// Remember implements processor.Host.
func (t *Task) Remember(name string, n int64) {
	t.acted++
	t.marks[name] = n
}

// Remembered implements processor.Host.
func (t *Task) Remembered(name string) (int64, bool) {
	n, ok := t.marks[name]
	return n, ok
}

// Meta implements processor.Host.
func (t *Task) Meta() (topic string, partition int32, offset int64, ok bool) {
	if t.current == nil {
		return "", 0, 0, false
	}
	return t.current.Topic, t.current.Partition, t.current.Offset, true
}

// RequestCommit implements processor.Host.
func (t *Task) RequestCommit() { t.asked = true }

// CommitRequested reports whether an operator asked for a commit since the last
// one.
func (t *Task) CommitRequested() bool { return t.asked }

// Drop implements processor.Host.
func (t *Task) Drop(reason string) {
	t.dropped++
	if t.o.OnDrop != nil {
		t.o.OnDrop(t.id, reason)
	}
}

// Logger implements processor.Host.
func (t *Task) Logger() *slog.Logger { return t.log }

// fail remembers an error that is not of user code, so that no handler is asked
// about it.
func (t *Task) fail(err error) error {
	if err != nil && t.broken == nil {
		t.broken = err
	}
	return err
}
