package route

import (
	"context"
	"errors"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kerr"
)

// The reasons for which the server closes a connection by a handler's wish.
var (
	// ErrPanic is why a connection whose handler panicked was closed.
	ErrPanic = errors.New("handler panicked")
	// ErrClose closes the connection and is not logged, as acks=0 asks for.
	ErrClose = errors.New("connection to be closed")
)

// Code is the one mapping of errors to codes of the protocol. nil is 0, a
// *kerr.Error anywhere in the chain is its own code, a sentinel of the storage has
// the code below, an ended context is REQUEST_TIMED_OUT (its outcome is unknown and
// the client asks again), and everything else UNKNOWN_SERVER_ERROR.
func Code(err error) int16 {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*kerr.Error](err); ok {
		return e.Code
	}
	for _, m := range storage() {
		if errors.Is(err, m.is) {
			return m.code.Code
		}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return kerr.RequestTimedOut.Code
	}
	return kerr.UnknownServerError.Code
}

// LogCode is Code for handlers that have a logger: an error that no client was
// meant to see is logged before it becomes UNKNOWN_SERVER_ERROR.
func LogCode(log *slog.Logger, err error) int16 {
	code := Code(err)
	if code == kerr.UnknownServerError.Code {
		log.Error("unexpected error in a handler", slog.Any("error", err))
	}
	return code
}

// mapping is a sentinel and the code that clients get for it.
type mapping struct {
	is   error
	code *kerr.Error
}
