package processor

import (
	"errors"
	"fmt"
)

// ErrStop is wrapped by an error after which the application cannot go on: no
// error handler is asked about it.
var ErrStop = errors.New("cannot go on")

// Stage says what a task was doing when it failed.
type Stage int

// The stages of a record's way through a task.
const (
	// Deserialize is reading the bytes, or the time, of a polled message.
	Deserialize Stage = iota
	// Process is the work of an operator, lambdas and stores included.
	Process
	// Serialize is writing the bytes of a record that leaves.
	Serialize
	// Produce is sending it: the broker refuses the record.
	Produce
)

// String returns the name of the stage.
func (s Stage) String() string {
	switch s {
	case Deserialize:
		return "deserialize"
	case Process:
		return "process"
	case Serialize:
		return "serialize"
	case Produce:
		return "produce"
	default:
		return fmt.Sprintf("stage(%d)", int(s))
	}
}

// Error is the failure of one record at one operator.
type Error struct {
	Operator string // name of the node in the topology
	Stage    Stage
	Err      error
	Stack    []byte // where it panicked; nil if it did not
}

// Error returns the operator, the stage and the cause on one line.
func (e *Error) Error() string {
	return e.Operator + ": " + e.Stage.String() + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
