// Package pebble is the engine that keeps state on disk in Pebble databases,
// one for each task.
//
// Its own log is written but not synced, since the changelog topic is one: what
// was applied outlives the process, and a power cut once a memtable fills up or
// the DB closes. After a power cut a DB is where some earlier apply had left it,
// whole, and its position says from where to restore.
//
// What a restore loads goes past log and memtable, as sorted tables that are on
// disk before the DB knows of them.
package pebble

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirstream/weir/statestore"
)

// Options tunes the databases of an engine. The zero value is a good choice.
type Options struct {
	// CacheBytes is the size of the block cache that the engine's databases
	// share; 0 is 64 MiB.
	CacheBytes int64
	// MemTableBytes is how much a DB holds in memory before it writes a file;
	// 0 is 16 MiB. There may be two of them in each DB.
	MemTableBytes uint64
	// LoadBytes is the least that a DB takes from a restore as a file of its own, past
	// memory; 0 is 1 MiB.
	LoadBytes int
	// MaxOpenFiles bounds the open files of each DB; 0 is 256.
	MaxOpenFiles int
	// Logger gets what Pebble has to say; nil is silence.
	Logger *slog.Logger
	// FS is the file system, for tests; nil is that of the machine.
	FS vfs.FS
}

// New returns an engine. Its databases share one cache, which lives while any
// of them is open.
func New(o Options) statestore.Engine {
	if o.CacheBytes == 0 {
		o.CacheBytes = 64 << 20
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 16 << 20
	}
	if o.LoadBytes == 0 {
		o.LoadBytes = 1 << 20
	}
	if o.MaxOpenFiles == 0 {
		o.MaxOpenFiles = 256
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	return &engine{options: o}
}

type engine struct {
	options Options

	mu    sync.Mutex
	cache *pebble.Cache
	open  int
}

// Name implements statestore.Engine.
func (*engine) Name() string { return "pebble" }

// Open implements statestore.Engine.
func (e *engine) Open(dir string) (statestore.DB, error) {
	o := e.options
	if err := o.FS.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create state directory %s: %w", dir, err)
	}
	lock, err := pebble.LockDirectory(dir, o.FS)
	if err != nil {
		return nil, lockError(dir, err)
	}
	cache := e.acquire()
	po := &pebble.Options{
		Cache:                       cache,
		FS:                          looseFS{o.FS},
		FormatMajorVersion:          pebble.FormatNewest,
		Lock:                        lock,
		EventListener:               listener(o.Logger),
		Logger:                      logger{o.Logger},
		MaxOpenFiles:                o.MaxOpenFiles,
		MemTableSize:                o.MemTableBytes,
		MemTableStopWritesThreshold: 4,
		CompactionConcurrencyRange:  func() (lower, upper int) { return 1, 2 },
	}
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	inner, err := openInner(dir, po)
	if err != nil {
		e.release()
		return nil, errors.Join(fmt.Errorf("open state directory %s: %w", dir, err), lock.Close())
	}
	po.EnsureDefaults()
	return &db{reader: reader{inner: inner}, pebble: inner, dir: dir, options: po, loadBytes: o.LoadBytes, lock: lock, release: e.release}, nil
}

// listener reports damaged files. Without one Pebble would end the process; the
// read that found the damage returns an error, which is enough.
func listener(to *slog.Logger) *pebble.EventListener {
	return &pebble.EventListener{DataCorruption: func(i pebble.DataCorruptionInfo) {
		to.Error("state file is damaged", slog.String("path", i.Path), slog.Any("error", i.Details))
	}}
}

// acquire returns the shared cache, with one more DB on it.
func (e *engine) acquire() *pebble.Cache {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open == 0 {
		e.cache = pebble.NewCache(e.options.CacheBytes)
	}
	e.open++
	return e.cache
}

// release takes one DB off the shared cache.
func (e *engine) release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open--; e.open == 0 {
		e.cache.Unref()
		e.cache = nil
	}
}

// lockError tells a directory in use from one that cannot be locked.
func lockError(dir string, err error) error {
	var number syscall.Errno
	if errors.As(err, &number) && !number.Temporary() {
		return fmt.Errorf("lock state directory %s: %w", dir, err)
	}
	return fmt.Errorf("%w: %s: %w", statestore.ErrInUse, dir, err)
}

// source is what a DB and a snapshot of Pebble share.
type source interface {
	pebble.Reader
	Close() error
}

type reader struct {
	inner  source
	closed atomic.Bool
}

