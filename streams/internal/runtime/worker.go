package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/processor"
)

// Databases opens the databases of tasks. It may be used from any goroutine.
type Databases interface {
	// Open opens the database of a task, made if missing. One that is still open
	// elsewhere is statestore.ErrInUse.
	Open(id TaskID) (statestore.DB, error)
	// Wipe deletes the database of a task, which is closed.
	Wipe(id TaskID) error
}

// WorkerOptions is what a worker needs. All fields but OnRestore, OnStandby, OnDrop
// and those of the policy are required.
type WorkerOptions struct {
	Index         int // of the worker in its process
	ApplicationID string
	Program       Program
	Setup         *Setup
	Databases     Databases
	Holdings      *Holdings     // of the process
	Globals       *GlobalTables // nil if the topology has none
	Dial          func(ctx context.Context, r Rebalancer, topics []string) (Log, error)

	CommitInterval time.Duration
	CacheBytes     int           // pending changes of all tasks that make the worker commit early
	RestoreBytes   int           // restored changes of all tasks that wait in memory
	Buffered       int           // messages of a partition that may wait before its fetching pauses
	PollRecords    int           // messages that one poll may bring
	StopTimeout    time.Duration // how long the last commit may take
	ResetToEnd     bool          // where a partition without a commit starts: at its end, else at its start
	Leave          bool          // leave the group at the stop, instead of keeping the place for a restart

	AcceptableLag   int64         // offsets that a warm-up may lack when it takes over
	ProbingInterval time.Duration // between two attempts of a warm-up to take over

	ErrorPolicy
	OnRestore func(e RestoreEvent) // nil for nobody; called from the worker, must not call back
	OnStandby func(e StandbyEvent) // the same
	OnDrop    func(id TaskID, reason string)
	OnChange  func() // the state of the worker or of a task changed; called from the worker, must not call back
	Logger    *slog.Logger
}

// Worker drives the tasks that its group gives it, on the goroutine of Run.
type Worker struct {
	o   WorkerOptions
	log *slog.Logger

	orders orders

	// mu is held by whoever works on the tasks: Run, but not while it polls; a
	// rebalance; a query.
	mu         sync.Mutex
	kafka      Log // nil before Run dialled
	slots      map[TaskID]*slot
	byTP       map[TP]*slot
	order      []*slot // by task, for a fair and repeatable turn
	joined     bool
	begun      bool // the unit that the next commit ends; no task opens before
	lastCommit time.Time
	batch      statestore.Batch // of one apply after another
	busy       bool             // tasks have more to process than the last turn did
	failures   int              // in a row
	purge      map[TP]int64
	fatal      error // of a rebalance, for Run to return
}

// NewWorker returns a worker that does nothing yet.
func NewWorker(o WorkerOptions) *Worker {
	return &Worker{
		o: o, log: o.Logger.With(slog.Int("worker", o.Index)),
		slots: map[TaskID]*slot{}, byTP: map[TP]*slot{}, purge: map[TP]int64{},
	}
}

// pollWait bounds a poll, so that a quiet worker looks at its clocks.
const pollWait = 100 * time.Millisecond

// turn bounds the processing between two polls.
const turn = 200 * time.Millisecond

// Run joins the group and works until ctx ends, then commits and closes its
// tasks. It returns nil after a graceful stop.
func (w *Worker) Run(ctx context.Context) error {
	kafka, err := w.dial(ctx)
	if err != nil {
		return fmt.Errorf("worker %d: %w", w.o.Index, err)
	}
	stopKill := w.killAfter(ctx, kafka)
	defer stopKill()
	for ctx.Err() == nil && err == nil {
		err = w.step(ctx)
		if errors.Is(err, ErrRetry) && ctx.Err() == nil {
			err = w.rewind(ctx, err)
		}
	}
	return w.stop(ctx, err)
}

// dial connects. A rebalance that comes meanwhile waits.
func (w *Worker) dial(ctx context.Context) (Log, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	kafka, err := w.o.Dial(ctx, w, w.o.Setup.Topics)
	if err != nil {
		return nil, err
	}
	w.kafka, w.lastCommit = kafka, time.Now()
	if len(w.o.Setup.Topics) == 0 { // then no assignment comes
		w.joined = true
		w.o.OnChange()
	}
	return kafka, nil
}

// Adopt lets the worker go on with the topics that there are by now.
func (w *Worker) Adopt(s *Setup) {
	w.mu.Lock()
	w.o.Setup = s
	kafka := w.kafka
	w.mu.Unlock()
	if kafka != nil {
		kafka.Subscribe(s.Topics)
	}
}

// killAfter ends everything that waits for the broker once the time to stop is
// over.
func (w *Worker) killAfter(ctx context.Context, kafka Log) (stop func()) {
	var late *time.Timer
	var mu sync.Mutex
	undo := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		late = time.AfterFunc(w.o.StopTimeout, kafka.Kill)
	})
	return func() {
		undo()
		mu.Lock()
		defer mu.Unlock()
		if late != nil {
			late.Stop()
		}
	}
}

