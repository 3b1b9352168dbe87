package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Report is what a whole comparison needs.
type Report struct {
	Program   string   // ours: it knows the commands server and bench null
	KafkaLibs string   // a directory of Apache Kafka's jars; "" leaves Kafka out
	Dir       string   // for data; what a run made there is removed after it
	Only      []string // rows whose name contains one of these; none is all
	Warm      time.Duration
	Duration  time.Duration // counted of a round
	Rounds    int           // of each row, ours, the ceiling and Kafka taking turns
	Log       io.Writer     // progress
}

// A Row is one line of the comparison. Each of its sides measures one contender; a nil side, or one
// that returns ErrNoKafka or errNotMeasured, leaves that contender out.
type Row struct {
	Section string
	Name    string
	Mode    string // durability of ours; the others never sync
	ceiling string // what the side null is, where it is not the null broker
	once    bool   // one round is enough
	tail    bool   // the slowest records are held to something, which shows whatever the host takes
	ours    side
	null    side
	kafka   side
	checks  []check

	Ours, Null, Kafka *Result
}

// side measures one contender of a row.
type side func(ctx context.Context, s *stage) (*Result, error)

// Run measures every row, round by round: ours, the ceiling and Apache Kafka one after the other.
// A broker is started once and is warm when it counts.
func (r *Report) Run(ctx context.Context) ([]*Row, error) {
	dir, err := os.MkdirTemp(r.Dir, "bench-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s := &stage{report: r, dir: dir, brokers: map[string]*Broker{}, footprints: map[string]*footprint{}}
	defer s.stop()
	var done []*Row
	for _, row := range rows() {
		if !r.wants(row.Name) {
			continue
		}
		rounds := max(r.Rounds, 1)
		if row.once {
			rounds = 1
		}
		for range rounds {
			if err := s.round(ctx, row); err != nil {
				return nil, fmt.Errorf("%s: %w", row.Name, err)
			}
		}
		done = append(done, row)
	}
	return done, nil
}

var errNotMeasured = errors.New("the row it is held to was not measured")

func (r *Report) wants(name string) bool {
	return len(r.Only) == 0 || slices.ContainsFunc(r.Only, func(part string) bool { return strings.Contains(name, part) })
}

// stage holds the brokers of a run.
type stage struct {
	report     *Report
	dir        string
	brokers    map[string]*Broker
	footprints map[string]*footprint
	topics     int  // made so far
	filled     bool // the input of the streams topologies is there
	again      int  // how often something was measured once more
}

// round lets every side of a row run once.
func (s *stage) round(ctx context.Context, row *Row) error {
	until := row.patience()
	for _, one := range []struct {
		name string
		side side
		into **Result
	}{{"weir", row.ours, &row.Ours}, {"ceiling", row.null, &row.Null}, {"kafka", row.kafka, &row.Kafka}} {
		if one.side == nil {
			continue
		}
		if err := s.enough(); err != nil {
			return err
		}
		result, err := s.calmest(ctx, one.side, until)
		if isLeftOut(err) {
			_, _ = fmt.Fprintf(s.report.Log, "%-52s %-7s left out: %v\n", row.Name, one.name, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
		_, _ = fmt.Fprintf(s.report.Log, "%-52s %-7s %s\n", row.Name, one.name, result)
		if *one.into == nil {
			*one.into = new(Result)
		}
		(*one.into).add(result)
	}
	return nil
}

// patience is how much of its processors the host of a virtual machine may keep from a side before it is
// measured again, and how often that is at most.
type patience struct {
	tolerated float64
	attempts  int
}

// moreOften bounds how often a report measures something again.
const moreOften = 30

func (r *Row) patience() patience {
	switch {
	case r.once:
		return patience{attempts: 1}
	case r.tail:
		return patience{.001, 5}
	}
	return patience{.02, 3}
}

// calmest measures a side, so many times at most, and returns the attempt of which the host took least:
// what it shows has no part in the choice, and all sides are treated alike.
func (s *stage) calmest(ctx context.Context, one side, until patience) (*Result, error) {
	var best *Result
	for attempt := 1; ; attempt++ {
		if err := quiet(ctx, s.dir); err != nil {
			return nil, err
		}
		r, err := one(ctx, s)
		if err != nil {
			return nil, err
		}
		if best == nil || r.stolenShare() < best.stolenShare() {
			best = r
		}
		if best.stolenShare() <= until.tolerated || attempt == until.attempts || s.again == moreOften {
			return best, nil
		}
		s.again++
	}
}

// isLeftOut tells a side that cannot be measured here from one that failed.
func isLeftOut(err error) bool { return errors.Is(err, ErrNoKafka) || errors.Is(err, errNotMeasured) }

// diskLeft is how much a row may write, and what is to be left of the disk after it.
const diskLeft = 25 << 30

var errDiskFull = errors.New("too little space left for data")

func (s *stage) enough() error {
	free, err := freeBytes(s.dir)
	if err == nil && free < diskLeft {
		err = fmt.Errorf("%w: %d of %d MB in %s", errDiskFull, free>>20, diskLeft>>20, s.dir)
	}
	return err
}

func (s *stage) stop() {
	for _, b := range s.brokers {
		b.Stop()
	}
}

// The brokers of a run, by name.
const (
	pagecache = "pagecache"
	alike     = "pagecache everywhere" // internal topics too, as with Kafka
	fsync     = "fsync"
	null      = "null"
	kafka     = "kafka"
)

// broker returns a broker, started and warm.
func (s *stage) broker(ctx context.Context, name string) (*Broker, error) {
	if b := s.brokers[name]; b != nil {
		return b, nil
	}
	dir := filepath.Join(s.dir, strings.ReplaceAll(name, " ", "-"))
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	b, err := s.start(ctx, name, dir)
	if err != nil {
		return nil, err
	}
	s.brokers[name] = b
	return b, s.heat(ctx, b)
}

func (s *stage) start(ctx context.Context, name, dir string) (*Broker, error) {
	switch name {
	case null:
		return StartNull(ctx, s.report.Program, dir)
	case kafka:
		return StartKafka(ctx, s.report.KafkaLibs, dir)
	}
	durability, internal := name, fsync
	if name == alike {
		durability, internal = pagecache, pagecache
	}
	return StartOurs(ctx, s.report.Program, dir, "weir.durability="+durability, "weir.internal.durability="+internal,
		"log.segment.delete.delay.ms=1000", "log.cleaner.backoff.ms=1000")
}

// heat puts three times the usual warm-up on a broker that was just started: a JVM has a lot to compile.
func (s *stage) heat(ctx context.Context, b *Broker) error {
	l := Load{BatchBytes: 16 << 10, Acks: 1, Duration: 3 * s.report.Warm, Bytes: 2 * volume}
	_, err := s.run(ctx, b, Produce, l)
	return err
}

// volume is how many bytes of batches a round counts at most. It is well below what Linux keeps dirty
// before it makes writers wait for the disk, so that the page cache is measured; the same memory is
// touched before, because a virtual machine's host takes freed memory back.
const volume = 1 << 30

// load is the side of a row that puts a load on one of the brokers.
func load(name string, run func(context.Context, Load) (*Result, error), l Load) side {
	return func(ctx context.Context, s *stage) (*Result, error) {
		b, err := s.broker(ctx, name)
		if err != nil {
			return nil, err
		}
		l := l
		l.Duration = s.report.Warm
		if _, err := s.run(ctx, b, run, l); err != nil {
			return nil, fmt.Errorf("warm-up: %w", err)
		}
		if err := quiet(ctx, s.dir); err != nil {
			return nil, err
		}
		l.Warm, l.Duration = 100*time.Millisecond, s.report.Duration
		if l.Rate == 0 {
			Touch(volume * 3 / 2)
		} else {
			l.Duration *= 4 // so that one stall is not all of the slowest thousandth
		}
		return s.run(ctx, b, run, l)
	}
}

// run puts one load on a broker, with a topic of its own that is deleted after it: a topic of the
// same name made again while the broker is still at work on the former one has failed with Kafka.
func (s *stage) run(ctx context.Context, b *Broker, run func(context.Context, Load) (*Result, error), l Load) (*Result, error) {
	s.topics++
	l.Addr, l.PID, l.Raw, l.Topic = b.Addr, b.PID(), b.Null, fmt.Sprintf("bench-%d", s.topics)
	if l.Bytes == 0 {
		l.Bytes = volume
	}
	if l.Acks == 0 {
		l.Acks = 1
	}
	r, err := run(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.Name, err)
	}
	if !l.Raw {
		err = deleteTopic(ctx, l.Addr, l.Topic)
	}
	return r, err
}