// Get implements statestore.Reader.
func (r *reader) Get(dst, key []byte) (value []byte, ok bool, err error) {
	if r.closed.Load() {
		return dst, false, statestore.ErrClosed
	}
	v, closer, err := r.inner.Get(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return dst, false, nil
	case err != nil:
		return dst, false, fmt.Errorf("pebble get: %w", err)
	}
	dst = append(dst, v...)
	if err := closer.Close(); err != nil {
		return dst, false, fmt.Errorf("pebble get: %w", err)
	}
	return dst, true, nil
}

// Range implements statestore.Reader.
func (r *reader) Range(from, to []byte, order statestore.Order) iter.Seq2[statestore.Pair, error] {
	return func(yield func(statestore.Pair, error) bool) {
		if r.closed.Load() {
			yield(statestore.Pair{}, statestore.ErrClosed)
			return
		}
		it, err := r.inner.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
		if err != nil {
			yield(statestore.Pair{}, fmt.Errorf("pebble range: %w", err))
			return
		}
		first, next := it.First, it.Next
		if order == statestore.Descending {
			first, next = it.Last, it.Prev
		}
		ok, more := first(), true
		for ; ok && more; ok = more && next() {
			more = yield(statestore.Pair{Key: it.Key(), Value: it.Value()}, nil)
		}
		if err := it.Close(); err != nil && more {
			yield(statestore.Pair{}, fmt.Errorf("pebble range: %w", err))
		}
	}
}

// Close implements statestore.Snapshot.
func (r *reader) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	return r.inner.Close()
}

type db struct {
	reader
	pebble  *pebble.DB
	dir     string
	options *pebble.Options // with defaults
	lock    *pebble.Lock
	release func()

	loadBytes int
	unwritten bool // an apply may be in the memtable
}

// Apply implements statestore.DB.
func (d *db) Apply(b *statestore.Batch, positions map[string]int64) error {
	if d.closed.Load() {
		return statestore.ErrClosed
	}
	if err := d.apply(b, positions); err != nil {
		return fmt.Errorf("pebble apply: %w", err)
	}
	return nil
}

func (d *db) apply(b *statestore.Batch, positions map[string]int64) (err error) {
	d.unwritten = true
	batch := d.pebble.NewBatchWithSize(b.Size() + 16*(b.Len()+len(positions)) + 64*len(positions))
	defer func() { err = errors.Join(err, batch.Close()) }()
	for op := range b.Ops() {
		switch op.Kind {
		case statestore.OpPut:
			err = batch.Set(op.Key, op.Value, nil)
		case statestore.OpDelete:
			err = batch.Delete(op.Key, nil)
		case statestore.OpDeleteRange:
			err = batch.DeleteRange(op.Key, op.Value, nil)
		}
		if err != nil {
			return err
		}
	}
	err = statestore.AppendPositions(func(k, v []byte) error { return batch.Set(k, v, nil) }, positions)
	if err != nil {
		return err
	}
	return batch.Commit(pebble.Sync) // to the operating system, see looseFS
}

// Position implements statestore.DB.
func (d *db) Position() (map[string]int64, error) { return statestore.ReadPositions(d) }

// Snapshot implements statestore.DB.
func (d *db) Snapshot() (statestore.Snapshot, error) {
	if d.closed.Load() {
		return nil, statestore.ErrClosed
	}
	return &reader{inner: d.pebble.NewSnapshot()}, nil
}

// Close implements statestore.DB.
func (d *db) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	err := errors.Join(d.pebble.Flush(), d.pebble.Close(), d.lock.Close())
	d.release()
	if err != nil {
		return fmt.Errorf("pebble close: %w", err)
	}
	return nil
}

// logger hands Pebble's messages to slog.
type logger struct{ to *slog.Logger }

// Infof implements pebble.Logger.
func (l logger) Infof(format string, args ...any) {
	l.to.Debug("pebble", slog.Any("message", lazy{format, args}))
}

// Errorf implements pebble.Logger.
func (l logger) Errorf(format string, args ...any) {
	l.to.Error("pebble", slog.Any("message", lazy{format, args}))
}

// Fatalf implements pebble.Logger. Pebble calls it when its files can no longer
// be trusted, and must not get control back.
func (l logger) Fatalf(format string, args ...any) {
	l.Errorf(format, args...)
	panic("bug: pebble: " + fmt.Sprintf(format, args...))
}

// lazy is a message that is put together only if it is logged.
type lazy struct {
	format string
	args   []any
}

// LogValue implements slog.LogValuer.
func (m lazy) LogValue() slog.Value { return slog.StringValue(fmt.Sprintf(m.format, m.args...)) }
