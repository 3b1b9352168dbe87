package partition_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// txnState is what the coordinator has done about a transaction.
type txnState int

const (
	txnOpen       txnState = iota
	txnCommitting          // the commit marker was sent
	txnAborting
)

// crashTxn is one transaction of the workload.
type crashTxn struct {
	producer record.Producer // Sequence is the next
	state    txnState
	ended    bool // the marker was acknowledged
	values   map[int64]string
}

// txnPromises is what a reader of committed records was shown, and how the transactions stood.
type txnPromises struct {
	txns []crashTxn
	of   map[string]int // index of the transaction by value
	read map[int64]string
}

// txnCut is the disk after a power cut.
type txnCut struct {
	fs   *env.MemFS
	lost env.Lost
	made txnPromises
}

// txnWorkload is transactions of a few producers, some of version 2, with a reader of committed
// records, on a disk that forgets.
type txnWorkload struct {
	t      testing.TB
	rng    *rand.Rand
	rig    *rig
	fs     *env.MemFS
	made   txnPromises
	open   [4]int   // index of each producer's open transaction, or -1
	epochs [4]int16 // of each producer; odd ones are of version 2 and get a new one with each marker
	next   [4]int32
	from   int64 // where the reader goes on
	cuts   []txnCut
	broken []error
	serial int
	mu     sync.Mutex // syncs of several files run side by side
}

func (w *txnWorkload) produce() {
	id := w.rng.IntN(len(w.open))
	if w.open[id] < 0 {
		w.open[id] = len(w.made.txns)
		w.made.txns = append(w.made.txns, crashTxn{producer: record.Producer{ID: int64(id), Epoch: w.epochs[id]}, values: map[int64]string{}})
	}
	at := w.open[id]
	w.serial++
	value := fmt.Sprintf("value-%d-%s", w.serial, strings.Repeat("x", w.rng.IntN(400)))
	w.made.of[value] = at
	by := record.Producer{ID: int64(id), Epoch: w.epochs[id], Sequence: w.next[id]}
	w.next[id]++
	done := appendedAt(func(offset int64, err error) {
		if err != nil {
			w.t.Fatalf("append: %v", err)
		}
		w.made.txns[at].values[offset] = value
	})
	ask := w.rig.p.AppendVerified(inTxnOf(by, value), partition.AppendRequest{Acks: 1, CurrentEpoch: -1}, done)
	if ask != nil {
		ask.Answer(nil)
	}
}

type appendedAt func(offset int64, err error)

func (f appendedAt) Appended(_ int, r partition.AppendResult, err error) { f(r.BaseOffset, err) }

func inTxnOf(by record.Producer, value string) []byte {
	b := record.NewBuilder(record.Options{Producer: &by, Transactional: true})
	b.Append(1, []byte("k"), []byte(value), nil)
	return b.Build()
}

// end has a coordinator end the open transaction of a producer.
func (w *txnWorkload) end() {
	id := w.rng.IntN(len(w.open))
	at := w.open[id]
	if at < 0 {
		return
	}
	w.open[id] = -1
	kind := record.Abort
	if w.made.txns[at].state = txnAborting; w.rng.IntN(2) == 0 {
		kind, w.made.txns[at].state = record.Commit, txnCommitting
	}
	bumped := id%2 == 1
	if bumped {
		w.epochs[id]++
		w.next[id] = 0
	}
	done := appendedAt(func(_ int64, err error) {
		if err == nil {
			w.made.txns[at].ended = true
		}
	})
	marker := record.NewEndTxn(int64(id), w.epochs[id], record.Control{Type: kind}, 1)
	w.rig.p.Append(marker, partition.AppendRequest{Acks: -1, Timeout: time.Hour, Internal: true, Bumped: bumped, CurrentEpoch: -1}, done)
}

// committed reads like a client that wants committed records: it skips what the answer says is aborted.
func committed(t testing.TB, p *partition.Partition, from int64, each func(offset int64, value string)) (next int64) {
	t.Helper()
	for {
		res, err := p.Read(partition.ReadRequest{Offset: from, MaxBytes: 1000, MinOne: true, ReadCommitted: true, CurrentEpoch: -1})
		if err != nil {
			t.Fatal(err)
		}
		batches := contents(t, res.Range)
		if len(batches) == 0 {
			return from
		}
		aborted, behind := map[int64]bool{}, slices.SortedFunc(slices.Values(res.Aborted), func(a, b commitlog.AbortedTxn) int { return int(a.First - b.First) })
		for _, b := range batches {
			for len(behind) > 0 && behind[0].First <= b.LastOffset() {
				aborted[behind[0].ProducerID] = true
				behind = behind[1:]
			}
			from = b.NextOffset()
			if b.IsControl() {
				delete(aborted, b.ProducerID())
				continue
			}
			if aborted[b.ProducerID()] {
				continue
			}
			for r, err := range b.Records(1 << 20) {
				if err != nil {
					t.Fatal(err)
				}
				each(r.Offset, string(r.Value))
			}
		}
	}
}

func (w *txnWorkload) read() {
	w.from = committed(w.t, w.rig.p, w.from, func(offset int64, value string) {
		w.made.read[offset] = value
		w.broken = append(w.broken, w.made.judge(offset, value)...)
	})
}

