package commitlog

import (
	"crypto/md5" //nolint:gosec // no secret: see directoryID
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirstream/weir/broker/internal/commitlog/checkpoint"
	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/broker/internal/commitlog/segment"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// DirOptions say whose directory it is and how it is kept.
type DirOptions struct {
	// ClusterID and NodeID must be those that the directory was made for. With an empty ClusterID
	// the directory's own is taken, and one is drawn for a new directory.
	ClusterID string
	NodeID    int32
	Logger    *slog.Logger
	// MaxOpenFiles bounds the files held open, but for those in use; 2,048.
	MaxOpenFiles int
	// ReadAheadBytes bounds the memory for what lies ahead of readers of small ranges, in windows of
	// 64 KiB, each made when it is first needed and kept; 64 MiB.
	ReadAheadBytes int64
	// RetentionCheck, CheckpointEvery and WatermarkEvery are how often Run looks for segments to
	// delete (5 min), writes recovery points (60 s) and high watermarks (5 s).
	RetentionCheck, CheckpointEvery, WatermarkEvery time.Duration
	Cleaner                                         CleanerOptions
	Faults                                          Faults
}

// CleanerOptions say what compaction may take of the machine.
type CleanerOptions struct {
	Disabled       bool
	Every          time.Duration // how often Run looks for logs to compact; 15 s
	MapBytes       int64         // for the offsets of keys; 128 MiB
	MapLoad        float64       // how full they may become; 0.9
	BytesPerSecond float64       // read, on average; no limit when not positive
}

// Dir is one log directory. All methods are safe for concurrent use.
type Dir struct {
	env     env.Env
	path    string
	options DirOptions
	logger  *slog.Logger
	faults  Faults
	lock    io.Closer
	meta    layout.Meta
	clean   bool
	epoch   int64 // of the broker that stopped cleanly, -1
	files   *segment.Pool
	failed  atomic.Pointer[error]
	told    atomic.Bool

	roundMu sync.Mutex // held by one round of syncing, or a truncation
	queueMu sync.Mutex
	queue   []*Log
	spare   []*Log
	wake    chan struct{}

	points     sync.Mutex         // guards the checkpoints and orders their writing
	gone       map[layout.TP]bool // deleted since they were last written
	recovery   *checkpoint.File
	starts     *checkpoint.File
	watermarks *checkpoint.File
	cleaned    *checkpoint.File

	coders    record.Coders
	cleaner   atomic.Pointer[CleanerOptions]
	recleaned chan struct{} // receives when they change
	cleaning  cleaning

	mu     sync.Mutex
	closed bool
	logs   map[layout.TP]*Log // nil while one is being opened
	trash  []trash
}

// trash is a path to remove at a time, in milliseconds.
type trash struct {
	due  int64
	path string
}

// OpenDir takes a directory into use: it locks it, makes meta.properties in a new one, and reads
// the checkpoints. A *FileError tells of a directory that is locked, of another cluster or node,
// or unreadable; then nothing was changed. A recovery checkpoint that makes no sense only means
// that recovery reads the logs from their start.
func OpenDir(e env.Env, path string, o DirOptions) (*Dir, error) {
	d := &Dir{
		env: e, path: path, options: o.withDefaults(), logger: o.Logger, faults: o.Faults, epoch: -1,
		wake: make(chan struct{}, 1), recleaned: make(chan struct{}, 1), logs: map[layout.TP]*Log{}, gone: map[layout.TP]bool{},
	}
	if d.logger == nil {
		d.logger = slog.New(slog.DiscardHandler)
	}
	d.SetCleaner(o.Cleaner)
	d.files = segment.NewPool(e.FS, d.options.MaxOpenFiles, d.options.ReadAheadBytes)
	m, err := readMeta(e.FS, path)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err != nil && !fresh {
		return nil, err
	}
	if err := d.adopt(m, fresh); err != nil {
		return nil, err
	}
	if err := d.readCheckpoints(); err != nil {
		return nil, err
	}
	if err := e.FS.MkdirAll(path, 0o750); err != nil {
		return nil, fmt.Errorf("create log directory: %w", err)
	}
	d.lock, err = e.FS.Lock(filepath.Join(path, layout.LockFile))
	if errors.Is(err, env.ErrLocked) {
		return nil, &FileError{
			Path: path, Reason: "is in use by another process", Err: ErrLocked,
			Fix: "stop that process, or name another directory in log.dirs",
		}
	}
	if err != nil {
		return nil, fmt.Errorf("lock log directory: %w", err)
	}
	if err := d.begin(fresh); err != nil {
		return nil, errors.Join(err, d.lock.Close())
	}
	return d, nil
}

func (o DirOptions) withDefaults() DirOptions {
	fill(&o.MaxOpenFiles, 2048)
	fill(&o.ReadAheadBytes, 64<<20)
	for field, value := range map[*time.Duration]time.Duration{
		&o.RetentionCheck: 5 * time.Minute, &o.CheckpointEvery: time.Minute, &o.WatermarkEvery: 5 * time.Second,
	} {
		if *field <= 0 {
			*field = value
		}
	}
	return o
}

// adopt compares what the directory says with whose it should be.
func (d *Dir) adopt(m layout.Meta, fresh bool) error {
	o := d.options
	if fresh {
		d.meta = layout.Meta{Cluster: o.ClusterID, Node: o.NodeID, Directory: layout.FormatID(d.newID())}
		if o.ClusterID == "" {
			d.meta.Cluster = layout.FormatID(d.newID())
		}
		return nil
	}
	foreign := func(key, has, want string) error {
		return &FileError{
			Path: filepath.Join(d.path, layout.MetaFile), Err: ErrForeign,
			Reason: fmt.Sprintf("%s is %s, not %s", key, has, want),
			Fix:    "name the directory of this node in log.dirs, or set " + key + " to what it was",
		}
	}
	if o.ClusterID != "" && o.ClusterID != m.Cluster {
		return foreign("cluster.id", m.Cluster, o.ClusterID)
	}
	if o.NodeID != m.Node {
		return foreign("node.id", fmt.Sprint(m.Node), fmt.Sprint(o.NodeID))
	}
	d.meta = m
	if m.Directory == "" {
		d.meta.Directory = d.directoryID()
	}
	return nil
}

// directoryID names a directory that was made before directories had ids, the same each time.
func (d *Dir) directoryID() string {
	return layout.FormatID(md5.Sum([]byte(d.meta.Cluster + "/" + fmt.Sprint(d.meta.Node)))) //nolint:gosec // only to spread names
}

func (d *Dir) newID() (id [16]byte) {
	_, _ = io.ReadFull(d.env.Rand, id[:]) // never fails by its contract
	id[0] &= 0x7f                         // no id that a command line takes for a flag
	return id
}

// random returns a number in [0, limit].
func (d *Dir) random(limit int64) int64 {
	if limit <= 0 {
		return 0
	}
	id := d.newID()
	return int64(binary.BigEndian.Uint64(id[8:]) % uint64(limit+1))
}

func (d *Dir) now() int64 { return d.env.Clock.Now().UnixMilli() }

func millis(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

func (d *Dir) readCheckpoints() error {
	read := func(name string) (*checkpoint.File, error) {
		return checkpoint.Read(d.env.FS, filepath.Join(d.path, name))
	}
	var err error
	if d.recovery, err = read(layout.RecoveryFile); err != nil && !errors.Is(err, ErrCorrupt) {
		return err
	} else if err != nil {
		d.logger.Warn("recovery points are unreadable, all logs will be read", slog.String("file", d.recovery.Path), slog.Any("error", err))
		d.recovery.Offsets = map[layout.TP]int64{}
	}
	if d.cleaned, err = read(layout.CleanerFile); err != nil && !errors.Is(err, ErrCorrupt) {
		return err
	} else if err != nil {
		d.logger.Warn("cleaner offsets are unreadable, logs are compacted from their start", slog.String("file", d.cleaned.Path), slog.Any("error", err))
		d.cleaned.Offsets = map[layout.TP]int64{}
	}
	if d.starts, err = read(layout.StartFile); err == nil {
		d.watermarks, err = read(layout.WatermarkFile)
	}
	if errors.Is(err, ErrCorrupt) {
		path := d.starts.Path
		if d.watermarks != nil {
			path = d.watermarks.Path
		}
		return &FileError{
			Path: path, Reason: err.Error(), Err: ErrCorrupt,
			Fix: "restore the file, or remove it: deleted records that are still on disk come back then",
		}
	}
	return err
}

// begin makes the first changes to the directory: its meta.properties if it is new, and the end
// of the clean stop that a marker may tell of.
func (d *Dir) begin(fresh bool) error {
	if fresh {
		if err := env.WriteFileAtomic(d.env.FS, filepath.Join(d.path, layout.MetaFile), d.meta.Encode()); err != nil {
			return err
		}
		if err := d.syncParents(); err != nil {
			return err
		}
	}
	marker := filepath.Join(d.path, layout.CleanFile)
	data, err := env.ReadFile(d.env.FS, marker)
	switch {
	case err == nil:
		d.clean, d.epoch = true, layout.ParseClean(data)
		if err := d.env.FS.Remove(marker); err != nil {
			return fmt.Errorf("remove clean shutdown marker: %w", err)
		}
		if err := d.env.FS.SyncDir(d.path); err != nil {
			return fmt.Errorf("sync log directory: %w", err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return d.collectTrash()
}

// syncParents makes the directory's own entry durable, and those above it, which may be new too.
func (d *Dir) syncParents() error {
	for dir := filepath.Clean(d.path); ; dir = filepath.Dir(dir) {
		parent := filepath.Dir(dir)
		if parent == dir {
			return nil
		}
		if err := d.env.FS.SyncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("sync parent of log directory: %w", err)
		}
	}
}

// collectTrash finds the directories of logs that were deleted before the last stop.
func (d *Dir) collectTrash() error {
	entries, err := d.env.FS.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("list log directory: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasSuffix(e.Name(), layout.DeleteSuffix) {
			d.discard(0, filepath.Join(d.path, e.Name()))
		}
	}
	return nil
}

// ClusterID is the id of the cluster that the directory belongs to.
func (d *Dir) ClusterID() string { return d.meta.Cluster }

// ID is the directory's own id (KIP-858).
func (d *Dir) ID() string { return d.meta.Directory }

// Path is the directory's name.
func (d *Dir) Path() string { return d.path }

// FS is the file system that the directory is on.
func (d *Dir) FS() env.FS { return d.env.FS }

// StoppedCleanly tells whether the last process to use the directory stopped in order, and with
// which broker epoch, -1 when it did not say.
func (d *Dir) StoppedCleanly() (epoch int64, clean bool) { return d.epoch, d.clean }

// Found is a partition's directory on disk.
type Found struct {
	Topic     string
	Partition int32
	TopicID   [16]byte
	HasID     bool // false when the directory does not tell its topic's id
}

// Logs lists the partitions on disk, open or not, by the names of their directories.
func (d *Dir) Logs() ([]Found, error) {
	entries, err := d.env.FS.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("list log directory: %w", err)
	}
	var out []Found
	for _, e := range entries {
		t, ok := layout.ParseTP(e.Name())
		if !ok || !e.IsDir() {
			continue
		}
		id, known, err := readTopicID(d.env.FS, filepath.Join(d.path, e.Name()))
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return nil, err
		}
		out = append(out, Found{Topic: t.Topic, Partition: t.Partition, TopicID: id, HasID: known && err == nil})
	}
	return out, nil
}

// Open returns the log of a partition: an empty one if it has no directory, else what is on disk,
// recovered if the last process did not stop cleanly. f, which may be nil, is brought up to the
// log's end. A directory of another topic id is refused, untouched, with a *FileError that wraps
// ErrForeign. Several logs may be opened at once; none twice.
func (d *Dir) Open(topic string, partition int32, topicID [16]byte, c Config, f Follower) (*Log, error) {
	t := layout.TP{Topic: topic, Partition: partition}
	if err := d.reserve(t); err != nil {
		return nil, err
	}
	l := &Log{dir: d, tp: t, id: topicID, path: filepath.Join(d.path, t.String()), follower: f, held: d.files.Held()}
	l.heldFrom.Store(math.MaxInt64)
	l.config.Store(c.withDefaults())
	err := d.open(l)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && d.closed {
		err = ErrClosed
	}
	if err != nil {
		delete(d.logs, t)
		return nil, fmt.Errorf("open log %s: %w", t, err)
	}
	d.logs[t] = l
	return l, nil
}

func (d *Dir) reserve(t layout.TP) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.Err(); err != nil {
		return err
	}
	if d.closed {
		return ErrClosed
	}
	if _, taken := d.logs[t]; taken {
		return fmt.Errorf("open log %s: %w", t, ErrLocked)
	}
	d.logs[t] = nil
	return nil
}

