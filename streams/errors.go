package streams

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/weirstream/weir/streams/internal/window"
)

// TopologyError is one mistake in a topology: at which operator, called from
// where. [Builder.Build] joins all of them.
type TopologyError struct {
	Op  string // name of the operator, given or generated
	Pos string // file:line of the call that added it
	Err error
}

// Error returns "operator (file:line): cause".
func (e *TopologyError) Error() string {
	return fmt.Sprintf("%s (%s): %v", e.Op, e.Pos, e.Err)
}

// Unwrap returns the cause.
func (e *TopologyError) Unwrap() error { return e.Err }

// The causes that programs ask for; others are plain text.
var (
	// ErrUnnamed means that a store or a repartition topic has a generated name
	// although the builder requires names.
	ErrUnnamed = errors.New("name required")
	// ErrDuplicate means that a name or a topic is taken.
	ErrDuplicate = errors.New("duplicate")
	// ErrOption means that an option does not apply to the operator.
	ErrOption = errors.New("option does not apply")
	// ErrWindow means that the windows make no sense.
	ErrWindow = window.ErrWindow
	// ErrEmpty means that the topology reads nothing.
	ErrEmpty = errors.New("topology has no source")
)

// caller returns the file and line of the nearest call from outside this
// package.
func caller() string {
	pcs := make([]uintptr, 16)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		inside := strings.HasPrefix(f.Function, "github.com/weirstream/weir/streams.") &&
			!strings.HasSuffix(f.File, "_test.go")
		if !inside || !more {
			return fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
		}
	}
}
