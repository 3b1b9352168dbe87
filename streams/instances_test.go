package streams_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	weir "github.com/weirstream/weir/broker"
	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/processor"
)

// embedded returns the address of a broker in this process, or of the one that
// WEIR_TEST_BROKERS names.
func embedded(t *testing.T) []string {
	t.Helper()
	if brokers := os.Getenv("WEIR_TEST_BROKERS"); brokers != "" {
		return strings.Split(brokers, ",")
	}
	node, err := weir.New(weir.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", Properties: map[string]string{
		"group.initial.rebalance.delay.ms": "0", "weir.durability": "pagecache",
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- node.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-node.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	return []string{node.Addrs()["PLAINTEXT"].String()}
}

// cable is the network of one instance, which can be cut.
type cable struct {
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

var errCut = errors.New("the cable is cut")

func (c *cable) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		_ = conn.Close()
		return nil, errCut
	}
	c.conns = append(c.conns, conn)
	return conn, nil
}

func (c *cable) sever() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

// acceptableLag is little enough that an instance without state has to warm up.
const acceptableLag = 300

// instance is one of several apps that share the work, with a folder of its own.
type instance struct {
	w     *wordCount
	name  string
	dir   string
	app   *streams.App
	cable *cable
	*running

	mu       sync.Mutex
	restored int64 // records, of all its lives
	promoted int   // copies that became tasks
}

func (i *instance) start() {
	t := i.w.t
	t.Helper()
	i.cable = &cable{}
	i.app = i.w.app(func(c *streams.Config) {
		c.StateDir, c.Workers, c.CommitInterval, c.LeaveOnStop = i.dir, 1, 100*time.Millisecond, true
		c.SessionTimeout, c.TransactionTimeout, c.StopTimeout = 6*time.Second, 4*time.Second, 2*time.Second
		c.Standbys, c.AcceptableLag = 1, acceptableLag
		c.ClientOptions = append(c.ClientOptions, kgo.Dialer(i.cable.dial))
		c.Logger = c.Logger.With(slog.String("instance", i.name))
		c.OnRestore = func(e streams.RestoreEvent) {
			if e.Step == streams.RestoreBatch {
				i.mu.Lock()
				defer i.mu.Unlock()
				i.restored += e.Records
			}
		}
		c.OnStandby = func(e streams.StandbyEvent) {
			if e.Step == streams.StandbySuspended && e.Reason == streams.Promoted {
				i.mu.Lock()
				defer i.mu.Unlock()
				i.promoted++
			}
		}
	})
	i.running = runApp(t, i.app)
}

// leave stops the instance as it should be.
func (i *instance) leave() {
	i.w.t.Helper()
	if err := i.end(); err != nil {
		i.w.t.Fatal(err)
	}
}

// die ends the instance so that it can tell nobody and commit nothing.
func (i *instance) die() {
	i.cable.sever()
	_ = i.end()
}

// await waits until the instances run all tasks, each once, evenly, and follow the
// state of all of them.
func await(t *testing.T, what string, instances ...*instance) {
	t.Helper()
	begun := time.Now()
	var runs, follows map[processor.TaskID]string
	var most, least int
	settled := func() bool {
		runs, follows = map[processor.TaskID]string{}, map[processor.TaskID]string{}
		most, least = 0, 100
		for _, i := range instances {
			select {
			case <-i.ended:
				t.Fatalf("%s: %s ended: %v", what, i.name, i.err)
			default:
			}
			n := 0
			for _, s := range i.app.Tasks() {
				switch {
				case s.Standby && s.State == "following" && s.Unrestored < acceptableLag:
					follows[s.ID] += i.name
				case !s.Standby && s.State == "running":
					runs[s.ID] += i.name
					n++
				}
			}
			most, least = max(most, n), min(least, n)
		}
		return len(runs) == 6 && most-least <= 1 && (len(follows) == 3 || len(instances) == 1)
	}
	for tick := time.NewTicker(50 * time.Millisecond); !settled(); <-tick.C {
		if time.Since(begun) > time.Minute {
			t.Fatalf("%s: tasks run on %v, standbys on %v", what, runs, follows)
		}
	}
	for id, where := range runs {
		if len(where) > 1 || follows[id] == where {
			t.Fatalf("%s: %s runs on %s and is a standby on %s", what, id, where, follows[id])
		}
	}
	t.Logf("%s: after %v tasks run on %v, standbys on %v", what, time.Since(begun).Round(time.Millisecond), runs, follows)
}

