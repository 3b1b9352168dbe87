package broker_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// workload is one node under load whose disk is looked at as a power cut would
// leave it, at seeded operations.
type workload struct {
	node  *powered
	disk  *env.MemFS
	seed  uint64
	steps int

	mu      sync.Mutex // guards what follows; never held while a request is under way
	rng     *rand.Rand
	rate    int // one in so many operations is cut at
	made    *promises
	images  []powerCut
	counter int
}

// powerCut is a disk after a power cut, with what was promised before it.
type powerCut struct {
	disk *env.MemFS
	lost env.Lost
	made *promises
	at   string
	seed uint64
	// starting: the node was coming up; loading: it was reading its groups.
	starting, loading bool
}

// ahead is how far the clock of the next node is ahead of this one's: nothing, or so
// far that open transactions have taken too long.
func (c powerCut) ahead() time.Duration {
	if len(c.made.txns) > 0 && c.seed%2 == 0 {
		return 2 * txnTimeout
	}
	return 0
}

// capture looks at the disk now. The caller holds the lock of made, so that nothing
// is promised in between.
func capture(disk *env.MemFS, made *promises, policy env.Policy, seed uint64, where string) powerCut {
	at := fmt.Sprintf("power cut %s, policy %d, seed %d", where, policy, seed)
	image, lost := disk.Crash(policy, seed)
	return powerCut{disk: image, lost: lost, made: made.clone(), at: at, seed: seed}
}

func somePolicy(rng *rand.Rand) env.Policy {
	all := append(env.Policies(), env.KeepAll)
	return all[rng.IntN(len(all))]
}

// cut is the disk's hook. Deletions are rare and so are cut at more often.
func (w *workload) cut(op env.Op) error {
	if !op.Kind.Changes() {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	rate := w.rate
	if op.Kind == env.OpRename || op.Kind == env.OpRemove || strings.Contains(op.Name, "-delete") {
		rate = max(1, rate/4)
	}
	if w.rng.IntN(rate) == 0 {
		where := fmt.Sprintf("of run %d before operation %d (%s %s)", w.seed, op.Index, op.Kind, op.Name)
		w.images = append(w.images, capture(w.disk, w.made, somePolicy(w.rng), w.rng.Uint64(), where))
	}
	return nil
}

// promise changes what was promised.
func (w *workload) promise(f func(m *promises)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w.made)
}

// script is what clients do to a node: one prepares, then all others work at once.
type script struct {
	prepare func(w *workload, c *wireClient) error
	clients []func(w *workload, c *wireClient, rng *rand.Rand) error
}

// runWorkload runs a seeded workload on a disk as the node is to see it, and returns
// its power cuts.
func runWorkload(t testing.TB, s script, seed uint64, steps, rate int, shown func(*env.MemFS) env.FS) []powerCut {
	t.Helper()
	disk := env.NewMemFS()
	w := &workload{disk: disk, seed: seed, steps: steps, rate: rate, made: newPromises(), rng: rand.New(rand.NewPCG(seed, 0))}
	disk.OnOp(w.cut)
	node, err := powerOn(shown(disk), 0)
	if err != nil {
		t.Fatal(err)
	}
	w.node = node
	connected := func(f func(c *wireClient) error) error {
		c, err := node.connect()
		if err != nil {
			return err
		}
		defer c.close()
		return f(c)
	}
	err = connected(func(c *wireClient) error { return s.prepare(w, c) })
	var g errgroup.Group
	for i, f := range s.clients {
		g.Go(func() error {
			return connected(func(c *wireClient) error { return f(w, c, rand.New(rand.NewPCG(seed, uint64(i)+1))) })
		})
	}
	err = errors.Join(err, g.Wait())
	disk.OnOp(nil)
	if err := errors.Join(err, node.off()); err != nil {
		t.Fatalf("run %d: %v", seed, err)
	}
	return w.images
}

// steady are the partitions that live as long as the workload.
func steady() []tp { return []tp{{"orders", 0}, {"orders", 1}, {"orders", 2}, {"events", 0}} }

// everyday is what clients do without transactions.
func everyday() script {
	return script{(*workload).prepare, []func(*workload, *wireClient, *rand.Rand) error{
		(*workload).idempotent, (*workload).plain, (*workload).administer, (*workload).consume,
	}}
}

