package partition_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// promises is what a partition has told the world: batches it acknowledged with acks=all, and
// batches that it let a consumer read. No power cut may take either away.
type promises struct {
	acked, read []promise
}

type promise struct {
	offset   int64
	value    string
	producer record.Producer
}

// cutImage is the disk after a power cut, and what had been promised when the power failed.
type cutImage struct {
	fs   *env.MemFS
	lost env.Lost
	made promises
}

// workload drives one partition on a disk that forgets, and cuts the power at some operations.
type workload struct {
	t      testing.TB
	rng    *rand.Rand
	rig    *rig
	fs     *env.MemFS
	made   promises
	images []cutImage
	next   map[int64]int32 // next sequence by producer
	serial int
	broken []error
	mu     sync.Mutex // syncs of several files run side by side
}

// pending notes a batch once it is acknowledged.
type pending struct {
	w *workload
	p promise
}

func (d pending) Appended(_ int, r partition.AppendResult, err error) {
	if err == nil {
		d.p.offset = r.BaseOffset
		d.w.made.acked = append(d.w.made.acked, d.p)
	}
}

type silent struct{}

func (silent) Appended(int, partition.AppendResult, error) {}

func (w *workload) append() {
	w.serial++
	id := int64(w.rng.IntN(3))
	p := promise{value: fmt.Sprintf("value-%d-%s", w.serial, strings.Repeat("x", w.rng.IntN(300))), producer: record.Producer{ID: id, Sequence: w.next[id]}}
	w.next[id]++
	all := partition.AppendRequest{Acks: -1, Timeout: time.Hour, CurrentEpoch: -1}
	if w.rng.IntN(4) == 0 {
		all.Acks = 1
		w.rig.p.Append(p.batch(), all, silent{})
		return
	}
	w.rig.p.Append(p.batch(), all, pending{w, p})
	if w.rng.IntN(5) == 0 {
		w.rig.p.Append(p.batch(), all, pending{w, p}) // the client repeats it
	}
}

func (p promise) batch() []byte {
	b := record.NewBuilder(record.Options{Producer: &p.producer})
	b.Append(1, []byte("k"), []byte(p.value), nil)
	return b.Build()
}

// read reads on from what was read before, as a consumer does.
func (w *workload) read() {
	from := int64(0)
	if n := len(w.made.read); n > 0 {
		from = w.made.read[n-1].offset + 1
	}
	for _, b := range w.rig.read(from) {
		for r, err := range b.Records(1 << 20) {
			if err != nil {
				w.t.Fatal(err)
			}
			w.made.read = append(w.made.read, promise{offset: r.Offset, value: string(r.Value)})
		}
	}
	if s := w.rig.p.Status(); s.HighWatermark > w.rig.log.SyncedOffset() {
		w.broken = append(w.broken, fmt.Errorf("watermark-above-synced: offset %d", s.HighWatermark-1))
	}
}

func (w *workload) cut() {
	policy := env.Policies()[w.rng.IntN(len(env.Policies()))]
	fs, lost := w.fs.Crash(policy, w.rng.Uint64())
	made := promises{slices.Clone(w.made.acked), slices.Clone(w.made.read)}
	w.images = append(w.images, cutImage{fs, lost, made})
}

// runCrashes runs one seeded workload and returns every broken invariant of every cut, and the
// fingerprints of the crash states that lost something.
func runCrashes(t testing.TB, seed uint64, faults partition.Faults) (broken []error, lossy []uint64) {
	t.Helper()
	w := &workload{t: t, rng: rand.New(rand.NewPCG(seed, 1)), fs: env.NewMemFS(), next: map[int64]int32{}}
	w.rig = openRig(t, w.fs, func(o *partition.Options) { o.Faults = faults })
	ops := 0
	w.fs.OnOp(func(op env.Op) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if ops++; op.Kind.Changes() && w.rng.IntN(40) == 0 {
			w.cut()
		}
		return nil
	})
	for range 120 {
		switch w.rng.IntN(6) {
		case 0, 1, 2:
			w.append()
		case 3:
			w.rig.sync()
		default:
			w.read()
		}
		if w.rng.IntN(15) == 0 {
			w.cut()
		}
	}
	w.fs.OnOp(nil)
	w.rig.close()
	broken = w.broken
	for _, image := range w.images {
		if image.lost.Bytes > 0 {
			lossy = append(lossy, image.fs.Fingerprint())
		}
		broken = append(broken, image.verify(t)...)
	}
	return broken, lossy
}