func restored(instances ...*instance) (n int64) {
	for _, i := range instances {
		i.mu.Lock()
		n += i.restored
		i.mu.Unlock()
	}
	return n
}

// changelogs returns where the partitions of the changelog end.
func (w *wordCount) changelogs() (ends []int64) {
	w.t.Helper()
	all, err := kadm.NewClient(w.cl).ListEndOffsets(w.t.Context(), w.prefix+"-counts-changelog")
	if err != nil {
		w.t.Fatal(err)
	}
	all.Each(func(o kadm.ListedOffset) { ends = append(ends, o.Offset) })
	return ends
}

// wantRestored wants that copies spared the reading of the changelogs: what they
// lacked when they took over is far less than the changelogs have.
func (w *wordCount) wantRestored(n int64) {
	w.t.Helper()
	whole := int64(0)
	for _, end := range w.changelogs() {
		whole += end
	}
	if n > whole/8 {
		w.t.Errorf("%d records of %d were restored although there were copies", n, whole)
	}
	w.t.Logf("%d records of %d restored", n, whole)
}

// stream feeds lines until it is told to end, and returns how many.
func (w *wordCount) stream() (end func() int) {
	ctx, stop := context.WithCancel(w.t.Context())
	fed := make(chan int, 1)
	go func() {
		n := 0
		defer func() { fed <- n }()
		for tick := time.NewTicker(10 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			for range 20 {
				r := &kgo.Record{Topic: w.prefix + "-lines", Key: fmt.Append(nil, n), Value: fmt.Appendf(nil, "w%d all", n%100)}
				w.cl.Produce(context.WithoutCancel(ctx), r, func(_ *kgo.Record, err error) {
					if err != nil {
						w.t.Error(err)
					}
				})
				n++
			}
		}
	}()
	return func() int {
		stop()
		n := <-fed
		if err := w.cl.Flush(w.t.Context()); err != nil {
			w.t.Error(err)
		}
		return n
	}
}

// TestInstancesShareTheWorkOnBroker lets instances join, leave and die while input
// comes: what is committed is what one instance would have made of it.
func TestInstancesShareTheWorkOnBroker(t *testing.T) {
	if testing.Short() {
		t.Skip("a minute of rebalances")
	}
	w := wordCountOn(t, embedded(t), streams.ExactlyOnceV2)
	end := w.stream()
	a, b, c := &instance{w: w, name: "a"}, &instance{w: w, name: "b"}, &instance{w: w, name: "c"}
	for _, i := range []*instance{a, b, c} {
		i.dir = t.TempDir()
	}
	a.start()
	await(t, "a alone", a)
	for tick := time.NewTicker(50 * time.Millisecond); slices.Min(w.changelogs()) < 2*acceptableLag; {
		<-tick.C
	}
	b.start() // and has to warm up
	await(t, "b joined", a, b)
	c.start()
	await(t, "c joined", a, b, c)
	w.wantRestored(restored(a, b, c))
	before := restored(a, b, c)
	c.leave()
	await(t, "c left", a, b)
	w.wantRestored(restored(a, b, c) - before)
	c.start()
	await(t, "c is back", a, b, c)
	before = restored(a, b, c)
	b.die()
	await(t, "b died", a, c)
	w.wantRestored(restored(a, b, c) - before)
	b.start()
	await(t, "b is back", a, b, c)
	a.die()
	await(t, "a died", b, c)
	lines := end()
	for tick := time.NewTicker(100 * time.Millisecond); ; <-tick.C {
		if drained, err := b.app.Drained(t.Context()); drained || err != nil {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	b.leave()
	c.leave()
	w.wantLines(lines)
	if a.promoted+b.promoted+c.promoted == 0 {
		t.Error("nobody was told that copies became tasks")
	}
}

// wantLines wants every line sent on once, and every word counted.
func (w *wordCount) wantLines(lines int) {
	w.t.Helper()
	each, want := map[string]int{}, map[string]int64{}
	w.read("each", func(r *kgo.Record) { each[string(r.Key)]++ })
	for i := range lines {
		want["all"]++
		want[fmt.Sprintf("w%d", i%100)]++
		if n := each[fmt.Sprint(i)]; n != 1 {
			w.t.Errorf("line %d was sent on %d times", i, n)
		}
	}
	if len(each) != lines {
		w.t.Errorf("%d lines came out of %d", len(each), lines)
	}
	if diff := cmp.Diff(want, w.counts()); diff != "" {
		w.t.Error(diff)
	}
	w.t.Logf("%d lines, %d words", lines, len(slices.Collect(maps.Keys(want))))
}
