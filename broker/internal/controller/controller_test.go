package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/internal/env"
)

func TestMetadataSurvivesRestarts(t *testing.T) {
	fs := env.NewMemFS()
	n := start(t, life{fs: fs})
	if n.Image().ClusterID() != "cluster" || len(n.Image().Brokers()) != 1 {
		t.Fatal(snapshotOf(t, n.Image()))
	}
	n.mustCreate("a", "b")
	n.close()
	for want := range int32(3) {
		n = start(t, life{fs: fs})
		if got := n.topics(); !cmp.Equal(got, []string{fmt.Sprintf("a@%d", want+1), fmt.Sprintf("b@%d", want+1)}) {
			t.Fatalf("life %d: %v", want+2, got)
		}
		if len(n.seen) != 1 || n.first != nil {
			t.Fatalf("%d reconciliations at the start, the first from %v", len(n.seen), n.first)
		}
		n.close()
	}
}

func TestWhatProposeAnswersIsInForce(t *testing.T) {
	n := start(t, life{fs: env.NewMemFS()})
	defer n.close()
	for i := range 20 {
		name := fmt.Sprint("t", i)
		n.mustCreate(name)
		if _, ok := n.Image().Topic(name); !ok {
			t.Fatalf("%s is acknowledged and not published", name)
		}
		n.mu.Lock()
		_, ok := n.seen[len(n.seen)-1].Topic(name)
		n.mu.Unlock()
		if !ok {
			t.Fatalf("%s is acknowledged and was not reconciled", name)
		}
	}
	if err := n.create("t0"); !errors.Is(err, kerr.TopicAlreadyExists) {
		t.Fatal(err)
	}
}

