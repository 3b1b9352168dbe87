package txn

import (
	"regexp"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/machine/machinetest"
)

// TestTranscripts plays the conversations of testdata/transcripts. Each file tells what it shows.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		h := newHost(t)
		h.decide(machine.Input{Event: machine.Loaded{}})
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			h.T = t
			h.Out.Reset()
			h.run(args{machinetest.Args{T: t, D: d}, h})
			return h.Out.String()
		})
	})
}

func (h *host) run(a args) {
	switch who := a.who(); a.D.Cmd {
	case "options":
		h.m.options.MaxRecordBytes = a.Int("max-record", h.m.options.MaxRecordBytes)
	case "init":
		p := Producer{int64(a.Int("producer", noProducer)), int16(a.Int("epoch", noEpoch))}
		if a.Has("keep") {
			p = a.h.holds[who]
		}
		h.do(who, &InitProducer{
			TransactionalID: a.id(), Timeout: a.Duration("timeout", time.Minute),
			ProducerID: p.ID, ProducerEpoch: p.Epoch, NewProducerID: noProducer,
		})
	case "add", "verify":
		p := a.producer()
		h.do(who, &AddPartitions{
			TransactionalID: a.id(), ProducerID: p.ID, ProducerEpoch: p.Epoch, Partitions: a.partitions(),
			Verify: a.D.Cmd == "verify", Explicit: a.Has("v1"),
		})
	case "commit", "abort":
		p := a.producer()
		h.do(who, &EndTxn{
			TransactionalID: a.id(), ProducerID: p.ID, ProducerEpoch: p.Epoch, Commit: a.D.Cmd == "commit",
			Bump: !a.Has("v1"), NewProducerID: noProducer,
		})
	case "describe":
		h.do(who, &Describe{a.id()})
	case "list":
		h.do(who, a.list())
	case "deliver":
		h.deliver(a)
	case "advance":
		h.Advance(a.Span())
	case "move":
		h.move(int32(a.Int("epoch", 8)))
	case "log":
		h.showLog()
	case "record":
		h.record(a)
	default:
		a.D.Fatalf(h.T, "no such directive")
	}
}

func (a args) list() *List {
	e := &List{States: a.Strings("states"), Duration: a.Duration("longer", -1)}
	if id := a.Int("producer", noProducer); id != noProducer {
		e.ProducerIDs = []int64{int64(id)}
	}
	if p := a.String("pattern", ""); p != "" {
		e.Pattern = regexp.MustCompile(p)
	}
	return e
}

// record puts an id into the log as an earlier life left it.
func (h *host) record(a args) {
	x := &transaction{
		producerID: int64(a.Int("producer", 1)), previousID: noProducer, nextID: noProducer, epoch: int16(a.Int("epoch", 0)),
		timeout: 60_000, partitions: a.partitions(), updated: h.Now.UnixMilli(), started: h.Now.UnixMilli(), version: version2,
	}
	for s := Empty; s <= CompleteAbort; s++ {
		if s.String() == a.String("state", "Empty") {
			x.state = s
		}
	}
	r := machine.Record{Key: encodeKey(a.id()), Value: x.encode()}
	if err := h.m.Replay(r); err != nil {
		h.T.Fatal(err)
	}
	h.Log = append(h.Log, r)
	h.holds[a.who()] = Producer{x.producerID, x.epoch}
}
