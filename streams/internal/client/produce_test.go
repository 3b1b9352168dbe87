package client

import (
	"context"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestUsersChoosePartitions: a choice that is none is left to the key, and one
// that cannot be is the failure of the record, which nobody tries again.
func TestUsersChoosePartitions(t *testing.T) {
	for name, tc := range map[string]struct {
		choose func(n int32) int32
		want   int
		fails  string
	}{
		"the last":       {choose: func(n int32) int32 { return n - 1 }, want: 5},
		"left to key":    {choose: func(int32) int32 { return -1 }, want: 4},
		"too many":       {choose: func(n int32) int32 { return n }, want: -1, fails: "choose a partition of t: 6 is chosen, there are 6"},
		"nothing at all": {choose: func(int32) int32 { panic("no idea") }, want: -1, fails: "panic: no idea"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &choice{f: tc.choose}
			r := &kgo.Record{Topic: "t", Partition: -1, Offset: 10, Context: context.WithValue(t.Context(), choiceKey{}, c)}
			if got := partitioner("t")(r, 6); got != tc.want {
				t.Errorf("partition %d, want %d", got, tc.want)
			}
			s := &sender{refused: &refusals{}}
			s.done(r, context.Canceled)
			if err := s.failed(); tc.fails != "" && (err == nil || !strings.Contains(err.Error(), tc.fails)) {
				t.Errorf("error %v", err)
			}
		})
	}
	if got := partitioner("t")(&kgo.Record{Partition: -1, Offset: 10}, 6); got != 4 {
		t.Errorf("a record without a choice went to %d", got)
	}
}
