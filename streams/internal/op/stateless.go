package op

import (
	"fmt"
	"io"
	"iter"

	"github.com/weirstream/weir/streams/processor"
)

// Filter passes the records for which test answers want.
func Filter[K, V any](e *Env, name string, test func(K, V) bool, want bool, next Next[K, V]) Next[K, V] {
	return func(r processor.Record[K, V]) error {
		e.Enter(name)
		if test(r.Key, r.Value) != want {
			return nil
		}
		return next(r)
	}
}

// Map replaces key and value.
func Map[K, V, K2, V2 any](e *Env, name string, f func(K, V) (K2, V2), next Next[K2, V2]) Next[K, V] {
	return func(r processor.Record[K, V]) error {
		e.Enter(name)
		k, v := f(r.Key, r.Value)
		return next(with(r, k, v))
	}
}

// MapValues replaces the value.
func MapValues[K, V, V2 any](e *Env, name string, f func(K, V) V2, next Next[K, V2]) Next[K, V] {
	return func(r processor.Record[K, V]) error {
		e.Enter(name)
		return next(withValue(r, f(r.Key, r.Value)))
	}
}

// FlatMap replaces a record by any number of others.
func FlatMap[K, V, K2, V2 any](e *Env, name string, f func(K, V) iter.Seq2[K2, V2], next Next[K2, V2]) Next[K, V] {
	return func(r processor.Record[K, V]) error {
		e.Enter(name)
		for k, v := range f(r.Key, r.Value) {
			if err := next(with(r, k, v)); err != nil {
				return err
			}
			e.Enter(name)
		}
		return nil
	}
}

// FlatMapValues replaces a record by any number of others with the same key.
func FlatMapValues[K, V, V2 any](e *Env, name string, f func(K, V) iter.Seq[V2], next Next[K, V2]) Next[K, V] {
	return func(r processor.Record[K, V]) error {
		e.Enter(name)
		for v := range f(r.Key, r.Value) {
			if err := next(withValue(r, v)); err != nil {
				return err
			}
			e.Enter(name)
		}
		return nil
	}
}

// SelectKey replaces the key.
func SelectKey[K, V, K2 any](e *Env, name string, f func(K, V) K2, next Next[K2, V]) Next[K, V] {
	return func(r processor.Record[K, V]) error {
		e.Enter(name)
		k := f(r.Key, r.Value)
		return next(processor.Record[K2, V]{
			Key: k, Value: r.Value, NullValue: r.NullValue, Timestamp: r.Timestamp, Headers: r.Headers,
		})
	}
}

// Peek shows each record to f and passes it on.
func Peek[K, V any](e *Env, name string, f func(K, V), next Next[K, V]) Next[K, V] {
	return func(r processor.Record[K, V]) error {
		e.Enter(name)
		f(r.Key, r.Value)
		return next(r)
	}
}

// Print writes each record as a line and ends the stream.
func Print[K, V any](e *Env, name, label string, w io.Writer) Next[K, V] {
	var line []byte
	return func(r processor.Record[K, V]) error {
		e.Enter(name)
		line = fmt.Appendf(line[:0], "[%s]: ", label)
		line = append(appendText(line, r.Key, r.NullKey), ", "...)
		line = append(appendText(line, r.Value, r.NullValue), '\n')
		_, err := w.Write(line)
		return fail(name, processor.Process, err)
	}
}

func appendText[T any](dst []byte, v T, null bool) []byte {
	if null {
		return append(dst, "null"...)
	}
	return fmt.Append(dst, v)
}

// Case is one way out of a [Split].
type Case[K, V any] struct {
	Test func(K, V) bool // nil takes every record
	Next Next[K, V]
}

// Split hands a record to the first case that takes it.
func Split[K, V any](e *Env, name string, cases []Case[K, V]) Next[K, V] {
	return func(r processor.Record[K, V]) error {
		e.Enter(name)
		for i := range cases {
			if cases[i].Test == nil || cases[i].Test(r.Key, r.Value) {
				return cases[i].Next(r)
			}
		}
		return nil
	}
}

// DropNullKeys stands before a repartition topic, where a record without a key
// has no partition to go to.
func DropNullKeys[K, V any](e *Env, next Next[K, V]) Next[K, V] {
	return func(r processor.Record[K, V]) error {
		if r.NullKey {
			e.Drop(NullKey)
			return nil
		}
		return next(r)
	}
}

// ToStream turns the changes of a table into a stream of its new values.
func ToStream[K, V any](next Next[K, V]) Next[K, Change[V]] {
	return func(r processor.Record[K, Change[V]]) error {
		return next(processor.Record[K, V]{
			Key: r.Key, Value: r.Value.New, NullKey: r.NullKey, NullValue: r.NullValue,
			Timestamp: r.Timestamp, Headers: r.Headers,
		})
	}
}

// The reasons for dropping a record, as the metric labels them.
const (
	NullKey   = "null_key"
	NullValue = "null_value"
	Late      = "late"
)
