package app

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/internal/env"
	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/processor"
)

// program is a topology that reads one topic and does nothing with it.
type program struct{ graph *graph.Topology }

func small(t *testing.T) *program {
	t.Helper()
	b := graph.NewBuilder()
	if err := b.AddSource("source", "in"); err != nil {
		t.Fatal(err)
	}
	return &program{b.Build()}
}

// Graph implements runtime.Program.
func (p *program) Graph() *graph.Topology { return p.graph }

// NewTask implements runtime.Program.
func (p *program) NewTask(int, processor.Host) (processor.Task, error) {
	return nil, errors.New("no operator")
}

func TestConfigMistakesNameTheirField(t *testing.T) {
	good := Config{ApplicationID: "app", Brokers: []string{"127.0.0.1:1"}}
	for field, change := range map[string]func(*Config){
		"ApplicationID":    func(c *Config) { c.ApplicationID = "" },
		"ApplicationID \"": func(c *Config) { c.ApplicationID = "a/b" },
		"DeadLetterTopic":  func(c *Config) { c.DeadLetterTopic = "a/b" },
		"Brokers":          func(c *Config) { c.Brokers = nil },
		"TransactionTimeout is 5s": func(c *Config) {
			c.Guarantee, c.CommitInterval, c.TransactionTimeout = ExactlyOnceV2, 5*time.Second, 5*time.Second
		},
		"StopTimeout, TransactionTimeout, ": func(c *Config) { c.TransactionTimeout = -1 },
		"Guarantee is unkno":                func(c *Config) { c.Guarantee = 7 },
		"Workers":                           func(c *Config) { c.Workers = -1 },
	} {
		c := good
		change(&c)
		_, err := New(small(t), c)
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), strings.TrimSuffix(field, " \"")) {
			t.Errorf("%s: %v", field, err)
		}
	}
	t.Setenv("XDG_DATA_HOME", "")
	t.Setenv("HOME", "")
	if _, err := New(small(t), good); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "StateDir") {
		t.Errorf("no home: %v", err)
	}
}

func TestGuaranteesHaveKafkasNames(t *testing.T) {
	for _, g := range []Guarantee{AtLeastOnce, ExactlyOnceV2} {
		text, err := g.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back Guarantee
		if err := back.UnmarshalText(text); err != nil || back != g {
			t.Errorf("%s came back as %s: %v", text, back, err)
		}
	}
	var g Guarantee
	if err := g.UnmarshalText([]byte("exactly_once")); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "exactly_once_v2") {
		t.Errorf("an unknown guarantee: %v", err)
	}
	if Guarantee(7).String() != "guarantee(7)" {
		t.Error(Guarantee(7).String())
	}
}

