package conformance

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/weirstream/weir/streams"
	"github.com/weirstream/weir/streams/serde"
)

// perTransaction is how many messages the relay commits at once.
const perTransaction = 750

// relay is the processor of the application under test: it hands every message
// on, and asks for a commit after so many.
type relay struct {
	ctx  streams.Context[string, string]
	seen *int // of all tasks of the worker
}

func (r *relay) Init(ctx streams.Context[string, string]) error {
	r.ctx = ctx
	return nil
}

func (r *relay) Process(m streams.Record[string, string]) error {
	if *r.seen++; *r.seen%perTransaction == 0 {
		r.ctx.Commit()
	}
	return r.ctx.Forward(m)
}

func (r *relay) Close() error { return nil }

// runRelay is the process of the application; TestMain runs it where the
// environment says so.
func runRelay(broker, dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	b := streams.NewBuilder()
	seen := 0
	streams.Process(streams.From(b, "in", serde.String(), serde.String()), func() streams.Processor[string, string, string, string] {
		return &relay{seen: &seen}
	}).To("out", serde.String(), serde.String())
	topology, err := b.Build()
	if err != nil {
		return err
	}
	app, err := streams.NewApp(topology, streams.Config{
		ApplicationID: "relay", Brokers: []string{broker}, StateDir: dir, Guarantee: streams.ExactlyOnceV2, CommitInterval: time.Second,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), ClientOptions: []kgo.Opt{quickRetries()},
	})
	if err != nil {
		return err
	}
	return app.Run(ctx)
}

// relayProcess is the application as a process to kill.
type relayProcess struct {
	t    *testing.T
	addr string
	dir  string
	cmd  *exec.Cmd
	said *os.File
}

func startRelay(t *testing.T, addr string) *relayProcess {
	t.Helper()
	dir := t.TempDir()
	said, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	p := &relayProcess{t: t, addr: addr, dir: dir, said: said}
	p.start()
	t.Cleanup(func() {
		p.kill()
		said.Close()
		if text, err := os.ReadFile(said.Name()); err == nil && t.Failed() {
			t.Logf("the application said:\n%s", text[max(0, len(text)-8000):])
		}
	})
	return p
}

func (p *relayProcess) start() {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), "CONFORMANCE_RELAY="+p.addr, "CONFORMANCE_RELAY_DIR="+p.dir)
	p.cmd.Stderr = p.said
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *relayProcess) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Errorf("the application ended by itself: %v", err)
	}
	_ = p.cmd.Wait()
}

// TestRelayExactlyOnce hands 100,000 messages from one topic to another in
// transactions of 750, while the broker is killed every five seconds and the
// application every seven. A reader of committed records must see each key's
// messages once and in order: what was aborted would come twice.
func TestRelayExactlyOnce(t *testing.T) {
	t.Parallel()
	messages, everyBroker, everyApp := 100_000, 5*time.Second, 7*time.Second
	if testing.Short() {
		messages, everyBroker, everyApp = 20_000, 2*time.Second, 3*time.Second
	}
	t.Run("weir", func(t *testing.T) {
		b := newBroker(t)
		b.createTopic("in", 4)
		b.createTopic("out", 4)
		killed := relayUnderKills(t, b.client, b.addr, messages, map[string]*killing{
			"broker": {every: everyBroker, again: func() { b.kill(); b.start() }}, "application": {every: everyApp},
		})
		if killed < 4 {
			t.Errorf("%d kills fell before the last message was through", killed)
		}
	})
	t.Run("kafka", func(t *testing.T) {
		addr := newKafka(t)
		client := func(opts ...kgo.Opt) *kgo.Client {
			c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr)}, opts...)...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			return c
		}
		if _, err := kadm.NewClient(client()).CreateTopics(t.Context(), 4, 1, nil, "in", "out"); err != nil {
			t.Fatal(err)
		}
		relayUnderKills(t, client, addr, messages, map[string]*killing{"application": {every: everyApp}})
	})
}

// killing is what is killed how often.
type killing struct {
	every time.Duration
	again func() // kills and starts
	next  time.Time
}

func relayUnderKills(t *testing.T, client func(...kgo.Opt) *kgo.Client, addr string, messages int, kills map[string]*killing) (killed int) {
	t.Helper()
	const keys, perSecond = 40, 3000
	app := startRelay(t, addr)
	kills["application"].again = func() { app.kill(); app.start() }
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	defer load.Wait()
	defer stop()
	producer := client(kgo.DefaultProduceTopic("in"), kgo.RequestRetries(1<<30), quickRetries())
	load.Go(func() {
		begun := time.Now()
		for i := 0; i < messages && ctx.Err() == nil; i++ {
			if due := begun.Add(time.Duration(i) * time.Second / perSecond); time.Until(due) > 5*time.Millisecond {
				time.Sleep(time.Until(due))
			}
			value := fmt.Sprintf("%d:%d", i%keys, i/keys)
			producer.Produce(ctx, &kgo.Record{Key: []byte(strconv.Itoa(i % keys)), Value: []byte(value)}, func(_ *kgo.Record, err error) {
				if err != nil && ctx.Err() == nil {
					t.Errorf("produce %s: %v", value, err)
				}
			})
		}
	})
	reader := &sequence{next: map[string]int{}}
	load.Go(func() {
		reader.follow(ctx, t, client(kgo.ConsumeTopics("out"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), quickRetries()))
	})
	for _, k := range kills {
		k.next = time.Now().Add(k.every)
	}
	begun := time.Now()
	for reader.len() < messages && !t.Failed() {
		if time.Since(begun) > 4*time.Minute {
			t.Fatalf("%d of %d messages came through in four minutes", reader.len(), messages)
		}
		time.Sleep(5 * time.Millisecond)
		for _, k := range kills {
			if time.Now().After(k.next) {
				k.again()
				killed++
				k.next = time.Now().Add(k.every)
			}
		}
	}
	time.Sleep(2 * time.Second) // for what would come twice
	if n := reader.len(); n != messages {
		t.Errorf("%d messages came through, want %d", n, messages)
	}
	t.Logf("%d messages in %v, %d kills", messages, time.Since(begun), killed)
	return killed
}

// sequence is what a reader has seen of messages key:0, key:1, ...
type sequence struct {
	mu   sync.Mutex
	next map[string]int
	read int
}

func (s *sequence) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read
}

func (s *sequence) follow(ctx context.Context, t *testing.T, client *kgo.Client) {
	for ctx.Err() == nil {
		for _, r := range client.PollFetches(ctx).Records() {
			key, number, _ := strings.Cut(string(r.Value), ":")
			s.mu.Lock()
			if want := s.next[key]; number != strconv.Itoa(want) {
				t.Errorf("partition %d offset %d holds %q, want %s:%d: lost, doubled, aborted or out of order", r.Partition, r.Offset, r.Value, key, want)
				s.mu.Unlock()
				return
			}
			s.next[key]++
			s.read++
			s.mu.Unlock()
		}
	}
}
