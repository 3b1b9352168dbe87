package wiring

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/weirstream/weir/streams/processor"
)

// InvalidTime says what becomes of a record whose time is negative or cannot be
// told.
type InvalidTime int

// What can become of it.
const (
	FailOnInvalid InvalidTime = iota
	LogAndSkip
	UsePartitionTime
)

// Times is where a source has the time of its records from: the message, a
// function of the user, or the wall clock.
type Times struct {
	From    func(*processor.Message) (int64, error) // nil for that of the message
	Wall    bool
	Invalid InvalidTime
}

// invalidTime is the reason for dropping a record without a time.
const invalidTime = "invalid_timestamp"

var (
	errNegativeTime = errors.New("negative timestamp")
	errNoTime       = errors.New("no record of the partition had a time before")
)

// Timestamp implements processor.Task.
func (t *task) Timestamp(m *processor.Message, partitionTime int64) (int64, error) {
	in, err := t.inlet(m)
	if err != nil {
		return 0, err
	}
	ms, err := t.told(in, m)
	if err == nil {
		return ms, nil
	}
	switch in.times.Invalid {
	case LogAndSkip:
		t.env.Logger().Warn("record dropped: its time is not known", slog.String("topic", m.Topic),
			slog.Int("partition", int(m.Partition)), slog.Int64("offset", m.Offset), slog.Any("error", err))
		t.env.Drop(invalidTime)
		return 0, processor.ErrSkip
	case UsePartitionTime:
		if partitionTime >= 0 {
			return partitionTime, nil
		}
		err = fmt.Errorf("%w, and %w", err, errNoTime)
	case FailOnInvalid:
	}
	bad := &processor.Error{Operator: in.name, Stage: processor.Deserialize, Err: err}
	if p := (*processor.Error)(nil); errors.As(err, &p) {
		bad.Err, bad.Stack = p.Err, p.Stack
	}
	bad.Err = fmt.Errorf("time of %s-%d at offset %d: %w", m.Topic, m.Partition, m.Offset, bad.Err)
	return 0, bad
}

// told returns the time of a message as its source tells it.
func (t *task) told(in *inlet, m *processor.Message) (ms int64, err error) {
	switch {
	case in.times.Wall:
		return t.env.Now().UnixMilli(), nil
	case in.times.From == nil:
		ms = m.Timestamp
	default:
		err = t.guarded(func() error {
			t.env.Enter(in.name)
			ms, err = in.times.From(m)
			return err
		})
	}
	if err == nil && ms < 0 {
		err = errNegativeTime
	}
	return ms, err
}
