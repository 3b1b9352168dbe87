package app

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/runtime"
)

// ErrConfig means that a [Config] cannot work; the text names the field.
var ErrConfig = errors.New("bad streams configuration")

// The types of error handlers.
type (
	// ErrorEvent is one record that failed: its task, its place, the record itself,
	// and the operator, stage and cause.
	ErrorEvent = runtime.ErrorEvent
	// Decision is what an error handler answers.
	Decision = runtime.Decision
	// ErrorHandler decides about a failed record. It is called from the
	// goroutine of the task.
	ErrorHandler = runtime.ErrorHandler
	// TaskStatus is one task of an app.
	TaskStatus = runtime.TaskStatus
	// NotReadyError says that a task cannot be asked yet: it opens or restores.
	// It tells which one, and how much is left.
	NotReadyError = runtime.NotReadyError
	// RestoreEvent is a step of the restore of one store from one changelog.
	RestoreEvent = runtime.RestoreEvent
	// RestoreStep says what happens to a restore.
	RestoreStep = runtime.RestoreStep
	// StandbyEvent is a step of the copy of one store that follows one changelog.
	StandbyEvent = runtime.StandbyEvent
	// StandbyStep says what happens to a copy of a store.
	StandbyStep = runtime.StandbyStep
	// SuspendReason says why a copy ended.
	SuspendReason = runtime.SuspendReason
)

// The answers of an error handler.
const (
	Fail       = runtime.Fail       // stop the app with the error
	Continue   = runtime.Continue   // log and drop the record
	Retry      = runtime.Retry      // try the record again after a while
	DeadLetter = runtime.DeadLetter // write the record to the dead-letter topic and go on
)

// The steps of a restore.
const (
	RestoreStart     = runtime.RestoreStart
	RestoreBatch     = runtime.RestoreBatch
	RestoreEnd       = runtime.RestoreEnd
	RestoreSuspended = runtime.RestoreSuspended // it ended before it was done
)

// The steps of a copy.
const (
	StandbyStart     = runtime.StandbyStart
	StandbyBatch     = runtime.StandbyBatch
	StandbySuspended = runtime.StandbySuspended
)

// The reasons why a copy ended.
const (
	Migrated = runtime.Migrated
	Promoted = runtime.Promoted
)

