package coordinator

import (
	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/record"
)

// Log is one partition of a compacted internal topic, as the leader of that partition sees it.
// Methods may be called from any goroutine.
type Log interface {
	// Append writes batches, all of them or none, and returns without waiting for their commit. done is
	// called once, from any goroutine and possibly before Append returns: with nil when they are
	// committed (the high watermark has passed them), with an error when they are not or when that is
	// unknown.
	Append(batches []byte, done func(err error))

	// Check tells whether the log as it is now would take a marker; bumped as in machine.Marker. The
	// error is what a client may be answered.
	Check(marker record.Batch, bumped bool) error

	// Read returns whole batches from the one that holds the offset onwards, about maxBytes but at
	// least one, up to EndOffset whatever the high watermark is, and the offset after them. The
	// bytes are the caller's.
	Read(from int64, maxBytes int) (batches []byte, next int64, err error)

	// StartOffset is the first offset that the log may still hold.
	StartOffset() int64

	// EndOffset is the offset that the next record gets.
	EndOffset() int64
}

// Sender delivers requests to other brokers. Send does not block; done is called once, from any
// goroutine.
type Sender interface {
	Send(s machine.Send, done func(value any, err error))
}

// Done takes the answer to an event. It is called once, from any goroutine, under no lock of the
// runtime, and must not block.
type Done func(value any, err error)