func (d *Dir) open(l *Log) error {
	entries, err := d.env.FS.ReadDir(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := d.forgetPoints(l.tp); err != nil {
			return err
		}
		if err := d.env.FS.MkdirAll(l.path, 0o750); err != nil {
			return fmt.Errorf("create: %w", err)
		}
		l.newDir = true
		return l.recover(nil)
	}
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	id, known, err := readTopicID(d.env.FS, l.path)
	if err != nil {
		return err
	}
	if known && id != l.id {
		return &FileError{
			Path: l.path, Err: ErrForeign,
			Reason: fmt.Sprintf("holds topic id %s, not %s", layout.FormatID(id), layout.FormatID(l.id)),
			Fix:    "move it away if its topic was deleted",
		}
	}
	if entries, err = l.settleSwaps(entries); err != nil {
		return err
	}
	l.newDir = !d.clean
	return l.recover(entries)
}

// Delete takes a partition's log out of use and off the disk: at once under another name, so that
// the partition can be created again, and for good after file.delete.delay.ms. Ranges stay
// readable. A partition that has no directory is no error.
func (d *Dir) Delete(topic string, partition int32) error {
	t := layout.TP{Topic: topic, Partition: partition}
	d.mu.Lock()
	l, open := d.logs[t]
	if open && l == nil {
		d.mu.Unlock()
		return fmt.Errorf("delete log %s: %w", t, ErrLocked)
	}
	delete(d.logs, t)
	d.mu.Unlock()
	from, to := filepath.Join(d.path, t.String()), filepath.Join(d.path, t.AsideName(d.newID(), layout.DeleteSuffix))
	delay := int64(0)
	var err error
	if open {
		delay = l.config.Load().FileDeleteDelayMs
		err = l.moveAway(to)
	} else {
		err = ignoreMissing(d.env.FS.Rename(from, to))
	}
	if err == nil {
		err = d.env.FS.SyncDir(d.path)
	}
	if err != nil {
		return d.refuse("delete log", err)
	}
	d.points.Lock()
	d.gone[t] = true
	d.points.Unlock()
	d.discard(delay, to)
	return nil
}

