package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Trial is a program in one worker, on a Kafka in memory, that is started again
// whenever a planted failure ends it. It runs in a bubble. Tests of whole
// topologies use it too.
type Trial struct {
	t     *testing.T
	vault *vault
	disk  *faultyDatabases
	o     WorkerOptions
	ran   int
}

// NewTrial returns a trial with one partition of everything that tasks read.
func NewTrial(t *testing.T, p Program, exactlyOnce bool) *Trial {
	t.Helper()
	v := newVault()
	v.plain = !exactlyOnce
	var tps []TP
	for _, sub := range p.Graph().Subtopologies {
		for _, topic := range sub.SourceTopics("app") {
			tps = append(tps, TP{topic, 0})
		}
	}
	return newTrial(t, p, v, tps...)
}

func newTrial(t *testing.T, p Program, v *vault, tps ...TP) *Trial {
	t.Helper()
	tr := &Trial{t: t, vault: v, disk: &faultyDatabases{faults: v.faults}}
	tr.o = WorkerOptions{
		ApplicationID: "app", Program: p, Databases: tr.disk, Holdings: NewHoldings(), Setup: &Setup{Layout: NewLayout("app", p.Graph()), Topics: []string{"in"}},
		CommitInterval: 100 * time.Millisecond, CacheBytes: 1 << 20, RestoreBytes: 1 << 20, Buffered: 10, PollRecords: 7,
		StopTimeout: 5 * time.Second, OnChange: func() {}, Logger: slog.New(slog.DiscardHandler),
	}
	tr.o.Dial = func(ctx context.Context, r Rebalancer, _ []string) (Log, error) {
		l := &vaultLog{
			vault: v, mine: map[TP]int64{}, restoring: map[TP]int64{}, paused: map[TP]bool{}, acks: map[TP]int64{}, generation: v.generation,
		}
		l.join = func() { r.Assigned(ctx, tps) }
		return l, nil
	}
	return tr
}

// FailAt plants a failure at a step of the run, for now or for good.
func (tr *Trial) FailAt(step int, crash bool) {
	tr.vault.faults.at, tr.vault.faults.crash = step, crash
}

// FailOften fails one step of sixty.
func (tr *Trial) FailOften(seed uint64) { tr.vault.faults.rng = rand.New(rand.NewPCG(seed, 7)) }

// often plays a promise for each of some seeds, with one step of sixty failing, and
// returns how often workers started and how many records of changelogs they read.
func often(t *testing.T, seeds uint64, promised func(*testing.T, *vault) *promise, check func(p *promise, what string)) (runs, restored int) {
	t.Helper()
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			p := promised(t, newVault())
			p.FailOften(seed)
			p.drive()
			check(p, fmt.Sprintf("seed %d", seed))
			runs += p.Starts()
			restored += p.vault.reread
		})
		if t.Failed() {
			break
		}
	}
	return runs, restored
}

// Steps returns the names of the steps that were taken.
func (tr *Trial) Steps() []string { return tr.vault.faults.seen }

// Starts returns how often the program was started.
func (tr *Trial) Starts() int { return tr.ran }

// Read returns what whoever reads what is committed finds in a topic.
func (tr *Trial) Read(topic string) []Message {
	return tr.vault.read(TP{topic, 0}, 0, 1<<30).Messages
}

// Play feeds one batch of messages after another. After those of which settle
// counts, failures are over and everything is processed before the next.
func (tr *Trial) Play(settled int, batches ...[]Message) {
	tr.play(settled, len(batches), func(i int) {
		tr.vault.mu.Lock()
		defer tr.vault.mu.Unlock()
		for _, m := range batches[i] {
			tr.vault.append(TP{m.Topic, 0}, m, nil, false)
		}
	})
}

// play is Play of what feed appends in each of n rounds.
func (tr *Trial) play(settled, n int, feed func(i int)) {
	ctx, stop := context.WithCancel(tr.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tr.run(ctx)
	}()
	for i := range n {
		if i == settled {
			tr.vault.faults.heal(true)
		}
		feed(i)
		time.Sleep(120 * time.Millisecond)
		if i >= settled {
			time.Sleep(30 * time.Second)
		}
	}
	stop()
	<-done
}

// run runs the application until ctx ends.
func (tr *Trial) run(ctx context.Context) {
	for ctx.Err() == nil {
		tr.ran++
		if err := NewWorker(tr.o).Run(ctx); err != nil && !errors.Is(err, errCrash) {
			tr.t.Error(err)
		}
		tr.vault.faults.heal(false)
	}
}

// Wiped reports whether state was thrown away.
func (tr *Trial) Wiped() bool { return tr.disk.wiped > 0 }

// Only returns the numbers of steps worth a failure: all of the names that come
// now and then, and some of those that come all the time.
func Only(steps []string, most int) []int {
	byName := map[string][]int{}
	for i, name := range steps {
		byName[name] = append(byName[name], i)
	}
	var chosen []int
	for _, all := range byName {
		stride := max(1, len(all)/most)
		for i := 0; i < len(all); i += stride {
			chosen = append(chosen, all[i])
		}
	}
	slices.Sort(chosen)
	return chosen
}