// step polls once and does everything that is due.
func (w *Worker) step(ctx context.Context) error {
	fetched, err := w.kafka.Poll(ctx, w.wait(), w.o.PollRecords)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := cmp.Or(w.fatal, err); err != nil || ctx.Err() != nil {
		return err
	}
	if err := w.take(fetched); err != nil {
		return err
	}
	w.adopt()
	if err := w.open(ctx); err != nil {
		return err
	}
	if err := w.restore(ctx); err != nil {
		return err
	}
	if err := w.process(ctx); err != nil {
		return err
	}
	if err := w.punctuate(); err != nil {
		return err
	}
	if err := w.commitIfDue(ctx); err != nil {
		return err
	}
	w.throttle()
	return nil
}

// wait returns how long the next poll may wait.
func (w *Worker) wait() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy {
		return 0
	}
	now := time.Now()
	wait := pollWait
	for _, s := range w.order {
		switch s.state {
		case opening:
			wait = min(wait, s.retryAt.Sub(now))
		case restoring:
			return 0
		case following:
			if s.unrestored() > 0 {
				return 0
			}
		case running:
			if next, ok := s.task.NextPunctuation(); ok {
				wait = min(wait, next.Sub(now))
			}
			if at, ok := s.task.RetryAt(); ok {
				wait = min(wait, at.Sub(now))
			}
			if s.task.Touched() {
				wait = min(wait, w.lastCommit.Add(w.o.CommitInterval).Sub(now))
			}
		}
	}
	return max(wait, 0)
}

// take hands what was fetched to the tasks. What belongs to a task that does
// not run is dropped: it seeks when it starts.
func (w *Worker) take(fetched []Fetched) error {
	for i := range fetched {
		f := &fetched[i]
		s := w.byTP[f.TP]
		if s == nil || s.state != running {
			continue
		}
		for j := range f.Messages {
			if err := s.task.Enqueue(&f.Messages[j]); err != nil {
				return err
			}
		}
		s.task.SetEnd(f.TP, f.Next, f.End)
	}
	return nil
}

// slice is how many records a task processes before the next one has its turn.
const slice = 256

// process gives every task its turns until nothing is left, a commit is due or
// it is time to poll.
func (w *Worker) process(ctx context.Context) error {
	until := time.Now().Add(turn)
	for w.busy = true; w.busy && ctx.Err() == nil; {
		w.busy = false
		for _, s := range w.order {
			if s.state != running {
				continue
			}
			more, err := s.run()
			if err != nil {
				return err
			}
			w.busy = w.busy || more
		}
		if err := w.commitIfDue(ctx); err != nil {
			return err
		}
		if !time.Now().Before(until) {
			return nil
		}
	}
	return nil
}

func (w *Worker) punctuate() error {
	for _, s := range w.order {
		if s.state == running {
			if err := s.task.Punctuate(); err != nil {
				return fmt.Errorf("task %s: punctuate: %w", s.id, err)
			}
		}
	}
	return nil
}

// throttle pauses the fetching of partitions that have too much waiting, and
// resumes it once they are half empty.
func (w *Worker) throttle() {
	var pause, resume []TP
	for _, s := range w.order {
		if s.state != running {
			continue
		}
		for tp, paused := range s.paused {
			switch waiting := s.task.Buffered(tp); {
			case !paused && waiting >= w.o.Buffered:
				pause = append(pause, tp)
				s.paused[tp] = true
			case paused && waiting <= w.o.Buffered/2:
				resume = append(resume, tp)
				s.paused[tp] = false
			}
		}
	}
	if len(pause) > 0 {
		w.kafka.Pause(pause)
	}
	if len(resume) > 0 {
		w.kafka.Resume(resume)
	}
}

// commitIfDue commits when the interval is over, the cache is full or an
// operator asks for it.
func (w *Worker) commitIfDue(ctx context.Context) error {
	due := time.Since(w.lastCommit) >= w.o.CommitInterval
	bytes := 0
	for _, s := range w.order {
		if s.state == running {
			bytes += s.task.PendingBytes()
			due = due || s.task.CommitRequested()
		}
	}
	if !due && bytes < w.o.CacheBytes {
		return nil
	}
	if err := w.applyCopies(); err != nil {
		return err
	}
	return w.commit(ctx)
}

// commit commits every task that did something, as one unit: see the package
// comment for the order. After an error nothing of it counts.
func (w *Worker) commit(ctx context.Context) error {
	w.lastCommit = time.Now()
	var tasks []*slot
	for _, s := range w.order {
		if s.state == running && s.task.Touched() {
			tasks = append(tasks, s)
		}
	}
	if len(tasks) == 0 {
		return nil
	}
	var offsets []Offset
	for _, s := range tasks {
		if err := s.task.Flush(); err != nil {
			return err
		}
		offsets = append(offsets, s.task.Offsets()...)
	}
	if err := w.kafka.Commit(ctx, offsets); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	for _, s := range tasks {
		if err := s.task.Applied(w.acked(s)); err != nil {
			return err
		}
	}
	w.failures = 0
	w.lastCommit = time.Now()
	for _, o := range offsets {
		if slices.Contains(w.o.Setup.Repartitions, o.Topic) {
			w.purge[o.TP] = o.Offset
		}
	}
	return w.begin(ctx)
}