// SetAside renames the directory of a partition that is not open and that the metadata does not
// know by its id: the name is free again, and the data stays for a person to look at. It returns
// the new path, once that is durable. A partition that has no directory is no error.
func (d *Dir) SetAside(topic string, partition int32) (string, error) {
	t := layout.TP{Topic: topic, Partition: partition}
	d.mu.Lock()
	_, open := d.logs[t]
	d.mu.Unlock()
	if open {
		return "", fmt.Errorf("set aside log %s: %w", t, ErrLocked)
	}
	to := filepath.Join(d.path, t.AsideName(d.newID(), layout.StraySuffix))
	err := ignoreMissing(d.env.FS.Rename(filepath.Join(d.path, t.String()), to))
	if err == nil {
		err = d.env.FS.SyncDir(d.path)
	}
	if err != nil {
		return "", d.refuse("set aside log", err)
	}
	d.points.Lock()
	d.gone[t] = true
	d.points.Unlock()
	return to, nil
}

// moveAway ends the log's use and renames its directory.
func (l *Log) moveAway(to string) error {
	l.closed.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.release()
	if err := ignoreMissing(l.dir.env.FS.Rename(l.path, to)); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	l.path = to
	return nil
}

// openLogs returns the logs that are open now.
func (d *Dir) openLogs() []*Log {
	d.mu.Lock()
	defer d.mu.Unlock()
	logs := make([]*Log, 0, len(d.logs))
	for _, l := range d.logs {
		if l != nil {
			logs = append(logs, l)
		}
	}
	slices.SortFunc(logs, func(a, b *Log) int { return strings.Compare(a.tp.String(), b.tp.String()) })
	return logs
}

// discard has paths removed after a delay in milliseconds.
func (d *Dir) discard(delay int64, paths ...string) {
	due := d.now() + delay
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range paths {
		d.trash = append(d.trash, trash{due: due, path: p})
	}
}

// removeTrash removes what is due, or everything.
func (d *Dir) removeTrash(all bool) {
	now := d.now()
	var due []trash
	d.mu.Lock()
	d.trash = slices.DeleteFunc(d.trash, func(t trash) bool {
		if all || t.due <= now {
			due = append(due, t)
			return true
		}
		return false
	})
	d.mu.Unlock()
	for _, t := range due {
		if err := d.env.FS.RemoveAll(t.path); err != nil {
			d.logger.Warn("deleted file stays on disk", slog.String("file", t.path), slog.Any("error", err))
		}
	}
}
