package streams

import (
	"fmt"

	"github.com/weirstream/weir/streams/internal/app"
)

// What runs a topology.
type (
	// App runs a topology on a Kafka cluster. Its methods may be called from any
	// goroutine; Run is called once.
	App = app.App
	// Config is what an [App] needs to know. ApplicationID and Brokers are
	// required; the zero value of every other field is a working default.
	Config = app.Config
	// Guarantee says how often a record takes effect.
	Guarantee = app.Guarantee
	// State is how far an app is.
	State = app.State
	// TaskStatus is one task of an app.
	TaskStatus = app.TaskStatus
	// NotReadyError says that a task cannot be asked yet: it opens or restores.
	// It tells which one, and how much is left.
	NotReadyError = app.NotReadyError
	// Stale is an app whose queries read standbys too, see [App.Stale].
	Stale = app.Stale
	// RestoreEvent is a step of the restore of one store from one changelog.
	RestoreEvent = app.RestoreEvent
	// RestoreStep says what happens to a restore.
	RestoreStep = app.RestoreStep
	// StandbyEvent is a step of the copy of one store that follows one changelog.
	StandbyEvent = app.StandbyEvent
	// StandbyStep says what happens to a copy of a store.
	StandbyStep = app.StandbyStep
	// SuspendReason says why a copy ended.
	SuspendReason = app.SuspendReason
	// TopicPartition names one partition.
	TopicPartition = app.TopicPartition
	// ErrorEvent is one record that failed: its task, its place, the record itself,
	// and the operator, stage and cause.
	ErrorEvent = app.ErrorEvent
	// Decision is what an error handler answers.
	Decision = app.Decision
	// ErrorHandler decides about a failed record. It is called from the
	// goroutine of the task.
	ErrorHandler = app.ErrorHandler
)

// The guarantees.
const (
	// AtLeastOnce never loses a record; after a failure, records since the last
	// commit take effect again.
	AtLeastOnce = app.AtLeastOnce
	// ExactlyOnceV2 makes outputs, state and offsets one transaction of each
	// worker, and reads only what is committed. Whoever reads the outputs has to
	// read only what is committed too. It needs brokers of Kafka 2.5 or later.
	ExactlyOnceV2 = app.ExactlyOnceV2
)

// The states of an app. Rebalancing and Running alternate.
const (
	Created     = app.Created
	Rebalancing = app.Rebalancing // joins its group, opens or restores tasks
	Running     = app.Running     // every task that the app was given runs
	Stopping    = app.Stopping
	Stopped     = app.Stopped
	Failed      = app.Failed
)

// The answers of an error handler.
const (
	Fail       = app.Fail       // stop the app with the error
	Continue   = app.Continue   // log and drop the record
	Retry      = app.Retry      // try the record again after a while
	DeadLetter = app.DeadLetter // write the record to the dead-letter topic and go on
)

// The steps of a restore.
const (
	RestoreStart     = app.RestoreStart
	RestoreBatch     = app.RestoreBatch
	RestoreEnd       = app.RestoreEnd
	RestoreSuspended = app.RestoreSuspended // it ended before it was done
)

// The steps of a copy (KIP-988).
const (
	StandbyStart     = app.StandbyStart
	StandbyBatch     = app.StandbyBatch
	StandbySuspended = app.StandbySuspended // it ended, for a [SuspendReason]
)

// The reasons why a copy ended.
const (
	Migrated = app.Migrated // it closed: the copy goes elsewhere, or the app ends
	Promoted = app.Promoted // it became the task itself
)

// The errors of an app; they come wrapped.
var (
	// ErrConfig means that a [Config] cannot work; the text names the field.
	ErrConfig = app.ErrConfig
	// ErrInUse means that another app has the state directory open.
	ErrInUse = app.ErrInUse
	// ErrNotRunning means that a question about tasks or offsets came before the
	// app knew its topics.
	ErrNotRunning = app.ErrNotRunning
)

// NewApp checks the configuration. It does not connect and touches no file.
func NewApp(topology *Topology, cfg Config) (*App, error) {
	if topology == nil {
		return nil, fmt.Errorf("%w: the topology is nil", ErrConfig)
	}
	return app.New(topology, cfg)
}
