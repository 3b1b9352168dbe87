package app

import (
	"context"
	"fmt"
	"slices"

	"github.com/weirstream/weir/streams/internal/runtime"
)

// drained reports whether no record lies between the committed offset and the
// end of any partition that tasks read. Commits are read before ends: when a
// commit of a source was read, everything that it led to was already written,
// so an end that is read later covers it.
func drained(ctx context.Context, r runtime.Reader, work []runtime.Work) (bool, error) {
	tps := partitions(work)
	committed, err := r.Committed(ctx, tps)
	if err != nil {
		return false, fmt.Errorf("read commits: %w", err)
	}
	ends, err := r.Ends(ctx, tps)
	if err != nil {
		return false, fmt.Errorf("read ends: %w", err)
	}
	var bare []TopicPartition // no commit, but maybe no record either
	for _, tp := range tps {
		end, known := ends[tp]
		c, ok := committed[tp]
		switch {
		case !known:
			return false, nil
		case !ok || c.Offset < 0:
			bare = append(bare, tp)
		case c.Offset < end:
			return false, nil
		}
	}
	if len(bare) == 0 {
		return true, nil
	}
	starts, err := r.Starts(ctx, bare)
	if err != nil {
		return false, fmt.Errorf("read starts: %w", err)
	}
	return !slices.ContainsFunc(bare, func(tp TopicPartition) bool {
		start, known := starts[tp]
		return !known || start < ends[tp]
	}), nil
}

// lag returns how many offsets lie between the commits and the ends of what
// tasks read. Markers and gaps of compaction count.
func lag(ctx context.Context, r runtime.Reader, work []runtime.Work) (map[TopicPartition]int64, error) {
	tps := partitions(work)
	committed, err := r.Committed(ctx, tps)
	if err != nil {
		return nil, fmt.Errorf("read commits: %w", err)
	}
	starts, err := r.Starts(ctx, tps)
	if err != nil {
		return nil, fmt.Errorf("read starts: %w", err)
	}
	ends, err := r.Ends(ctx, tps)
	if err != nil {
		return nil, fmt.Errorf("read ends: %w", err)
	}
	behind := make(map[TopicPartition]int64, len(tps))
	for _, tp := range tps {
		from := starts[tp]
		if c, ok := committed[tp]; ok {
			from = max(from, c.Offset)
		}
		behind[tp] = max(0, ends[tp]-from)
	}
	return behind, nil
}

func partitions(work []runtime.Work) []TopicPartition {
	var tps []TopicPartition
	for _, w := range work {
		tps = append(tps, w.Partitions...)
	}
	return tps
}
