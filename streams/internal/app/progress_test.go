package app

import (
	"context"
	"errors"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/streams/internal/runtime"
)

// offsets is what a cluster knows of partitions.
type offsets struct {
	committed, starts, ends map[TopicPartition]int64
	failing                 string // the question that fails
}

var errAway = errors.New("away")

func (o *offsets) answer(question string) error {
	if question == o.failing {
		return errAway
	}
	return nil
}

func (o *offsets) Committed(_ context.Context, tps []TopicPartition) (map[TopicPartition]runtime.Offset, error) {
	found := map[TopicPartition]runtime.Offset{}
	for _, tp := range tps {
		at, ok := o.committed[tp]
		if !ok {
			at = -1
		}
		found[tp] = runtime.Offset{TP: tp, Offset: at}
	}
	return found, o.answer("committed")
}

func (o *offsets) Starts(context.Context, []TopicPartition) (map[TopicPartition]int64, error) {
	return o.starts, o.answer("starts")
}

func (o *offsets) Ends(context.Context, []TopicPartition) (map[TopicPartition]int64, error) {
	return o.ends, o.answer("ends")
}

func TestDrainedAndLag(t *testing.T) {
	in, in2 := TopicPartition{Topic: "in"}, TopicPartition{Topic: "in2"}
	work := []runtime.Work{{Partitions: []TopicPartition{in, in2}}}
	type at = map[TopicPartition]int64
	for name, tc := range map[string]struct {
		o       offsets
		drained bool
		lag     at
	}{
		"nothing there":           {offsets{starts: at{in: 0, in2: 0}, ends: at{in: 0, in2: 0}}, true, at{}},
		"nothing committed":       {offsets{starts: at{in: 0, in2: 0}, ends: at{in: 1, in2: 0}}, false, at{in: 1}},
		"all committed":           {offsets{committed: at{in: 1}, starts: at{in: 0, in2: 0}, ends: at{in: 1, in2: 0}}, true, at{}},
		"one more":                {offsets{committed: at{in: 1}, starts: at{in: 0, in2: 0}, ends: at{in: 2, in2: 0}}, false, at{in: 1}},
		"what is left was purged": {offsets{committed: at{in: 2}, starts: at{in: 0, in2: 1}, ends: at{in: 2, in2: 1}}, true, at{}},
		"an end is not known":     {offsets{committed: at{in: 0}, starts: at{in: 0, in2: 0}, ends: at{in: 0}}, false, at{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := drained(t.Context(), &tc.o, work); got != tc.drained || err != nil {
				t.Errorf("drained is %v, %v", got, err)
			}
			got, err := lag(t.Context(), &tc.o, work)
			if err != nil {
				t.Error(err)
			}
			maps.DeleteFunc(got, func(_ TopicPartition, n int64) bool { return n == 0 })
			if diff := cmp.Diff(tc.lag, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, question := range []string{"committed", "starts", "ends"} {
		o := &offsets{starts: at{in: 0, in2: 0}, ends: at{in: 0, in2: 0}, failing: question}
		if _, err := drained(t.Context(), o, work); !errors.Is(err, errAway) {
			t.Errorf("%s: drained gave %v", question, err)
		}
		if _, err := lag(t.Context(), o, work); !errors.Is(err, errAway) {
			t.Errorf("%s: lag gave %v", question, err)
		}
	}
}
