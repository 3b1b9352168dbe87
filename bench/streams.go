package bench

import (
	"context"
	_ "embed" // the Java side of the comparison
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

//go:embed StreamsApp.java
var streamsJava []byte

// FillStreams makes the input of the topologies: n records of 100 B with 10,000 keys, 2 ms of record
// time apart, in 4 partitions.
func FillStreams(ctx context.Context, addr string, n int) error {
	const keys, partitions = 10_000, 4
	forever := "-1" // the records are years old, and brokers look for what may go every five minutes
	if err := createTopic(ctx, addr, streamsInput, partitions, map[string]*string{"retention.ms": &forever}); err != nil {
		return err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(streamsInput), kgo.MaxBufferedRecords(100_000))
	if err != nil {
		return err
	}
	defer client.Close()
	filler := strings.Repeat("x", 94)
	began := time.UnixMilli(1_700_000_000_000)
	return produceAll(ctx, client, n, func(i int) *kgo.Record {
		key := (i * 7919) % keys
		return &kgo.Record{
			Key: []byte("k" + strconv.Itoa(key)), Value: fmt.Appendf(nil, "%06d%s", key/10, filler),
			Timestamp: began.Add(time.Duration(i) * 2 * time.Millisecond),
		}
	})
}

// StreamsRun says how to measure an application.
type StreamsRun struct {
	App     StreamsApp
	Ours    bool   // Weir's streams, else Kafka Streams
	Program string // Weir's, which runs the topology itself where it is Ours
	Libs    string // the jars of Kafka Streams
	Warm    int    // records that are committed before counting begins
	Records int    // of the input
}

// Streams runs an application over the input and returns what it took from the commit of Warm
// records to its end: records of the input, the time and the application's CPU.
func Streams(ctx context.Context, r StreamsRun) (*Result, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(r.App.Addr))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if err := createTopic(ctx, r.App.Addr, r.App.output(), 4, nil); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(r.App.Dir, 0o750); err != nil {
		return nil, err
	}
	cmd, err := r.command(ctx)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(r.App.Dir, "app.log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	app := &Broker{Name: "app", cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(app.done)
	}()
	defer app.Stop()
	result, err := r.watch(ctx, admin, app)
	if err != nil {
		text, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("%w: %s", err, text)
	}
	app.Stop()
	return result, r.clean(ctx, admin)
}

// clean deletes the topics of the application.
func (r *StreamsRun) clean(ctx context.Context, admin *kadm.Client) error {
	topics, err := admin.ListTopics(ctx)
	if err != nil {
		return err
	}
	topics.FilterInternal()
	names := slices.DeleteFunc(topics.Names(), func(name string) bool { return !strings.HasPrefix(name, r.App.ID) })
	if _, err := admin.DeleteTopics(ctx, names...); err != nil {
		return err
	}
	return os.RemoveAll(r.App.Dir)
}

func (r *StreamsRun) command(ctx context.Context) (*exec.Cmd, error) {
	a := r.App
	arguments := []string{a.Topology, a.Guarantee, a.Addr, a.ID, filepath.Join(a.Dir, "state")}
	if r.Ours {
		return exec.Command(r.Program, append([]string{"bench", "streams-app"}, arguments...)...), nil //nolint:gosec,noctx // Stop ends it, and waits
	}
	if r.Libs == "" {
		return nil, ErrNoKafka
	}
	source := filepath.Join(a.Dir, "StreamsApp.java")
	if err := os.WriteFile(source, streamsJava, 0o600); err != nil {
		return nil, err
	}
	classes := filepath.Join(r.Libs, "*") + string(os.PathListSeparator) + a.Dir
	compile := exec.CommandContext(ctx, "javac", "-cp", classes, "-d", a.Dir, source) //nolint:gosec // the operator names the jars
	if out, err := compile.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("javac: %w: %s", err, out)
	}
	return exec.Command("java", append([]string{"-Xmx1g", "-Dlog4j2.level=WARN", "-cp", classes, "StreamsApp"}, arguments...)...), nil //nolint:gosec,noctx // Stop ends it, and waits
}

// watch measures between two moments of the application's progress, as its commits tell it.
func (r *StreamsRun) watch(ctx context.Context, admin *kadm.Client, app *Broker) (*Result, error) {
	begin, err := r.reach(ctx, admin, app, func(done, _ int64) bool { return done >= int64(r.Warm) })
	if err != nil {
		return nil, err
	}
	// Markers and what a commit has yet to cover never take more than a hundredth.
	end, err := r.reach(ctx, admin, app, func(done, left int64) bool { return done >= int64(r.Records) && left <= int64(r.Records)/100 })
	if err != nil {
		return nil, err
	}
	if end.done == begin.done {
		return nil, errors.New("it was done before counting began: more records are needed")
	}
	rss, err := residentBytes(app.PID())
	result := &Result{Records: end.done - begin.done, Bytes: (end.done - begin.done) * 100, Requests: 1, RSS: rss}
	result.between(begin.moment, end.moment)
	return result, err
}

type progress struct {
	moment
	done int64 // records of the input that are committed
}

// reach waits until the application is as far as wanted. left counts what lies between its commits
// and the ends of all that it reads.
func (r *StreamsRun) reach(ctx context.Context, admin *kadm.Client, app *Broker, far func(done, left int64) bool) (progress, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		select {
		case <-app.done:
			return progress{}, errors.New("the application ended")
		case <-ctx.Done():
			return progress{}, context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
		committed, err := admin.FetchOffsets(ctx, r.App.ID)
		if err != nil || len(committed) == 0 {
			continue // the group is not there yet
		}
		var p progress
		if p.moment, err = mark(app.PID()); err != nil {
			return p, err
		}
		ends, err := admin.ListEndOffsets(ctx, committed.Offsets().TopicsSet().Topics()...)
		if err != nil {
			return p, err
		}
		left := int64(0)
		ends.Each(func(e kadm.ListedOffset) {
			at := int64(0)
			if c, ok := committed.Lookup(e.Topic, e.Partition); ok {
				at = max(0, c.At)
			}
			if e.Topic == streamsInput {
				p.done += at
			}
			left += e.Offset - at
		})
		if far(p.done, left) {
			return p, nil
		}
	}
}