func TestAnImageIsPublishedOnlyAfterReconcile(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	var block atomic.Bool
	n := start(t, life{fs: env.NewMemFS(), reconcile: func(_, _ *metadata.Image) error {
		if block.Load() {
			entered <- struct{}{}
			<-leave
		}
		return nil
	}})
	defer n.close()
	block.Store(true)
	done := make(chan error)
	go func() { done <- n.create("a") }()
	<-entered
	if _, ok := n.Image().Topic("a"); ok {
		t.Fatal("published before it is in force")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Propose(ctx, topicNamed("b", 1)); !errors.Is(err, kerr.RequestTimedOut) || !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	block.Store(false)
	close(leave)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestAPartitionThatDoesNotOpenIsOfflineAlone(t *testing.T) {
	bad := map[string]bool{"b": true}
	n := start(t, life{fs: env.NewMemFS(), reconcile: func(from, to *metadata.Image) error {
		var errs []error
		for _, topic := range metadata.Diff(from, to).Created {
			if bad[topic.Name] {
				errs = append(errs, &PartitionError{Topic: topic.Name, Partition: 1, Err: errors.New("disk")}, &PartitionError{Topic: "gone", Err: errors.New("disk")})
			}
		}
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("open partitions: %w", err)
		}
		return nil
	}})
	defer n.close()
	leaders := func(name string) (out []int32) {
		topic, ok := n.Image().Topic(name)
		if !ok {
			t.Fatalf("no topic %s", name)
		}
		for _, p := range topic.Partitions {
			out = append(out, p.Leader)
		}
		return out
	}
	n.mustCreate("a", "b", "c")
	for name, want := range map[string][]int32{"a": {1, 1}, "b": {1, -1}, "c": {1, 1}} {
		if got := leaders(name); !slices.Equal(got, want) {
			t.Errorf("%s is led by %v", name, got)
		}
	}
	if raw, _ := n.seen[len(n.seen)-1].Topic("b"); raw.Partitions[1].Leader != 1 {
		t.Error("the metadata itself was changed")
	}
	topic, _ := n.Image().Topic("b")
	if _, err := n.Propose(t.Context(), metadata.DeleteTopics{IDs: []metadata.ID{topic.ID}}); err != nil {
		t.Fatal(err)
	}
	bad["b"] = false
	n.mustCreate("b")
	if got := leaders("b"); !slices.Equal(got, []int32{1, 1}) {
		t.Errorf("made again, b is led by %v", got)
	}
}

func TestSplitTakesPartitionsOutOfATreeOfErrors(t *testing.T) {
	p, q, other := &PartitionError{Topic: "a", Err: errors.Join(errors.New("x"), errors.New("y"))}, &PartitionError{Topic: "b", Err: errors.New("z")}, errors.New("other")
	for name, tc := range map[string]struct {
		err   error
		parts int
		other bool
	}{
		"none":                   {nil, 0, false},
		"one":                    {p, 1, false},
		"wrapped":                {fmt.Errorf("w: %w", p), 1, false},
		"joined":                 {errors.Join(p, q), 2, false},
		"joined, wrapped":        {fmt.Errorf("w: %w", errors.Join(p, fmt.Errorf("w: %w", q))), 2, false},
		"with another":           {errors.Join(p, other), 1, true},
		"with another, wrapped":  {fmt.Errorf("w: %w", errors.Join(p, other)), 0, true},
		"another":                {other, 0, true},
		"two ways in one format": {fmt.Errorf("%w and %w", p, q), 2, false},
	} {
		parts, rest := split(tc.err)
		if len(parts) != tc.parts || (rest != nil) != tc.other {
			t.Errorf("%s: %d partitions, rest %v", name, len(parts), rest)
		}
	}
	if !strings.Contains(q.Error(), "b-0") || errors.Unwrap(q) == nil {
		t.Error(q)
	}
}

func TestAnErrorOfTheWholeNodeEndsIt(t *testing.T) {
	boom := errors.New("boom")
	n := begin(t, life{fs: env.NewMemFS(), reconcile: func(_, _ *metadata.Image) error { return boom }})
	if err := <-n.run; !errors.Is(err, boom) {
		t.Fatal(err)
	}
	n = begin(t, life{fs: env.NewMemFS(), register: func(context.Context) (metadata.Broker, error) { return metadata.Broker{}, boom }})
	if err := <-n.run; !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if _, err := n.Propose(t.Context(), topicNamed("a", 1)); !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
	var once atomic.Bool
	n = start(t, life{fs: env.NewMemFS(), reconcile: func(_, _ *metadata.Image) error {
		if once.Swap(true) {
			return boom
		}
		return nil
	}})
	if err := n.create("a"); !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
	if err := n.end(); !errors.Is(err, boom) {
		t.Fatal(err)
	}
}

func TestGarbageInTheLogIsPassedOver(t *testing.T) {
	fs := env.NewMemFS()
	n := start(t, life{fs: fs})
	for _, entry := range []string{"", "garbage", `{"v":7}`, `{"v":0,"kind":"create_topics","data":[]}`} {
		f := n.node.Apply([]byte(entry), 0)
		if err := f.Error(); err != nil {
			t.Fatal(err)
		}
		if r, ok := f.Response().(metadata.Result); !ok || !errors.Is(r.Err, metadata.ErrUndecodable) {
			t.Fatalf("%q: %v", entry, f.Response())
		}
	}
	n.mustCreate("a")
	n.close()
	n = start(t, life{fs: fs})
	defer n.close()
	if got := n.topics(); !cmp.Equal(got, []string{"a@1"}) {
		t.Fatal(got)
	}
}

func TestProposalsThatComeTogetherShareASync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := env.NewMemFS()
		n := start(t, life{fs: fs, noSyncer: true}) // its lock would keep the bubble from settling
		release := make(chan struct{})
		var syncs atomic.Int64
		fs.OnOp(func(op env.Op) error {
			if op.Kind == env.OpSync && strings.HasSuffix(op.Name, ".log") {
				syncs.Add(1)
				<-release
			}
			return nil
		})
		const proposals = 500
		var wg sync.WaitGroup
		for i := range proposals {
			wg.Go(func() {
				if err := n.create(fmt.Sprint("t", i)); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait() // the first waits for the disk, the others for the first
		close(release)
		wg.Wait()
		if n.Image().TopicCount() != proposals {
			t.Errorf("%d topics", n.Image().TopicCount())
		}
		if got := syncs.Load(); got > 3 {
			t.Errorf("%d syncs for %d proposals", got, proposals)
		}
		n.close()
	})
}

func TestACommandThatIsTooLargeIsRefused(t *testing.T) {
	n := start(t, life{fs: env.NewMemFS()})
	defer n.close()
	c := topicNamed("a", 1)
	c.Topics[0].Configs = map[string]string{"k": strings.Repeat("x", maxCommandBytes)}
	if _, err := n.Propose(t.Context(), c); !errors.Is(err, kerr.PolicyViolation) {
		t.Fatal(err)
	}
	c.Topics[0].Configs["k"] = strings.Repeat("x", 3<<20)
	if r, err := n.Propose(t.Context(), c); err != nil || r.Items[0] != nil {
		t.Fatal(err, r)
	}
}

func TestProposeWaitsForTheStart(t *testing.T) {
	registered := make(chan struct{})
	n := begin(t, life{fs: env.NewMemFS(), register: func(context.Context) (metadata.Broker, error) {
		<-registered
		return metadata.Broker{}, nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Propose(ctx, topicNamed("a", 1)); !errors.Is(err, kerr.RequestTimedOut) {
		t.Fatal(err)
	}
	if n.Image().ClusterID() != "" {
		t.Fatal("an image before the start")
	}
	done := make(chan error)
	go func() { done <- n.create("a") }()
	close(registered)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	n.close()
}

func TestAStopInTheMiddleOfTheStartEndsWell(t *testing.T) {
	ctxs := make(chan context.Context, 1)
	n := begin(t, life{fs: env.NewMemFS(), register: func(ctx context.Context) (metadata.Broker, error) {
		ctxs <- ctx
		<-ctx.Done()
		return metadata.Broker{}, ctx.Err()
	}})
	<-ctxs
	n.close()
}

func TestAnotherClusterOrNodeIsRefused(t *testing.T) {
	fs := env.NewMemFS()
	n := start(t, life{fs: fs})
	n.mustCreate("a")
	n.close()
	n = begin(t, life{fs: fs, clusterID: "other"})
	if err := <-n.run; !errors.Is(err, kerr.InconsistentClusterID) || !strings.Contains(err.Error(), "other") {
		t.Fatal(err)
	}
	n = begin(t, life{fs: fs, nodeID: 2})
	if err := <-n.run; err == nil || !strings.Contains(err.Error(), "node.id=2") {
		t.Fatal(err)
	}
}

// tree is every file below a folder with its content.
func tree(t *testing.T, fs env.FS, folder string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := fs.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := filepath.Join(folder, e.Name())
		if e.IsDir() {
			maps.Copy(out, tree(t, fs, name))
			continue
		}
		data, err := env.ReadFile(fs, name)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(data)
	}
	return out
}

func TestAForeignMetadataLogIsRefusedUntouched(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"Kafka's topic id":     {"partition.metadata": "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ", "00000000000000000000.log": "x"},
		"Kafka's quorum-state": {"quorum-state": `{"clusterId":"","leaderId":1,"leaderEpoch":2,"votedId":-1,"data_version":0}`},
		"a snapshot of Kafka":  {"00000000000000000000-0000000000.checkpoint": "x"},
		"a log without an id":  {"00000000000000000000.log": "x"},
	} {
		t.Run(name, func(t *testing.T) {
			fs := env.NewMemFS()
			folder := filepath.Join(root, logFolder)
			if err := fs.MkdirAll(folder, 0o755); err != nil {
				t.Fatal(err)
			}
			for file, data := range files {
				if err := env.WriteFile(fs, filepath.Join(folder, file), []byte(data)); err != nil {
					t.Fatal(err)
				}
			}
			before := tree(t, fs, folder)
			n := begin(t, life{fs: fs})
			err := <-n.run
			if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), folder) || !strings.Contains(err.Error(), "log.dirs") {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, tree(t, fs, folder)); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestAFailedSyncEndsTheNode(t *testing.T) {
	fs := env.NewMemFS()
	n := start(t, life{fs: fs})
	fs.OnOp(func(op env.Op) error {
		if (op.Kind == env.OpSync || op.Kind == env.OpSyncFS) && strings.Contains(op.Name, root) {
			return syscall.EIO
		}
		return nil
	})
	if err := n.create("a"); err == nil {
		t.Fatal("acknowledged without a sync")
	}
	if err := n.end(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
}

func TestAFullDiskRefusesAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := env.NewMemFS()
		n := start(t, life{fs: fs})
		n.mustCreate("a")
		fs.OnOp(func(op env.Op) error {
			if op.Kind == env.OpWrite || op.Kind == env.OpCreate {
				return syscall.ENOSPC
			}
			return nil
		})
		if err := n.create("b"); err == nil {
			t.Fatal("acknowledged on a full disk")
		}
		synctest.Wait()
		if err := n.create("c"); !errors.Is(err, kerr.NotController) {
			t.Fatal(err)
		}
		fs.OnOp(nil)
		retryUntil(t, func() bool { return n.create("d") == nil })
		if got := n.topics(); !slices.Contains(got, "a@0") || !slices.Contains(got, "d@0") || slices.Contains(got, "c@0") {
			t.Fatal(got)
		}
		n.close()
	})
}