// Config is what an [App] needs to know. ApplicationID and Brokers are
// required; the zero value of every other field is a working default.
type Config struct {
	// ApplicationID is the consumer group and the prefix of internal topics.
	// Apps with the same id share the work, and must have the same topology.
	ApplicationID string
	// Brokers are host:port addresses to start from.
	Brokers []string
	// Workers is how many goroutines process, each with a client of its own. 0
	// is 1. More than there are tasks is no use.
	Workers int
	// StateDir is where state is kept, one folder for each application id. Empty
	// is $XDG_DATA_HOME/weir/streams, or ~/.local/share/weir/streams. Two apps
	// with the same id need different folders on one machine.
	StateDir string
	// StateCleanupDelay is how long the state of a task that runs elsewhere stays in
	// the folder, counted from when the app last had it open and from when it began
	// to run. State without a changelog always stays. 0 is 10 min; below 0 deletes
	// nothing.
	StateCleanupDelay time.Duration
	// CommitInterval is the time between commits, and so how late results may be,
	// and at least once how much is repeated after a crash. 0 is 30 s, and 100 ms
	// with ExactlyOnceV2.
	CommitInterval time.Duration
	// CacheBytes is how much of uncommitted changes all workers together keep in
	// memory before they commit early. 0 is 10 MiB; below 0 commits after every
	// change.
	CacheBytes int
	// RestoreBytes is how much all workers together keep in memory of state that they
	// restore before it goes to the state folder. With more of it less is written
	// twice. 0 is 64 MiB.
	RestoreBytes int
	// Buffered is how many records of a partition wait in memory before its
	// fetching pauses. 0 is 1000.
	Buffered int
	// Guarantee says how often a record takes effect. The zero value is
	// AtLeastOnce.
	Guarantee Guarantee
	// TransactionTimeout is how long a transaction of ExactlyOnceV2 may be open
	// before the brokers abort it, and so how long readers may wait for one of an
	// app that is gone. 0 is 10 s. It has to be longer than CommitInterval and
	// than the work on one record; brokers allow 15 minutes at most by default.
	TransactionTimeout time.Duration
	// ResetToEnd starts partitions without a commit at their end, not at their
	// start.
	ResetToEnd bool
	// SessionTimeout is how long the group waits for a worker that is gone. 0 is
	// 45 s. An app that comes back sooner with its state folder takes its tasks
	// over at once.
	SessionTimeout time.Duration
	// LeaveOnStop leaves the group at a graceful stop, so that other instances
	// take over at once. Otherwise the tasks wait for the restart, for as long as
	// the session timeout.
	LeaveOnStop bool
	// Standbys is how many copies of the state of every task other instances keep,
	// to take over without a restore. They follow the changelogs into state folders
	// of their own. This and the next three fields are those of the instance that
	// leads the group.
	Standbys int
	// AcceptableLag is how many offsets of its changelogs a copy may lack for its
	// instance to take a task over. A task whose state is further behind there stays
	// where it is, while the new place warms up. 0 is 10,000; below 0 is none.
	AcceptableLag int64
	// Warmups is how many tasks may warm up at a time, in all instances. 0 is 2.
	Warmups int
	// ProbingInterval is how long a warm-up that has caught up waits before it asks
	// for its task again. 0 is 10 min.
	ProbingInterval time.Duration
	// StopTimeout is how long the last commit of a graceful stop may take. 0 is
	// 30 s.
	StopTimeout time.Duration

	// Replication is the replication factor of internal topics. 0 is the default
	// of the cluster.
	Replication int16
	// ChangelogConfig and RepartitionConfig override the configuration of
	// internal topics when they are created, under Kafka's keys.
	ChangelogConfig   map[string]string
	RepartitionConfig map[string]string
	// MetadataMaxAge is how long a topic that appears or is deleted may go unnoticed
	// where a pattern reads it (metadata.max.age.ms). An instance that notices tells
	// the others. 0 is 5 min.
	MetadataMaxAge time.Duration
	// PurgeInterval is the time between deletions of processed records from
	// repartition topics. 0 is 30 s; below 0 never deletes.
	PurgeInterval time.Duration

	// Engine keeps persistent stores. Nil is Pebble.
	Engine statestore.Engine
	// OnError decides about records that could not be read, processed, written or
	// sent. Nil fails. A panic in a lambda comes here too; one in the handler fails.
	// Of a record that was processed in part when it failed, that part counts,
	// unless it is tried again.
	OnError ErrorHandler
	// OnRestore is told of every restore of a store: where it begins, each batch of
	// records, and its end or that it was suspended. It is called from the goroutine
	// of the worker, which waits for it, and must not call methods of the app.
	OnRestore func(e RestoreEvent)
	// OnStandby is told of every copy of a store that the app keeps for others
	// (KIP-988): where it begins, each batch of records, and that it ended, because it
	// became the task itself or closed. It is called as OnRestore is.
	OnStandby func(e StandbyEvent)
	// Retries is how often a record is tried again at most, after which Retry is
	// the same as Fail. 0 is 10. While a record waits its task stands still and
	// other tasks go on. A record that had sent or stored something before it failed
	// takes the worker back to its last commit.
	Retries int
	// RetryBackoff is the wait before a record is tried again. It doubles with each
	// failure, up to 64 times as much. 0 is 100 ms.
	RetryBackoff time.Duration
	// DeadLetterTopic is where records go that OnError answers DeadLetter for:
	// key, value and headers as they came, and behind them headers that say what
	// failed (KIP-1034, and more under names that begin with "dlq."). A letter counts
	// when the progress past its record does: exactly once, both are one transaction.
	// If it cannot be written the app fails. Empty is "dlq." and the application id.
	// If there is an OnError, a missing topic is created, with as many partitions
	// as the largest source.
	DeadLetterTopic string
	// OnState is told of every change of the app's state, in order, from one
	// goroutine; while it runs, later changes wait.
	OnState func(old, now State)
	// Logger is where the app logs. Nil discards.
	Logger *slog.Logger
	// ClientOptions are given to every Kafka client after the app's own options:
	// TLS, SASL, a dialer. Those that change group or offsets break the app.
	ClientOptions []kgo.Opt
}