func (w *workload) prepare(c *wireClient) error {
	small := map[string]string{"segment.bytes": "1500"}
	return errors.Join(
		w.create(c, "orders", 3, small),
		w.create(c, "events", 1, map[string]string{"segment.bytes": "1024", "cleanup.policy": "delete"}),
		w.create(c, "capped", 1, map[string]string{"segment.bytes": "1024", "retention.bytes": "3000"}),
	)
}

func (w *workload) create(c *wireClient, name string, partitions int, configs map[string]string) error {
	w.promise(func(m *promises) { m.askTopic(name, partitions, configs).capped = configs["retention.bytes"] != "" })
	id, err := c.createTopic(name, int32(partitions), configs)
	if err != nil {
		return err
	}
	w.promise(func(m *promises) { m.topics[name].id, m.topics[name].partCount = id, partitions })
	return nil
}

// values makes records that nobody else sends.
func (w *workload) values(at tp, n int) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for range n {
		w.counter++
		out = append(out, fmt.Sprintf("%s/%d/%s", at, w.counter, strings.Repeat("x", w.counter%150)))
	}
	return out
}

func batchOf(producer *record.Producer, values []string) []byte {
	b := record.NewBuilder(record.Options{Producer: producer})
	now := time.Now().UnixMilli() // an older record would be retained away
	for _, v := range values {
		b.Append(now, []byte("k"), []byte(v), nil)
	}
	return b.Build()
}

// asked notes records that are about to be sent.
func asked(m *promises, at tp, pid int64, seq int32, values []string) {
	part := m.part(at)
	for i, v := range values {
		part.sent = append(part.sent, sentRecord{v, pid, seq + int32(i)})
	}
	if pid >= 0 {
		part.batches = append(part.batches, sentBatch{pid, seq, values})
	}
}

// kept notes records that were acknowledged by acks=all.
func kept(m *promises, at tp, base int64, values []string) {
	for i, v := range values {
		m.part(at).acked = append(m.part(at).acked, seen{base + int64(i), v})
	}
}

// idempotent produces with sequence numbers, several requests in flight, and now and
// then a batch twice, as a client does that missed the answer.
func (w *workload) idempotent(c *wireClient, rng *rand.Rand) error {
	pid, err := c.producerID()
	if err != nil {
		return err
	}
	w.promise(func(m *promises) { m.pids[pid] = true })
	next := map[tp]int32{}
	type flight struct {
		at     tp
		values []string
		again  bool
	}
	for range w.steps {
		var flights []flight
		for range 1 + rng.IntN(4) {
			at := steady()[rng.IntN(4)]
			values := w.values(at, 1+rng.IntN(3))
			producer := &record.Producer{ID: pid, Sequence: next[at]}
			w.promise(func(m *promises) { asked(m, at, pid, next[at], values) })
			next[at] += int32(len(values))
			for twice := range 1 + rng.IntN(5)/4 {
				flights = append(flights, flight{at, values, twice > 0})
				if err := c.send(produceRequest(at, -1, batchOf(producer, values))); err != nil {
					return err
				}
			}
		}
		for _, f := range flights {
			r, err := c.receive()
			if err != nil {
				return err
			}
			base, err := producedAt(r)
			if err != nil {
				return fmt.Errorf("%s, again %t: %w", f.at, f.again, err)
			}
			if !f.again {
				w.promise(func(m *promises) {
					kept(m, f.at, base, f.values)
					m.part(f.at).batchesAcked++
				})
			}
		}
	}
	return nil
}

// plain produces without sequence numbers, some of it with acks=1.
func (w *workload) plain(c *wireClient, rng *rand.Rand) error {
	for range w.steps {
		at := append(steady(), tp{"capped", 0})[rng.IntN(5)]
		values := w.values(at, 1+rng.IntN(4))
		w.promise(func(m *promises) { asked(m, at, -1, 0, values) })
		acks := int16(-1)
		if rng.IntN(3) == 0 {
			acks = 1
		}
		base, err := c.produce(at, acks, batchOf(nil, values))
		if err != nil {
			return err
		}
		if acks < 0 {
			w.promise(func(m *promises) { kept(m, at, base, values) })
		}
	}
	return nil
}

