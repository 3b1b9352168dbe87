// Package op holds the processor behind each operator of the DSL.
//
// An operator is a closure from a typed record to the operators after it, made
// once for each task and then called from the goroutine that drives the task.
// No record is boxed on its way: bytes exist only at sources, sinks and stores.
package op

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/weirstream/weir/streams/processor"
)

// Next is everything that happens to a record from some point on.
type Next[K, V any] func(processor.Record[K, V]) error

// Change is the value on the way between tables: the new value, absent if the
// record says NullValue, and the one that it replaces. Late says that the row
// has a newer version already: it comes from a versioned table, and what only
// wants the latest rows drops it (KIP-914).
type Change[V any] struct {
	New, Old V
	HasOld   bool
	Late     bool
}

// Env is what the operators of one task share.
type Env struct {
	processor.Host
	current string // operator whose code runs, for errors
}

// NewEnv returns the environment of a task.
func NewEnv(h processor.Host) *Env { return &Env{Host: h} }

// Enter notes which operator calls user code or a store next, so that a panic
// can be told where it came from.
func (e *Env) Enter(operator string) { e.current = operator }

// Guard turns a panic into an error. It is deferred wherever the runtime calls
// into the operators of a task.
func (e *Env) Guard(err *error) {
	if p := recover(); p != nil {
		cause, ok := p.(error)
		if !ok {
			cause = fmt.Errorf("%v", p)
		}
		*err = &processor.Error{
			Operator: e.current, Stage: processor.Process,
			Err: fmt.Errorf("panic: %w", cause), Stack: debug.Stack(),
		}
	}
}

// Schedule is that of the host, with f guarded and its errors named after the
// operator.
func (e *Env) Schedule(operator string, every time.Duration, t processor.PunctuationType, f func(now int64) error) (cancel func()) {
	return e.Host.Schedule(every, t, func(now int64) (err error) {
		defer e.Guard(&err)
		e.Enter(operator)
		return fail(operator, processor.Process, f(now))
	})
}

// fail names the operator of an error; one that has a name keeps it.
func fail(operator string, stage processor.Stage, err error) error {
	if err == nil {
		return nil
	}
	if named := (*processor.Error)(nil); errors.As(err, &named) {
		return err
	}
	return &processor.Error{Operator: operator, Stage: stage, Err: err}
}

// FanOut hands each record to all of next, in order.
func FanOut[K, V any](next []Next[K, V]) Next[K, V] {
	switch len(next) {
	case 0:
		return func(processor.Record[K, V]) error { return nil }
	case 1:
		return next[0]
	default:
		return func(r processor.Record[K, V]) error {
			for _, n := range next {
				if err := n(r); err != nil {
					return err
				}
			}
			return nil
		}
	}
}

// with returns r with another key and value, both present.
func with[K, V, K2, V2 any](r processor.Record[K, V], key K2, value V2) processor.Record[K2, V2] {
	return processor.Record[K2, V2]{Key: key, Value: value, Timestamp: r.Timestamp, Headers: r.Headers}
}

// withValue returns r with another value, which is present.
func withValue[K, V, V2 any](r processor.Record[K, V], value V2) processor.Record[K, V2] {
	return processor.Record[K, V2]{
		Key: r.Key, Value: value, NullKey: r.NullKey, Timestamp: r.Timestamp, Headers: r.Headers,
	}
}