func TestCommitIntervalsFollowTheGuarantee(t *testing.T) {
	for g, want := range map[Guarantee]time.Duration{AtLeastOnce: 30 * time.Second, ExactlyOnceV2: 100 * time.Millisecond} {
		app, err := New(small(t), Config{ApplicationID: "app", Brokers: []string{"127.0.0.1:1"}, Guarantee: g, StateDir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		if app.config.CommitInterval != want || app.config.TransactionTimeout != 10*time.Second {
			t.Errorf("%s commits after %s, aborts after %s", g, app.config.CommitInterval, app.config.TransactionTimeout)
		}
	}
}

func TestStateIsKeptWithTheDataOfPrograms(t *testing.T) {
	good := Config{ApplicationID: "app", Brokers: []string{"127.0.0.1:1"}}
	t.Setenv("HOME", "/home/somebody")
	for xdg, want := range map[string]string{
		"":      "/home/somebody/.local/share/weir/streams",
		"/data": "/data/weir/streams",
		"data":  "/home/somebody/.local/share/weir/streams",
	} {
		t.Setenv("XDG_DATA_HOME", xdg)
		app, err := New(small(t), good)
		if err != nil {
			t.Fatal(err)
		}
		if app.config.StateDir != want {
			t.Errorf("state in %s, want %s", app.config.StateDir, want)
		}
	}
}

func TestHomeKeepsItsNameAndItsLock(t *testing.T) {
	files, engine := env.RealFS(), statestore.Memory()
	dir := filepath.Join(t.TempDir(), "apps", "app")
	h, err := openHome(files, dir, engine)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openHome(files, dir, engine); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("opened twice: %v", err)
	}
	for _, name := range []string{"0_1", "1_0", "01_1", "x_1", "1", "0_y"} {
		if err := files.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := h.stored()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]processor.TaskID{{Subtopology: 0, Partition: 1}, {Subtopology: 1, Partition: 0}}, stored); diff != "" {
		t.Error(diff)
	}
	if err := h.Wipe(stored[0]); err != nil {
		t.Fatal(err)
	}
	if stored, _ := h.stored(); len(stored) != 1 {
		t.Errorf("after a wipe: %v", stored)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := openHome(files, dir, engine)
	if err != nil {
		t.Fatal(err)
	}
	if again.process != h.process {
		t.Errorf("was %s, is %s", h.process, again.process)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedIdentityIsReplaced(t *testing.T) {
	dir := t.TempDir()
	f, err := env.RealFS().OpenFile(filepath.Join(dir, "x"), 0x42, 0o600) // read, write, create
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteAt([]byte("half a na"), 0); err != nil {
		t.Fatal(err)
	}
	first, err := identityIn(f)
	if err != nil {
		t.Fatal(err)
	}
	second, err := identityIn(f)
	if err != nil || second != first || len(first) != 26 {
		t.Errorf("%q, then %q, %v", first, second, err)
	}
}

func TestAppRunsOnceAndSaysSo(t *testing.T) {
	dir := t.TempDir()
	var states []State
	app, err := New(small(t), Config{
		ApplicationID: "app", Brokers: []string{"127.0.0.1:1"}, StateDir: dir,
		OnState: func(_, now State) { states = append(states, now) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if drained, err := app.Drained(t.Context()); drained || err != nil {
		t.Errorf("before it runs: drained %v, %v", drained, err)
	}
	if _, err := app.Lag(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("before it runs: lag %v", err)
	}
	if err := app.Query("s", nil); err != nil || len(app.Tasks()) != 0 || app.State() != Created {
		t.Errorf("before it runs: %v, %v, %v", err, app.Tasks(), app.State())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := app.Run(ctx); err != nil {
		t.Errorf("a run that was stopped gave %v", err)
	}
	if err := app.Run(t.Context()); err == nil {
		t.Error("ran twice")
	}
	if _, err := app.Drained(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the run: drained %v", err)
	}
	if diff := cmp.Diff([]State{Rebalancing, Stopped}, states); diff != "" {
		t.Error(diff)
	}
}

func TestAppOnALockedDirectoryFails(t *testing.T) {
	dir := t.TempDir()
	h, err := openHome(env.RealFS(), filepath.Join(dir, "app"), statestore.Memory())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close() }()
	app, err := New(small(t), Config{ApplicationID: "app", Brokers: []string{"127.0.0.1:1"}, StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := app.Run(t.Context()); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v", err)
	}
	if app.State() != Failed {
		t.Errorf("state %v", app.State())
	}
}

func TestStatesDoNotGoBack(t *testing.T) {
	app, err := New(small(t), Config{ApplicationID: "app", Brokers: []string{"x:1"}, StateDir: "/nowhere", CommitInterval: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []State{Rebalancing, Running, Rebalancing, Running, Stopping, Running, Rebalancing, Stopped} {
		app.to(s)
	}
	if app.State() != Stopped {
		t.Errorf("state %v", app.State())
	}
	select {
	case <-app.Ready():
	default:
		t.Error("was never ready")
	}
	for s := Created; s <= Failed+1; s++ {
		if s.String() == "" {
			t.Errorf("state %d has no name", s)
		}
	}
}