// consume reads on and commits what it read, alone and as a member of a group.
func (w *workload) consume(c *wireClient, rng *rand.Rand) error {
	if err := c.coordinate(ofGroup, "readers"); err != nil {
		return err
	}
	joined, err := c.join("readers")
	if err != nil {
		return err
	}
	next := map[tp]int64{}
	for range w.steps {
		at := steady()[rng.IntN(4)]
		records, _, err := c.fetch(at, next[at])
		if errors.Is(err, kerr.OffsetOutOfRange) { // records were deleted
			if next[at], err = c.edge(at, -2); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if len(records) == 0 {
			continue
		}
		next[at] = records[len(records)-1].offset + 1
		w.promise(func(m *promises) { m.part(at).read = append(m.part(at).read, records...) })
		who := member{group: "lonely", generation: -1}
		if rng.IntN(2) == 0 {
			who = joined
		}
		if err := w.commit(c, who, at, next[at]); err != nil {
			return err
		}
	}
	return nil
}

func (w *workload) commit(c *wireClient, who member, at tp, offset int64) error {
	w.promise(func(m *promises) { m.commit(who.group, at).ask(strconv.FormatInt(offset, 10)) })
	if err := c.commit(who, at, offset); err != nil {
		return err
	}
	w.promise(func(m *promises) { m.commit(who.group, at).ack() })
	return nil
}

// administer creates, fills and deletes topics, and changes those that stay.
func (w *workload) administer(c *wireClient, rng *rand.Rand) error {
	for i := range w.steps / 3 {
		if err := w.oneLife(c, fmt.Sprintf("brief-%d", i%2), rng); err != nil {
			return err
		}
		if err := w.deleteRecords(c, steady()[rng.IntN(3)], rng); err != nil {
			return err
		}
		if err := w.configure(c, "orders", "retention.ms", strconv.Itoa(1_000_000_000+i)); err != nil {
			return err
		}
		if err := w.configure(c, "events", "segment.bytes", strconv.Itoa(1024+i)); err != nil {
			return err
		}
		if i%5 != 0 {
			continue
		}
		count := 2 + i/5
		w.promise(func(m *promises) { m.topics["events"].grow(count) })
		if err := c.createPartitions("events", int32(count)); err != nil {
			return err
		}
		w.promise(func(m *promises) { m.topics["events"].partCount = count })
	}
	return nil
}

// oneLife creates a topic, fills it and mostly deletes it; its name comes again.
func (w *workload) oneLife(c *wireClient, name string, rng *rand.Rand) error {
	exists := false
	w.promise(func(m *promises) { t := m.topics[name]; exists = t != nil && t.live() })
	if !exists {
		if err := w.create(c, name, 2, map[string]string{"segment.bytes": "1024"}); err != nil {
			return err
		}
	}
	for range 3 {
		at := tp{name, int32(rng.IntN(2))}
		values := w.values(at, 2)
		w.promise(func(m *promises) { asked(m, at, -1, 0, values) })
		base, err := c.produce(at, -1, batchOf(nil, values))
		if err != nil {
			return err
		}
		w.promise(func(m *promises) { kept(m, at, base, values) })
	}
	if rng.IntN(3) == 0 {
		return nil
	}
	w.promise(func(m *promises) { m.topics[name].dropping = true })
	if err := c.deleteTopic(name); err != nil {
		return err
	}
	w.promise(func(m *promises) { delete(m.topics, name); m.gone[name] = true })
	return nil
}

func (w *workload) deleteRecords(c *wireClient, at tp, rng *rand.Rand) error {
	watermark, err := c.edge(at, -1)
	if err != nil {
		return err
	}
	start := int64(0)
	w.promise(func(m *promises) { start = m.part(at).start })
	before := start + rng.Int64N(max(1, (watermark-start)/2+1))
	w.promise(func(m *promises) { m.part(at).cut = max(m.part(at).cut, before) })
	if err := c.deleteRecords(at, before); err != nil {
		return err
	}
	w.promise(func(m *promises) { m.part(at).start = max(m.part(at).start, before) })
	return nil
}

func (w *workload) configure(c *wireClient, topic, key, value string) error {
	w.promise(func(m *promises) {
		t := m.topics[topic]
		if t.configs[key] == nil {
			t.configs[key] = &told{acked: "604800000"}
		}
		t.configs[key].ask(value)
	})
	if err := c.setConfig(topic, key, value); err != nil {
		return err
	}
	w.promise(func(m *promises) { m.topics[topic].configs[key].ack() })
	return nil
}

// known returns the partitions of topics whose creation was acknowledged and whose
// deletion was not asked for, in order.
func (p *promises) known() []tp {
	var out []tp
	for name, t := range p.topics {
		if t.live() {
			for i := range t.partCount {
				out = append(out, tp{name, int32(i)})
			}
		}
	}
	slices.SortFunc(out, func(a, b tp) int { return strings.Compare(a.String(), b.String()) })
	return out
}
