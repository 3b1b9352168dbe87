package commitlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/weirstream/weir/broker/internal/commitlog/cleaner"
	"github.com/weirstream/weir/broker/internal/commitlog/segment"
	"github.com/weirstream/weir/broker/internal/record"
)

// Compaction writes segments anew with the records that package cleaner leaves. It works beside
// everybody else on segments that take no appends, and holds the log's mutex only while it swaps
// the new files for the old ones (swap.go). Old files stay readable for who has them.

// Keeper tells what a compaction has to leave of a log. It is called under no lock of this package.
type Keeper interface {
	// LastStable is the offset from which on nothing is compacted.
	LastStable() int64
	// LastBatches tells of each producer that may write again the newest that the log holds of it.
	LastBatches() map[int64]ProducerLast
}

// ProducerLast is the newest that a log holds of a producer.
type ProducerLast = cleaner.Last

// SetKeeper names who knows what must stay; a log without one is never compacted. It is to be set
// once, before the first append.
func (l *Log) SetKeeper(k Keeper) { l.keeper.Store(&k) }

// errStale reports segments that were deleted or cut while they were compacted; nothing was changed.
var errStale = errors.New("segments changed under compaction")

// errFull ends the indexing of a log whose keys do not all find a place.
var errFull = errors.New("offset map is full")

// compaction is one round on one log.
type compaction struct {
	log     *Log
	plan    cleaner.Plan
	segs    []*segmentFile
	round   *cleaner.Round
	offsets *cleaner.OffsetMap
	pace    *pacer
	cuts    int64 // Log.cuts as the round began
	read    int64
	written int64
}

// SetCleaner puts options in force for the compactions that begin from now on. Whether there are
// any is decided when the directory is opened.
func (d *Dir) SetCleaner(o CleanerOptions) {
	fill(&o.MapBytes, 128<<20)
	if o.MapLoad <= 0 {
		o.MapLoad = 0.9
	}
	if o.Every <= 0 {
		o.Every = 15 * time.Second
	}
	d.cleaner.Store(&o)
	select {
	case d.recleaned <- struct{}{}:
	default:
	}
}

// runCleaner compacts what is due, and deletes what else is old in logs that are compacted, until
// ctx ends.
func (d *Dir) runCleaner(ctx context.Context) {
	if d.options.Cleaner.Disabled {
		return
	}
	for {
		due := make(chan struct{})
		timer := d.env.Clock.AfterFunc(d.cleaner.Load().Every, func() { close(due) })
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-d.recleaned:
			timer.Stop()
		case <-due:
			d.Clean(ctx)
			d.warn(d.retain(func(c *Config) bool { return c.Compact }))
		}
	}
}

// Clean compacts every log that is due, the most urgent first, until none is or ctx ends. A log
// whose files cannot be read is left as it is, and alone, until the directory is opened anew; the
// failure is logged and counted.
func (d *Dir) Clean(ctx context.Context) {
	type candidate struct {
		log  *Log
		plan cleaner.Plan
	}
	var due []candidate
	dirtiest := 0.0
	for _, l := range d.openLogs() {
		p, err := l.plan()
		l.blame(err)
		if err != nil {
			continue
		}
		dirtiest = max(dirtiest, p.Ratio)
		if p.Due {
			due = append(due, candidate{l, p})
		}
	}
	d.cleaning.began(d.now(), dirtiest)
	slices.SortStableFunc(due, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.plan.Overdue, a.plan.Overdue), cmp.Compare(b.plan.Ratio, a.plan.Ratio))
	})
	for _, c := range due {
		for again := true; again && ctx.Err() == nil; {
			before := c.plan.From
			err := d.compact(ctx, c.log, c.plan)
			if err == nil {
				c.plan, err = c.log.plan()
			}
			c.log.blame(err)
			again = err == nil && c.plan.Due && c.plan.From > before
		}
	}
}

// blame marks a log as one that cannot be compacted, if err says so.
func (l *Log) blame(err error) {
	switch {
	case err == nil, errors.Is(err, errStale), errors.Is(err, context.Canceled), errors.Is(err, ErrClosed),
		errors.Is(err, ErrOffline), errors.Is(err, ErrNoSpace), errors.Is(err, fs.ErrNotExist):
		return
	}
	l.uncleanable.Store(true)
	l.dir.logger.Error("log cannot be compacted and keeps every record", slog.String("log", l.tp.String()), slog.Any("error", err))
}

// plan looks at what there is to compact; the plan of a log that is not to be compacted is empty.
func (l *Log) plan() (p cleaner.Plan, err error) {
	c, keeper := l.config.Load(), l.keeper.Load()
	if !c.Compact || keeper == nil || l.uncleanable.Load() {
		return p, nil
	}
	if err := l.usable(); err != nil {
		return p, err
	}
	segs := *l.segs.Load()
	sealed := make([]cleaner.Segment, 0, len(segs))
	for i, s := range segs[:len(segs)-1] {
		info := cleaner.Segment{Base: s.Base, Next: segs[i+1].Base, Size: s.Size(), Largest: record.NoTimestamp, First: record.NoTimestamp}
		if c.MinLagMs > 0 {
			if err := s.Ready(c.IndexIntervalBytes); err != nil {
				return p, err
			}
			info.Largest, _ = s.Largest()
		}
		if c.MaxLagMs > 0 {
			if info.First, err = s.Oldest(); err != nil {
				return p, err
			}
		}
		sealed = append(sealed, info)
	}
	l.dir.points.Lock()
	cleaned := l.dir.cleaned.Offsets[l.tp]
	l.dir.points.Unlock()
	return cleaner.Decide(sealed, cleaner.Bounds{
		Start: l.start.Load(), Cleaned: cleaned, Until: min(l.synced.Load(), (*keeper).LastStable()),
		Now: l.dir.now(), MinLag: c.MinLagMs, MaxLag: c.MaxLagMs, MinRatio: c.MinDirtyRatio,
	}), nil
}