// judge says whether a reader of committed records may see a value.
func (m *txnPromises) judge(offset int64, value string) []error {
	switch m.txns[m.of[value]].state {
	case txnOpen:
		return []error{fmt.Errorf("open-seen: offset %d", offset)}
	case txnAborting:
		return []error{fmt.Errorf("aborted-seen: offset %d", offset)}
	case txnCommitting:
	}
	return nil
}

func (m *txnPromises) clone() txnPromises {
	c := txnPromises{of: maps.Clone(m.of), read: maps.Clone(m.read)}
	for _, t := range m.txns {
		t.values = maps.Clone(t.values)
		c.txns = append(c.txns, t)
	}
	return c
}

func (w *txnWorkload) cut() {
	policy := env.Policies()[w.rng.IntN(len(env.Policies()))]
	fs, lost := w.fs.Crash(policy, w.rng.Uint64())
	w.cuts = append(w.cuts, txnCut{fs, lost, w.made.clone()})
}

func runTxnCrashes(t testing.TB, seed uint64, faults partition.Faults) (broken []error, lossy []uint64) {
	t.Helper()
	w := &txnWorkload{
		t: t, rng: rand.New(rand.NewPCG(seed, 7)), fs: env.NewMemFS(), open: [4]int{-1, -1, -1, -1},
		made: txnPromises{of: map[string]int{}, read: map[int64]string{}},
	}
	w.rig = openRig(t, w.fs, func(o *partition.Options) { o.Faults = faults })
	w.fs.OnOp(func(op env.Op) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if op.Kind.Changes() && w.rng.IntN(6) == 0 {
			w.cut()
		}
		return nil
	})
	for range 120 {
		switch w.rng.IntN(8) {
		case 0, 1, 2:
			w.produce()
		case 3, 4:
			w.end()
		case 5:
			w.rig.sync()
		default:
			w.read()
		}
	}
	w.fs.OnOp(nil)
	w.rig.close()
	broken = w.broken
	for _, cut := range w.cuts {
		if cut.lost.Bytes > 0 {
			lossy = append(lossy, cut.fs.Fingerprint())
		}
		broken = append(broken, cut.verify(t)...)
	}
	return broken, lossy
}

// verify restarts the partition and reads it as before, then ends what is open, as the coordinator
// would, and reads again.
func (c txnCut) verify(t testing.TB) (broken []error) {
	t.Helper()
	r := openRig(t, c.fs, nil)
	defer r.close()
	check := func() {
		seen, stable := map[int64]string{}, r.p.LastStable()
		committed(t, r.p, r.p.Status().Start, func(offset int64, value string) {
			seen[offset] = value
			broken = append(broken, c.made.judge(offset, value)...)
		})
		for offset, value := range c.made.read {
			if seen[offset] != value {
				broken = append(broken, fmt.Errorf("read-then-lost: offset %d", offset))
			}
		}
		for _, txn := range c.made.txns {
			for offset, value := range txn.values {
				if txn.state == txnCommitting && txn.ended && offset < stable && seen[offset] != value {
					broken = append(broken, fmt.Errorf("commit-lost: offset %d", offset))
				}
			}
		}
	}
	check()
	for _, i := range r.p.Producers() {
		if i.TxnFirst < 0 {
			continue
		}
		kind := record.Abort
		for _, txn := range c.made.txns {
			if txn.producer.ID == i.ID && txn.producer.Epoch == i.Epoch && txn.state == txnCommitting && txn.values[i.TxnFirst] != "" {
				kind = record.Commit
			}
		}
		r.end(record.NewEndTxn(i.ID, i.Epoch, record.Control{Type: kind}, 1))
	}
	r.sync()
	if s := r.p.Status(); s.LastStable != s.End {
		broken = append(broken, fmt.Errorf("held-back: offset %d of %d with no transaction open", s.LastStable, s.End))
	}
	check()
	return broken
}

// TestNoPowerCutBreaksATransaction: committed records stay, records of open and aborted transactions
// are never shown to who wants committed ones, before a power cut and after it.
func TestNoPowerCutBreaksATransaction(t *testing.T) {
	faults := plant(t)
	seeds, least := uint64(400), 2000
	if testing.Short() {
		seeds, least = 10, 50
	}
	cuts := map[uint64]bool{}
	for seed := range seeds {
		broken, lossy := runTxnCrashes(t, seed, faults)
		if len(broken) > 0 {
			t.Fatalf("seed %d: %v", seed, firstOfEach(broken))
		}
		for _, l := range lossy {
			cuts[l] = true
		}
	}
	t.Logf("%d distinct crash states lost unsynced bytes", len(cuts))
	if len(cuts) < least {
		t.Fatalf("%d crash states of %d seeds: the workload hardly ever loses anything", len(cuts), seeds)
	}
}

func TestPlantedTransactionBugsAreFound(t *testing.T) {
	for want, faults := range map[string]partition.Faults{
		"commit-lost: offset ": {MarkerBeforeSync: true},
		"open-seen: offset ":   {StableAtWatermark: true},
	} {
		t.Run(strings.Fields(want)[0], func(t *testing.T) {
			for seed := range uint64(30) {
				broken, _ := runTxnCrashes(t, seed, faults)
				if err := errors.Join(broken...); err != nil && strings.Contains(err.Error(), want) {
					return
				}
			}
			t.Fatalf("no seed broke %q", want)
		})
	}
}
