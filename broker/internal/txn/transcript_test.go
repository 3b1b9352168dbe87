package txn

import (
	"regexp"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/weirstream/weir/broker/internal/machine"
)

// TestTranscripts plays the conversations of testdata. Each file tells what it shows.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		h := newHost(t)
		h.decide(machine.Input{Event: machine.Loaded{}})
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			h.t = t
			h.out.Reset()
			h.run(args{h, d})
			return h.out.String()
		})
	})
}

func (h *host) run(a args) {
	switch who := a.who(); a.d.Cmd {
	case "options":
		h.m.options.MaxRecordBytes = a.int("max-record", h.m.options.MaxRecordBytes)
	case "init":
		p := Producer{int64(a.int("producer", noProducer)), int16(a.int("epoch", noEpoch))}
		if a.has("keep") {
			p = a.h.holds[who]
		}
		h.do(who, &InitProducer{
			TransactionalID: a.id(), Timeout: a.duration("timeout", time.Minute),
			ProducerID: p.ID, ProducerEpoch: p.Epoch, NewProducerID: noProducer,
		})
	case "add", "verify":
		p := a.producer()
		h.do(who, &AddPartitions{
			TransactionalID: a.id(), ProducerID: p.ID, ProducerEpoch: p.Epoch, Partitions: a.partitions(),
			Verify: a.d.Cmd == "verify", Explicit: a.has("v1"),
		})
	case "commit", "abort":
		p := a.producer()
		h.do(who, &EndTxn{
			TransactionalID: a.id(), ProducerID: p.ID, ProducerEpoch: p.Epoch, Commit: a.d.Cmd == "commit",
			Bump: !a.has("v1"), NewProducerID: noProducer,
		})
	case "describe":
		h.do(who, &Describe{a.id()})
	case "list":
		h.do(who, a.list())
	case "deliver":
		h.deliver(a)
	case "advance":
		d, err := time.ParseDuration(a.d.CmdArgs[0].Key)
		if err != nil {
			a.d.Fatalf(h.t, "%v", err)
		}
		h.advance(d)
	case "move":
		h.move(int32(a.int("epoch", 8)))
	case "log":
		h.showLog()
	case "record":
		h.record(a)
	default:
		a.d.Fatalf(h.t, "no such directive")
	}
}

func (a args) list() *List {
	e := &List{States: a.strings("states"), Duration: a.duration("longer", -1)}
	if id := a.int("producer", noProducer); id != noProducer {
		e.ProducerIDs = []int64{int64(id)}
	}
	if p := a.string("pattern", ""); p != "" {
		e.Pattern = regexp.MustCompile(p)
	}
	return e
}

// record puts an id into the log as an earlier life left it.
func (h *host) record(a args) {
	x := &transaction{
		producerID: int64(a.int("producer", 1)), previousID: noProducer, nextID: noProducer, epoch: int16(a.int("epoch", 0)),
		timeout: 60_000, partitions: a.partitions(), updated: h.now.UnixMilli(), started: h.now.UnixMilli(), version: version2,
	}
	for s := Empty; s <= CompleteAbort; s++ {
		if s.String() == a.string("state", "Empty") {
			x.state = s
		}
	}
	r := machine.Record{Key: encodeKey(a.id()), Value: x.encode()}
	if err := h.m.Replay(r); err != nil {
		h.t.Fatal(err)
	}
	h.log = append(h.log, r)
	h.holds[a.who()] = Producer{x.producerID, x.epoch}
}
