package partition_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/record"
)

// TestConcurrentUseKeepsTheLaws has several producers, consumers and a syncer at one partition:
// each append is answered once, offsets have no gaps, nobody reads above the high watermark,
// and what is read never changes.
func TestConcurrentUseKeepsTheLaws(t *testing.T) {
	r := newRig(t, nil)
	const producers, each = 4, 150
	var got answers
	var wg, readers sync.WaitGroup
	stop := make(chan struct{})
	for id := range producers {
		wg.Go(func() {
			for seq := range each {
				acks := int16(-1)
				if seq%5 == 4 {
					acks = 1
				}
				b := idempotent(int64(id), int32(seq), 1)
				r.p.Append(b, partition.AppendRequest{Acks: acks, Timeout: time.Hour, CurrentEpoch: -1, Token: id*each + seq}, &got)
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			next := int64(0)
			for {
				for _, b := range r.read(next) {
					if b.BaseOffset() > next || b.LastOffset() >= r.p.HighWatermark() {
						t.Errorf("batch at %d, wanted %d below %d", b.BaseOffset(), next, r.p.HighWatermark())
					}
					next = b.NextOffset()
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	readers.Go(func() {
		var w counter
		for {
			watch := partition.Watch{Watcher: &w}
			r.p.Watch(&watch)
			r.sync()
			watch.Cancel()
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	wg.Wait()
	r.sync()
	close(stop)
	readers.Wait()
	tokens := got.tokens()
	slices.Sort(tokens)
	offsets := map[int64]bool{}
	for _, a := range got.all() {
		if a.err != nil {
			t.Fatal(a.err)
		}
		offsets[a.r.BaseOffset] = true
	}
	if len(slices.Compact(tokens)) != producers*each || len(offsets) != producers*each || r.p.HighWatermark() != producers*each {
		t.Fatal(len(tokens), len(offsets), r.p.HighWatermark())
	}
}

// TestCompletionsMayCallThePartition appends from a completion, as pipelined work does.
func TestCompletionsMayCallThePartition(t *testing.T) {
	r := newRig(t, nil)
	var got answers
	all := partition.AppendRequest{Acks: -1, Timeout: time.Hour, CurrentEpoch: -1}
	r.p.Append(batch(1), all, after(func() {
		r.p.Append(batch(1), all, &got)
		_ = r.p.Status()
	}))
	r.sync()
	r.sync()
	if a := got.only(t); a.err != nil || a.r.BaseOffset != 1 {
		t.Fatalf("%+v", a)
	}
}

type after func()

func (f after) Appended(int, partition.AppendResult, error) { f() }

func TestClosingDuringAppendsAnswersEachOnce(t *testing.T) {
	r := newRig(t, nil)
	var got answers
	var wg sync.WaitGroup
	for id := range 4 {
		wg.Go(func() {
			for i := range 50 {
				r.p.Append(batch(1), partition.AppendRequest{Acks: -1, Timeout: time.Hour, CurrentEpoch: -1, Token: id*50 + i}, &got)
			}
		})
	}
	wg.Go(func() { r.sync() })
	wg.Go(func() { r.p.Close(kerr.NotLeaderForPartition) })
	wg.Wait()
	tokens := got.tokens()
	slices.Sort(tokens)
	if len(tokens) != 200 || len(slices.Compact(tokens)) != 200 {
		t.Fatal(len(tokens))
	}
	for _, a := range got.all() {
		if a.err != nil && !errors.Is(a.err, kerr.NotLeaderForPartition) {
			t.Fatal(a.err)
		}
	}
}

func sized(size int) record.Batch {
	b := record.NewBuilder(record.Options{})
	for b.Size() < size {
		b.Append(0, []byte("key-00000"), make([]byte, 88), nil)
	}
	return b.Build()
}

type discard struct{}

func (discard) Appended(int, partition.AppendResult, error) {}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{16 << 10, 64 << 10} {
		for name, acks := range map[string]int16{"acks=1": 1, "acks=all": -1} {
			b.Run(fmt.Sprintf("%dKiB/%s", size>>10, name), func(b *testing.B) {
				r := diskRig(b)
				batch := sized(size)
				request := partition.AppendRequest{Acks: acks, Timeout: time.Minute, CurrentEpoch: -1}
				b.SetBytes(int64(len(batch)))
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					batch.SetBaseOffset(0)
					r.p.Append(batch, request, discard{})
					if n++; n%256 == 0 {
						r.sync()
					}
				}
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	r := diskRig(b)
	for range 64 {
		r.append(sized(16 << 10))
	}
	r.sync()
	end := r.p.HighWatermark()
	b.ReportAllocs()
	from := int64(0)
	for b.Loop() {
		res, err := r.p.Read(partition.ReadRequest{Offset: from, MaxBytes: 64 << 10, MinOne: true, CurrentEpoch: -1})
		if err != nil {
			b.Fatal(err)
		}
		res.Range.Release()
		from = (from + 97) % end
	}
}