// withDefaults checks the configuration and fills what is zero.
func (c Config) withDefaults() (Config, error) {
	bad := func(field, why string) (Config, error) {
		return Config{}, fmt.Errorf("%w: %s %s", ErrConfig, field, why)
	}
	c.DeadLetterTopic = or(c.DeadLetterTopic, "dlq."+c.ApplicationID)
	if field, why := c.badName(); field != "" {
		return bad(field, why)
	}
	switch {
	case len(c.Brokers) == 0:
		return bad("Brokers", "is empty")
	case c.Guarantee != AtLeastOnce && c.Guarantee != ExactlyOnceV2:
		return bad("Guarantee", "is unknown")
	case c.Workers < 0, c.Standbys < 0, c.Warmups < 0, c.ProbingInterval < 0, c.MetadataMaxAge < 0:
		return bad("Workers, Standbys, Warmups, ProbingInterval and MetadataMaxAge", "must not be negative")
	case c.Buffered < 0, c.RestoreBytes < 0, c.CommitInterval < 0, c.SessionTimeout < 0, c.StopTimeout < 0, c.TransactionTimeout < 0, c.Retries < 0, c.RetryBackoff < 0:
		return bad("Buffered, RestoreBytes, CommitInterval, SessionTimeout, StopTimeout, TransactionTimeout, Retries and RetryBackoff", "must not be negative")
	}
	interval := 30 * time.Second
	if c.Guarantee == ExactlyOnceV2 {
		interval = 100 * time.Millisecond
	}
	c.CommitInterval = or(c.CommitInterval, interval)
	c.TransactionTimeout = or(c.TransactionTimeout, 10*time.Second)
	if c.Guarantee == ExactlyOnceV2 && c.TransactionTimeout <= c.CommitInterval {
		return bad("TransactionTimeout", fmt.Sprintf("is %s, and transactions take a CommitInterval of %s", c.TransactionTimeout, c.CommitInterval))
	}
	if c.StateDir == "" {
		dir, err := dataDir()
		if err != nil {
			return bad("StateDir", err.Error())
		}
		c.StateDir = dir
	}
	c.Workers = or(c.Workers, 1)
	c.CacheBytes = or(c.CacheBytes, 10<<20)
	c.RestoreBytes = or(c.RestoreBytes, 64<<20)
	c.Buffered = or(c.Buffered, 1000)
	c.SessionTimeout = or(c.SessionTimeout, 45*time.Second)
	c.StopTimeout = or(c.StopTimeout, 30*time.Second)
	c.AcceptableLag = max(0, or(c.AcceptableLag, 10_000))
	c.Warmups = or(c.Warmups, 2)
	c.StateCleanupDelay = or(c.StateCleanupDelay, 10*time.Minute)
	c.ProbingInterval = or(c.ProbingInterval, 10*time.Minute)
	c.Retries = or(c.Retries, 10)
	c.RetryBackoff = or(c.RetryBackoff, 100*time.Millisecond)
	c.Replication = or(c.Replication, -1)
	c.MetadataMaxAge = or(c.MetadataMaxAge, 5*time.Minute)
	c.PurgeInterval = or(c.PurgeInterval, 30*time.Second)
	if c.Engine == nil {
		c.Engine = defaultEngine()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// badName returns the field that names something in a way that Kafka does not
// allow, and why.
func (c Config) badName() (field, why string) {
	if c.ApplicationID == "" {
		return "ApplicationID", "is empty"
	}
	if err := graph.Legal(c.ApplicationID); err != nil {
		return "ApplicationID", err.Error()
	}
	if err := graph.Legal(c.DeadLetterTopic); err != nil {
		return "DeadLetterTopic", err.Error()
	}
	return "", ""
}

func or[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// dataDir is the folder for the data of programs, never a temporary one.
func dataDir() (string, error) {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "weir", "streams"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", errors.New("is empty and there is no home directory to keep state in")
	}
	return filepath.Join(home, ".local", "share", "weir", "streams"), nil
}
