package window

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/weirstream/weir/streams/internal/op"
)

// Buffer is the room for rows that wait in Table.Suppress.
type Buffer struct {
	records, bytes int64
	strict         bool
}

// Unbounded returns a buffer that takes whatever comes.
func Unbounded() Buffer { return Buffer{records: math.MaxInt64, bytes: math.MaxInt64, strict: true} }

// MaxRecords returns a buffer for n rows, which lets the oldest go on early when
// it is full.
func MaxRecords(n int64) Buffer { return Buffer{records: n, bytes: math.MaxInt64} }

// MaxBytes returns a buffer for n bytes of keys, values and headers, which lets
// the oldest row go on early when it is full.
func MaxBytes(n int64) Buffer { return Buffer{records: math.MaxInt64, bytes: n} }

// MaxRecords bounds the rows too.
func (b Buffer) MaxRecords(n int64) Buffer { b.records = n; return b }

// MaxBytes bounds the bytes too.
func (b Buffer) MaxBytes(n int64) Buffer { b.bytes = n; return b }

// EmitEarlyWhenFull lets the oldest rows go on early rather than fail.
func (b Buffer) EmitEarlyWhenFull() Buffer { b.strict = false; return b }

// ShutDownWhenFull ends the app with an error that wraps ErrBufferFull rather
// than let a row go on early.
func (b Buffer) ShutDownWhenFull() Buffer { b.strict = true; return b }

// Suppressed says which changes of a table are held back, and for how long.
type Suppressed struct {
	wait   time.Duration
	final  bool
	buffer Buffer
}

// UntilTimeLimit holds each change back for some stream time, counted from the
// first one of its key.
func UntilTimeLimit(wait time.Duration, b Buffer) Suppressed {
	return Suppressed{wait: wait, buffer: b}
}

// UntilWindowCloses holds the rows of windows back until they cannot change any
// more. The buffer must be unbounded or shut down when it is full.
func UntilWindowCloses(b Buffer) Suppressed { return Suppressed{final: true, buffer: b} }

// Suppression checks what the user wants: final results need windows that close.
func Suppression[K any](s Suppressed) (by op.Suppression[K], final bool, err error) {
	by = op.Suppression[K]{
		Wait: Millis(s.wait), Time: op.TimeOfRecord[K],
		Records: s.buffer.records, Bytes: s.buffer.bytes, EmitEarly: !s.buffer.strict, Final: s.final,
	}
	switch {
	case s.buffer.records <= 0 || s.buffer.bytes <= 0:
		err = errors.New("a buffer needs room for at least one record and one byte")
	case s.wait < 0:
		err = fmt.Errorf("the wait %v is negative", s.wait)
	case s.final && by.EmitEarly:
		err = errors.New("final results cannot be emitted early: let the buffer be unbounded or shut down when it is full")
	}
	return by, s.final, err
}
