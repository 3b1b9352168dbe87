package data

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/wire"
	"github.com/weirstream/weir/internal/env"
)

// woken is told that an answer is ready.
type woken chan struct{}

// Ready notes it.
func (w woken) Ready() { w <- struct{}{} }

// Beyond the frame that it came in, a request costs no memory, be it answered at once or after a wait.
func TestProduceAndFetchAllocateNothing(t *testing.T) {
	r := newRig(t, env.RealFS(), t.TempDir())
	id := r.topic("t", 4)
	for i := range int32(4) {
		r.put(id, i, batch(50, 100))
	}
	session := fetchOf(13, "t", id, 0, 0, 1, 2, 3)
	session.SessionEpoch = 0
	whole := session.AppendTo(nil)
	w := wire.NewWriter(discard{}, r.env.Clock, new(wire.Buffers), time.Minute)
	s := &route.Session{Listener: "PLAINTEXT"}
	var out wire.Out
	write := func(resp route.Response) {
		if err := errors.Join(resp.Respond(&out), w.Write(&out)); err != nil {
			t.Fatal(err)
		}
		out.Reset()
	}
	answer := func(key, version int16, body []byte) {
		resp, pending, err := r.table[key].Start(t.Context(), s, version, body)
		if err != nil || pending != nil {
			t.Fatalf("%v, pending %v", err, pending != nil)
		}
		write(resp)
	}
	answer(1, 13, whole)
	session.SessionID = r.ids
	session.Topics = nil
	requests := map[string]func(){}
	for name, c := range map[string]struct {
		key, version int16
		body         []byte
	}{
		"produce by name":         {0, 7, produceTo(7, 1, "t", id, 0, batch(100, 100)).AppendTo(nil)},
		"produce by id, acks=all": {0, 13, produceTo(13, -1, "t", id, 1, batch(100, 100)).AppendTo(nil)},
		"fetch by name":           {1, 11, fetchOf(11, "t", id, 0, 0, 1, 2, 3).AppendTo(nil)},
		"fetch by id":             {1, 13, fetchOf(13, "t", id, 0, 0, 1, 2, 3).AppendTo(nil)},
	} {
		scratch := make([]byte, len(c.body))
		requests[name] = func() {
			copy(scratch, c.body) // batches are stamped in place
			answer(c.key, c.version, scratch)
		}
	}
	epoch, next := uint32(0), session.AppendTo(nil)
	requests["fetch in a session"] = func() {
		const at = 4 + 4 + 4 + 4 + 1 + 4 // of the epoch
		epoch++
		binary.BigEndian.PutUint32(next[at:], epoch)
		answer(1, 13, next)
	}
	ready := make(woken, 1)
	wait := func(maxWait int32, index int32, wake func(resp route.Response)) func() {
		const here = 0x1122334455667788
		req := fetchOf(13, "t", id, here, index, 3)
		req.MaxWaitMillis = maxWait
		req.Topics[0].Partitions[1].FetchOffset = 50 // its end
		body := req.AppendTo(nil)
		offset := body[bytes.Index(body, binary.BigEndian.AppendUint64(nil, here)):]
		p, _ := r.Partition("t", index)
		return func() {
			binary.BigEndian.PutUint64(offset, uint64(p.HighWatermark()))
			resp, pending, err := r.table[1].Start(t.Context(), s, 13, body)
			if err != nil || pending == nil {
				t.Fatalf("it does not wait: %v", err)
			}
			pending.Wait(ready)
			wake(resp)
			<-ready
			write(resp)
		}
	}
	more := produceTo(13, 1, "t", id, 2, batch(1, 100)).AppendTo(nil)
	scratch := make([]byte, len(more))
	requests["fetch that waits for data"] = wait(60_000, 2, func(route.Response) {
		copy(scratch, more)
		answer(0, 13, scratch)
	})
	requests["fetch that waits in vain"] = wait(1, 2, func(route.Response) {})
	requests["fetch that is hurried"] = wait(60_000, 2, func(resp route.Response) {
		if p, ok := resp.(route.Poll); ok {
			p.Hurry()
		}
	})
	for name, request := range requests {
		for range 100 {
			request()
		}
		if n := testing.AllocsPerRun(500, request); n >= 1 && !raceDetector() {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// raceDetector says that this test was built with -race, under which pools forget at random.
func raceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}