// compact does one round on a log.
func (d *Dir) compact(ctx context.Context, l *Log, p cleaner.Plan) error {
	segs := *l.segs.Load()
	if len(segs) <= p.Segments || p.Segments == 0 {
		return errStale
	}
	segs = segs[:p.Segments]
	began, c, o := d.env.Clock.Now(), l.config.Load(), d.cleaner.Load()
	end := segs[len(segs)-1].Next()
	d.points.Lock()
	cuts := l.cuts
	d.points.Unlock()
	j := &compaction{
		log: l, plan: p, segs: segs, cuts: cuts, pace: &pacer{clock: d.env.Clock, began: began, rate: o.BytesPerSecond},
		offsets: cleaner.NewOffsetMap(o.MapBytes, o.MapLoad, end-p.From, [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}),
	}
	j.round = cleaner.New(cleaner.Options{
		Map: j.offsets, From: p.From, Now: d.now(), DeleteRetention: c.DeleteRetentionMs, Aborted: l.AbortedIn(p.From, math.MaxInt64),
		Producers: (*l.keeper.Load()).LastBatches(), Coders: &d.coders, MaxDecompressed: c.MaxDecompressed,
	})
	err := j.index(ctx)
	for err == nil {
		before := len(j.segs)
		if err = j.rewrite(ctx); len(j.segs) > before/2 {
			break // what became small is written together
		}
	}
	if err == nil {
		err = d.noteCleaned(l, j.round.End(), cuts)
	}
	if err != nil {
		return fmt.Errorf("compact %s: %w", l.tp, err)
	}
	took := d.env.Clock.Now().Sub(began)
	d.cleaning.ended(j, took)
	d.logger.Info("log compacted", slog.String("log", l.tp.String()), slog.Int64("from", p.From), slog.Int64("to", j.round.End()),
		slog.Int64("bytes", p.Clean+p.Dirty), slog.Int("segments", len(j.segs)), slog.Duration("took", took))
	return nil
}

// index takes the batches from the plan's beginning on into the offset map, and forgets the
// segments behind the one where the map is full.
func (j *compaction) index(ctx context.Context) error {
	for i, s := range j.segs {
		if s.Next() <= j.plan.From {
			continue
		}
		err := s.Each(func(b record.Batch, _ bool) error {
			if err := j.pass(ctx, b); err != nil {
				return err
			}
			full, err := j.round.Index(b)
			if full {
				return errFull
			}
			return err
		})
		if errors.Is(err, errFull) {
			j.segs = j.segs[:i+1]
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rewrite writes the segments anew, small ones together, and swaps them in one by one. j.segs are
// what came of them.
func (j *compaction) rewrite(ctx context.Context) error {
	l, c := j.log, j.log.config.Load()
	j.round.Rewind(l.AbortedIn(j.segs[0].Base, math.MaxInt64))
	filter := func(b record.Batch) (record.Batch, error) {
		if err := j.pass(ctx, b); err != nil {
			return nil, err
		}
		return j.round.Filter(b)
	}
	var made []*segmentFile
	for rest := j.segs; len(rest) > 0; {
		out := segment.NewRewrite(l.dir.files, filepath.Dir(rest[0].Prefix), rest[0].Base, c.IndexIntervalBytes)
		n, err := 0, error(nil)
		for err == nil && n < len(rest) && (n == 0 || out.Takes(rest[n].Segment, c.SegmentBytes, c.SegmentIndexBytes)) {
			err = out.Copy(rest[n].Segment, filter, cleaner.Rest)
			n++
		}
		var s *segmentFile
		if err == nil {
			s, err = l.replaceBy(out, rest[:n], j.round.TakeAborted())
		}
		if failed, ok := errors.AsType[*segment.WriteError](err); ok && l.closed.Load() {
			err = errStale
		} else if ok {
			err = l.dir.refuse("compact", failed)
		}
		if err != nil {
			return errors.Join(err, out.Discard())
		}
		j.written += out.Written()
		made, rest = append(made, s), rest[n:]
	}
	j.segs = made
	return nil
}

// pass counts a batch that was read, and waits until the next may be.
func (j *compaction) pass(ctx context.Context, b record.Batch) error {
	j.read += int64(len(b))
	return j.pace.wait(ctx, len(b))
}

// noteCleaned checkpoints up to where a log is compacted, unless it was cut meanwhile.
func (d *Dir) noteCleaned(l *Log, upTo, cuts int64) error {
	d.points.Lock()
	defer d.points.Unlock()
	if l.closed.Load() || l.cuts != cuts {
		return errStale
	}
	offsets := d.present(d.cleaned)
	offsets[l.tp] = upTo
	if err := d.cleaned.Write(d.env.FS, offsets); err != nil {
		return d.refuse("write cleaner offsets", err)
	}
	return nil
}

// lowerCleaned forgets that a log was compacted beyond an offset, before it is cut there. The
// caller holds points.
func (d *Dir) lowerCleaned(l *Log, to int64) error {
	l.cuts++
	if d.cleaned.Offsets[l.tp] <= to {
		return nil
	}
	offsets := d.present(d.cleaned)
	offsets[l.tp] = to
	if err := d.cleaned.Write(d.env.FS, offsets); err != nil {
		return d.refuse("write cleaner offsets", err)
	}
	return nil
}
