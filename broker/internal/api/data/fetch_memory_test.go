package data

import (
	"bytes"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/broker/internal/wire"
)

// within makes the rig's answers hold at most so many bytes.
func (r *rig) within(limit int64) *fetchMemory {
	memory := newFetchMemory(limit)
	r.table[1] = fetchWithin(r.deps, memory)
	return memory
}

func TestAnswersAreTheSameWithAndWithoutMemory(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 40)
		for i := range int32(40) {
			r.put(id, i, batch(1, 100), batch(int(i)+1, 700), batch(2, 30_000), batch(1, 10))
		}
		ask := func(limit int64, most int32) []byte {
			memory := r.within(limit)
			var all []byte
			for _, offset := range []int64{0, 1, 5} {
				for range 2 { // the second finds hints
					req := fetchOf(12, "t", id, offset)
					for i := range int32(40) {
						p := kmsg.NewFetchRequestTopicPartition()
						p.Partition, p.FetchOffset, p.PartitionMaxBytes = i, offset, most
						req.Topics[0].Partitions = append(req.Topics[0].Partitions, p)
					}
					all = append(all, r.start(req).body()...)
				}
			}
			if left := memory.left.Load(); left != limit {
				t.Errorf("%d of %d bytes were not given back", limit-left, limit)
			}
			return all
		}
		for _, most := range []int32{1, 500, 4096, 50_000, 1 << 20} {
			want := ask(0, most)
			for _, limit := range []int64{64 << 10, memoryBlock, maxMemory} {
				if !bytes.Equal(ask(limit, most), want) {
					t.Errorf("%d bytes of each: the answer within %d bytes differs", most, limit)
				}
			}
		}
	})
}

func TestMemoryOfAnswersIsBounded(t *testing.T) {
	m := newFetchMemory(2*memoryBlock + 10)
	var a fetchAnswer
	for range 2 {
		if room := a.room(m, 4096, 1<<30); len(room) != smallRange {
			t.Fatalf("room of %d bytes", len(room))
		}
		a.space = nil
	}
	if a.room(m, 4096, 1<<30) != nil {
		t.Error("more than there is was lent")
	}
	a.free(m)
	if left := m.left.Load(); left != 2*memoryBlock+10 || len(a.blocks) != 0 {
		t.Errorf("%d bytes are left in the end", left)
	}
}

// What is held for an answer does not depend on whether it is written, nor on what becomes of the
// partition meanwhile.
func TestAnAnswerHoldsWhatItHasRead(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 3)
		for i := range int32(3) {
			r.put(id, i, batch(3, 10))
		}
		memory := r.within(maxMemory)
		c := r.start(fetchOf(12, "t", id, 0, 0, 1, 2))
		var out wire.Out
		if err := c.resp.Respond(&out); err != nil || memory.left.Load() == maxMemory {
			t.Fatalf("%d bytes are free while an answer waits, %v", memory.left.Load(), err)
		}
		r.remove("t", id)
		for i := range int32(3) {
			if err := r.dir.Delete("t", i); err != nil {
				t.Fatal(err)
			}
		}
		batches := 0
		if err := out.Each(func(_ []byte, body wire.Body) error {
			if body == nil {
				return nil
			}
			batches++
			b := make([]byte, body.Len())
			_, err := body.ReadAt(b, 0)
			return errors.Join(err, record.Batch(b).Check())
		}); err != nil || batches != 3 {
			t.Errorf("%d batches, %v", batches, err)
		}
		out.Reset()
		if left := memory.left.Load(); left != maxMemory {
			t.Errorf("%d bytes were not given back by an answer that was not written", maxMemory-left)
		}
	})
}

// panicking is a quota that does not work.
type panicking struct{ route.Quota }

func TestAnAnswerThatPanicsGivesItsMemoryBack(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 1)
		r.put(id, 0, batch(3, 10))
		r.deps.Quota = panicking{}
		memory := r.within(maxMemory)
		c := r.start(fetchOf(12, "t", id, 0, 0))
		var out wire.Out
		func() {
			defer func() {
				if recover() == nil {
					t.Error("it did not panic")
				}
			}()
			_ = c.resp.Respond(&out)
		}()
		out.Reset()
		if left := memory.left.Load(); left != maxMemory {
			t.Errorf("%d bytes were not given back", maxMemory-left)
		}
	})
}
