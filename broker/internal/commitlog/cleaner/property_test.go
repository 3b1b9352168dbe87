package cleaner

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/broker/internal/record"
)

// committed replays a log as a reader of committed records does, and returns the value of each key
// that has one.
func committed(t tester, log []record.Batch, aborted []layout.AbortedTxn) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, b := range log {
		if b.IsControl() || slices.ContainsFunc(aborted, func(a layout.AbortedTxn) bool {
			return b.IsTransactional() && a.ProducerID == b.ProducerID() && a.First <= b.BaseOffset() && b.BaseOffset() < a.Last
		}) {
			continue
		}
		for r, err := range b.Records(1 << 20) {
			switch {
			case err != nil:
				t.Fatal(err)
			case r.Key == nil:
			case r.Value == nil:
				delete(values, string(r.Key))
			default:
				values[string(r.Key)] = string(r.Value)
			}
		}
	}
	return values
}

// TestAReaderSeesTheSameValuesAfterAnyRounds: whatever was appended, and wherever rounds begin, are
// cut short by a full map, or come late, a reader of committed records ends with the same values;
// the log's end and the producers' last batches are still there; a round repeated once all
// horizons have passed leaves one record of each key.
func TestAReaderSeesTheSameValuesAfterAnyRounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var log []record.Batch
		var aborted []layout.AbortedTxn
		var cleaned, now int64
		at := int64(rapid.IntRange(0, 3).Draw(t, "start"))
		open := map[int64]int64{} // first offsets of transactions
		last := map[int64]Last{}
		serial := 0
		add := func(line string) record.Batch {
			b := parseBatch(t, line, at, rapid.SampledFrom([]record.Codec{record.None, record.Snappy}).Draw(t, "codec"))
			log, at = append(log, b), b.NextOffset()
			return b
		}
		records := func() string {
			var out strings.Builder
			for range rapid.IntRange(1, 4).Draw(t, "records") {
				serial++
				key := rapid.SampledFrom(strings.Split("abcdefghi-", "")).Draw(t, "key")
				value := fmt.Sprint(serial)
				if rapid.IntRange(0, 3).Draw(t, "tombstone") == 0 {
					value = "~"
				}
				fmt.Fprintf(&out, " %s=%s", key, value)
			}
			return out.String()
		}
		end := func(id int64, how string) {
			first := open[id]
			delete(open, id)
			b := add(fmt.Sprintf("t%d %s", id, how))
			if how == "abort" {
				aborted = append(aborted, layout.AbortedTxn{ProducerID: id, First: first, Last: b.BaseOffset()})
			}
		}
		round := func(m *OffsetMap) {
			now += int64(rapid.IntRange(0, 150).Draw(t, "later"))
			stable := len(log)
			for _, first := range open {
				stable = min(stable, slices.IndexFunc(log, func(b record.Batch) bool { return b.BaseOffset() >= first }))
			}
			if stable == 0 {
				return
			}
			want := committed(t, log, aborted)
			end := log[stable-1].NextOffset()
			left, kept, upTo := clean(t, log[:stable], Options{
				Map: m, From: cleaned, Now: now, DeleteRetention: 100, Producers: maps.Clone(last),
				Aborted: slices.Clone(aborted),
			})
			beyond := slices.DeleteFunc(slices.Clone(aborted), func(a layout.AbortedTxn) bool { return a.Last < end })
			aborted = append(kept, beyond...)
			log = append(left, log[stable:]...)
			if diff := cmp.Diff(want, committed(t, log, aborted)); diff != "" {
				t.Fatalf("values changed: %s", diff)
			}
			if left[len(left)-1].NextOffset() != end || upTo > end || upTo < cleaned {
				t.Fatalf("ends at %d, not %d; compacted up to %d", left[len(left)-1].NextOffset(), end, upTo)
			}
			for id, l := range last {
				if l.Offset >= 0 && !slices.ContainsFunc(log, func(b record.Batch) bool { return b.ProducerID() == id && b.LastOffset() == l.Offset }) {
					t.Fatalf("the last batch of producer %d at %d is gone", id, l.Offset)
				}
			}
			cleaned = upTo
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			id := int64(rapid.IntRange(7, 9).Draw(t, "producer"))
			_, busy := open[id]
			switch what := rapid.IntRange(0, 9).Draw(t, "what"); {
			case what < 3:
				add(records())
			case what < 7 || !busy && what < 9:
				b := add(fmt.Sprintf("t%d:%s", id, records()))
				if !busy {
					open[id] = b.BaseOffset()
				}
				last[id] = Last{Offset: b.LastOffset()}
			case what == 7:
				end(id, "commit")
			case what == 8:
				end(id, "abort")
			default:
				round(NewOffsetMap(0, 0, 1000, seeds())) // room for six keys
			}
		}
		for id := range maps.Clone(open) {
			end(id, rapid.SampledFrom([]string{"commit", "abort"}).Draw(t, "how"))
		}
		want := committed(t, log, aborted)
		clear(last)
		for range 4 {
			now += 1000
			round(nil)
		}
		count := 0
		for _, b := range log {
			if !b.IsControl() {
				count += int(b.Count())
			}
		}
		if count != len(want) {
			t.Fatalf("%d records left of %d keys: %s", count, len(want), show(t, log))
		}
	})
}
