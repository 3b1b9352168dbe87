package data

import (
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

// Beyond the frame that it came in, a request that is answered at once costs no memory.
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
	answer := func(key, version int16, body []byte) {
		resp, pending, err := r.table[key].Start(t.Context(), s, version, body)
		if err != nil || pending != nil {
			t.Fatalf("%v, pending %v", err, pending != nil)
		}
		if err := errors.Join(resp.Respond(&out), w.Write(&out)); err != nil {
			t.Fatal(err)
		}
		out.Reset()
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