// verify restarts the partition on what the power cut left and looks for every promise.
func (c cutImage) verify(t testing.TB) (broken []error) {
	t.Helper()
	r := openRig(t, c.fs, nil)
	defer r.close()
	kept, tail := map[int64]string{}, map[int64]int64{} // values by offset, last offsets by producer
	for from := int64(0); ; {
		batches := r.read(from)
		if len(batches) == 0 {
			break
		}
		for _, b := range batches {
			for rec, err := range b.Records(1 << 20) {
				if err != nil {
					t.Fatal(err)
				}
				kept[rec.Offset] = string(rec.Value)
			}
			from = b.NextOffset()
			tail[b.ProducerID()] = b.LastOffset()
		}
	}
	if len(kept) != int(r.log.EndOffset()) {
		broken = append(broken, fmt.Errorf("recovered-not-served: %d of %d offsets readable", len(kept), r.log.EndOffset()))
	}
	last := map[int64]promise{}
	for _, p := range c.made.acked {
		if kept[p.offset] != p.value {
			broken = append(broken, fmt.Errorf("acked-lost: offset %d", p.offset))
		}
		if p.offset >= last[p.producer.ID].offset {
			last[p.producer.ID] = p
		}
	}
	for _, p := range c.made.read {
		if kept[p.offset] != p.value {
			broken = append(broken, fmt.Errorf("read-then-lost: offset %d", p.offset))
		}
	}
	if len(broken) > 0 {
		return broken
	}
	for id, p := range last {
		// A snapshot keeps a producer's last batch only: an older one may be refused, but not taken again.
		a := r.append(p.batch())
		if again := a.err == nil && a.r.BaseOffset == p.offset; !again && (a.err == nil || tail[id] == p.offset) {
			broken = append(broken, fmt.Errorf("duplicate-appended: offset %d, repeated at %d: %w", p.offset, a.r.BaseOffset, a.err))
		}
	}
	return broken
}

// plant reads which bug the run is to have.
func plant(t testing.TB) partition.Faults {
	t.Helper()
	switch name := os.Getenv("WEIR_PLANT"); name {
	case "ackearly":
		return partition.Faults{AnswerBeforeSync: true}
	case "hwearly":
		return partition.Faults{WatermarkBeforeSync: true}
	case "markearly":
		return partition.Faults{MarkerBeforeSync: true}
	case "lsoearly":
		return partition.Faults{StableAtWatermark: true}
	default:
		return partition.Faults{} // bugs of other rooms
	}
}

func TestNoPowerCutTakesBackWhatWasPromised(t *testing.T) {
	faults := plant(t)
	seeds := uint64(300)
	if testing.Short() {
		seeds = 8
	}
	cuts := map[uint64]bool{}
	for seed := range seeds {
		broken, lossy := runCrashes(t, seed, faults)
		if len(broken) > 0 {
			t.Fatalf("seed %d: %v", seed, firstOfEach(broken))
		}
		for _, l := range lossy {
			cuts[l] = true
		}
	}
	t.Logf("%d distinct crash states lost unsynced bytes", len(cuts))
	if len(cuts) < 3*int(seeds) {
		t.Fatal("the workload hardly ever loses anything: it tests nothing")
	}
}

// firstOfEach keeps the first breach of every invariant.
func firstOfEach(broken []error) error {
	seen := map[string]bool{}
	var out []error
	for _, err := range broken {
		name, _, _ := strings.Cut(err.Error(), ":")
		if !seen[name] {
			seen[name] = true
			out = append(out, err)
		}
	}
	return errors.Join(out...)
}

func TestPlantedBugsAreFound(t *testing.T) {
	cases := map[string]partition.Faults{
		"acked-lost: offset ":     {AnswerBeforeSync: true},
		"read-then-lost: offset ": {WatermarkBeforeSync: true},
	}
	for want, faults := range cases {
		t.Run(strings.Fields(want)[0], func(t *testing.T) {
			for seed := range uint64(20) {
				broken, _ := runCrashes(t, seed, faults)
				for _, err := range broken {
					if strings.HasPrefix(err.Error(), want) {
						return
					}
				}
			}
			t.Fatalf("no seed broke %q", want)
		})
	}
}
