package controller

import (
	"fmt"
	"sync"
	"testing"

	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/internal/env"
)

// cut is a file system as a power cut left it, and what had been acknowledged.
type cut struct {
	op      env.Op
	policy  env.Policy
	fs      *env.MemFS
	topics  []string // created and not deleted
	nextPID int64    // every producer id below it is taken
}

// journal is what clients were told.
type journal struct {
	mu      sync.Mutex
	topics  []string
	nextPID int64
	cuts    []cut
	cutting bool
}

func (j *journal) tell(change func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change()
}

// cutAt takes a power cut before an operation, by every policy.
func (j *journal) cutAt(fs *env.MemFS, op env.Op) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.cutting || !op.Kind.Changes() {
		return
	}
	for _, policy := range env.Policies() {
		after, _ := fs.Crash(policy, uint64(op.Index))
		j.cuts = append(j.cuts, cut{op: op, policy: policy, fs: after, topics: append([]string(nil), j.topics...), nextPID: j.nextPID})
	}
}

// work runs two lives of a node that creates topics, allocates ids and takes
// snapshots, and tells the journal what is acknowledged.
func work(t *testing.T, fs *env.MemFS, j *journal) {
	t.Helper()
	for l := range 2 {
		n := start(t, life{fs: fs, snapshot: 1 << 20})
		for i := range 6 {
			name := fmt.Sprintf("t-%d-%d", l, i)
			n.mustCreate(name)
			j.tell(func() { j.topics = append(j.topics, name) })
			if i%3 == 2 {
				n.snapshotNow()
			}
			r, err := n.Propose(t.Context(), metadata.AllocateProducerIDs{Broker: 1})
			if err != nil {
				t.Fatal(err)
			}
			j.tell(func() { j.nextPID = r.First + metadata.ProducerIDBlock })
		}
		n.close()
	}
}

// TestWhatWasAcknowledgedSurvivesAnyPowerCut cuts the power before every operation
// that changes the disk, starts again, and asks for everything acknowledged.
func TestWhatWasAcknowledgedSurvivesAnyPowerCut(t *testing.T) {
	fs := env.NewMemFS()
	j := &journal{cutting: true}
	fs.OnOp(func(op env.Op) error {
		j.cutAt(fs, op)
		return nil
	})
	work(t, fs, j)
	step := 1
	if testing.Short() {
		step = 17
	}
	recovered := 0
	for i := 0; i < len(j.cuts); i += step {
		c := &j.cuts[i]
		n := start(t, life{fs: c.fs})
		for _, name := range c.topics {
			topic, ok := n.Image().Topic(name)
			if !ok {
				t.Fatalf("cut before %s %s (op %d, policy %d): acknowledged topic %s is gone", c.op.Kind, c.op.Name, c.op.Index, c.policy, name)
			}
			if topic.Partitions[0].LeaderEpoch < 1 {
				t.Fatalf("cut at op %d: %s has the leader epoch of its former life", c.op.Index, name)
			}
		}
		r, err := n.Propose(t.Context(), metadata.AllocateProducerIDs{Broker: 1})
		if err != nil || r.First < c.nextPID {
			t.Fatalf("cut at op %d: producer ids from %d are handed out twice: %v", c.op.Index, r.First, err)
		}
		n.close()
		c.fs = nil
		recovered++
	}
	t.Logf("%d power cuts", recovered)
}

// TestAnyFailedOperationLosesNothingAcknowledged refuses one operation of the disk
// after another; whatever becomes of the node, the next one finds what was
// acknowledged.
func TestAnyFailedOperationLosesNothingAcknowledged(t *testing.T) {
	kinds := []env.OpKind{env.OpCreate, env.OpWrite, env.OpSync, env.OpSyncDir, env.OpSyncFS, env.OpRename, env.OpTruncate}
	most := 40
	if testing.Short() {
		most = 8
	}
	for _, kind := range kinds {
		for nth := 1; nth <= most; nth++ {
			fs := env.NewMemFS()
			n := start(t, life{fs: fs})
			n.mustCreate("first")
			fs.OnOp(env.FailNth(kind, nth, diskError{}))
			told := []string{"first"}
			for i := range 6 {
				if name := fmt.Sprint("t", i); n.create(name) == nil {
					told = append(told, name)
				}
				if i == 3 {
					_ = n.node.Snapshot().Error() // may fail: see the disk
				}
			}
			_ = n.end() // may fail: see the disk
			fs.OnOp(nil)
			after, _ := fs.Crash(env.KeepNothing, uint64(nth))
			n = start(t, life{fs: after})
			for _, name := range told {
				if _, ok := n.Image().Topic(name); !ok {
					t.Fatalf("%s number %d fails: acknowledged topic %s is gone", kind, nth, name)
				}
			}
			n.close()
		}
	}
}

type diskError struct{}

func (diskError) Error() string { return "the disk failed" }