// begin opens the next unit.
func (w *Worker) begin(ctx context.Context) error {
	err := w.kafka.Begin(ctx)
	w.begun = err == nil
	return err
}

func (w *Worker) acked(s *slot) map[string]int64 {
	acked := map[string]int64{}
	for _, c := range s.task.Changelogs() {
		if last, ok := w.kafka.Acked(c.TP); ok {
			acked[c.Topic] = last
		}
	}
	return acked
}

// backoff returns how long to wait after a number of failures in a row.
func backoff(failures int) time.Duration {
	return min(100*time.Millisecond<<min(failures, 10), 10*time.Second)
}

// rewind drops what was not committed and lets every task start again from its
// last commit, after a while.
func (w *Worker) rewind(ctx context.Context, cause error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	wait := backoff(w.failures)
	w.failures++
	w.log.Warn("tasks start again from their last commit", slog.Any("error", cause), slog.Duration("wait", wait))
	err := w.reset(ctx, wait)
	w.o.OnChange()
	return err
}

// reset closes every task without a commit, to be opened again after a while:
// they share the unit that is aborted. It waits until nothing that they sent is on
// its way: what arrives later would be in a changelog behind the back of the next
// restore.
func (w *Worker) reset(ctx context.Context, wait time.Duration) error {
	for _, s := range w.order {
		if s.standby {
			continue
		}
		w.closeDirty(s)
		s.retryAt = time.Now().Add(wait)
		w.kafka.Pause(s.tps)
	}
	w.busy, w.begun = false, false
	if err := w.kafka.Abort(ctx); err != nil {
		return fmt.Errorf("abort: %w", err)
	}
	return nil
}

// stop closes everything: with a last commit if what was done is whole. If it ends
// for a failure, its own or that of another worker, it leaves the group.
func (w *Worker) stop(ctx context.Context, err error) error {
	leave := w.o.Leave || err != nil || ctx.Err() != nil && !errors.Is(context.Cause(ctx), ctx.Err())
	whole := (*failure)(nil)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.o.StopTimeout)
	defer cancel()
	w.mu.Lock()
	if err == nil || errors.As(err, &whole) && whole.clean {
		if failed := w.commit(ctx); failed != nil {
			w.log.Warn("last commit failed", slog.Any("error", failed))
			err = errors.Join(err, failed)
		}
	}
	for _, s := range slices.Clone(w.order) {
		err = errors.Join(err, w.remove(s))
	}
	w.mu.Unlock()
	err = errors.Join(err, w.kafka.Close(ctx, leave))
	if err != nil {
		return fmt.Errorf("worker %d: %w", w.o.Index, err)
	}
	return nil
}

// Purgeable returns, and forgets, up to where repartition topics may be
// deleted: what was committed since the last call.
func (w *Worker) Purgeable() map[TP]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.purge
	w.purge = map[TP]int64{}
	return before
}

// Query calls f for every running task of the worker that has the store, while
// nothing is processed. What f reads includes what is not committed yet. If
// another task with the store does not run yet, the error is a [*NotReadyError].
// A stale query asks copies too, which show what is committed, some time later;
// otherwise they are such an error, of the least weight.
func (w *Worker) Query(store string, stale bool, f func(id TaskID, s processor.Stores) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var missing, standby error
	for _, s := range w.order {
		if _, ok := w.o.Program.Graph().Subtopologies[s.id.Subtopology].Store(store); !ok {
			continue
		}
		if s.standby && !stale {
			standby = &NotReadyError{Task: s.id, Standby: true, State: s.state.String(), Left: s.unrestored()}
			continue
		}
		if s.state != running && s.state != following {
			missing = &NotReadyError{Task: s.id, State: s.state.String(), Left: s.unrestored()}
			continue
		}
		if err := f(s.id, s.task); err != nil {
			return err
		}
	}
	return cmp.Or(missing, standby)
}

// NotReadyError says that a task cannot be asked yet, or that only a copy of its
// state is here.
type NotReadyError struct {
	Task    TaskID
	Standby bool   // it runs elsewhere
	State   string // opening, restoring, following
	Left    int64  // offsets of its changelogs that are still to be read
}

// Error tells the task, what it does and how far it is.
func (e *NotReadyError) Error() string {
	if e.Standby {
		return fmt.Sprintf("task %s is a standby here, %d offsets behind", e.Task, e.Left)
	}
	return fmt.Sprintf("task %s is %s, %d offsets to restore", e.Task, e.State, e.Left)
}
