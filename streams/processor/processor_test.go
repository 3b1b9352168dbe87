package processor_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/weirstream/weir/streams/processor"
)

func TestNames(t *testing.T) {
	for want, got := range map[string]fmt.Stringer{
		"0_1":            processor.TaskID{Partition: 1},
		"stream_time":    processor.StreamTime,
		"wall_clock":     processor.WallClock,
		"punctuation(7)": processor.PunctuationType(7),
		"deserialize":    processor.Deserialize,
		"process":        processor.Process,
		"serialize":      processor.Serialize,
		"produce":        processor.Produce,
		"stage(7)":       processor.Stage(7),
	} {
		if got.String() != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestErrorKeepsItsCause(t *testing.T) {
	cause := errors.New("cause")
	err := error(&processor.Error{Operator: "op", Stage: processor.Serialize, Err: cause})
	if err.Error() != "op: serialize: cause" || !errors.Is(err, cause) {
		t.Errorf("error %q, want operator, stage and cause", err)
	}
}
