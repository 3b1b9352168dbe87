package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirstream/weir/streams"
)

const (
	restoreRecords = 4_000_000
	restoreKeys    = 1_000_000
	restoreParts   = 4
)

// restoreApp is the application that Restore runs, and lastOf the store whose changelog it reads.
const (
	restoreApp = "bench-restore"
	lastOf     = "last"
)

// Restore fills a changelog with records of 100 B and lets an application without state read it back.
// The time is that from the begin of the first restore of its tasks to the end of the last.
func Restore(ctx context.Context, program, addr, dir string) (*Result, error) {
	run := StreamsRun{Ours: true, Program: program, App: StreamsApp{Topology: "last", Guarantee: exactlyOnce, Addr: addr, ID: restoreApp, Dir: dir}}
	changelog := restoreApp + "-" + lastOf + "-changelog"
	for _, topic := range []string{changelog, restoreApp + "-in"} {
		if err := createTopic(ctx, addr, topic, restoreParts, nil); err != nil {
			return nil, err
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(changelog), kgo.MaxBufferedRecords(100_000))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same values each time
	value := make([]byte, 100)
	for i := range value {
		value[i] = byte(random.Uint32())
	}
	if err := produceAll(ctx, client, restoreRecords, func(i int) *kgo.Record {
		return &kgo.Record{Key: strconv.AppendInt(nil, int64(i)*7919%restoreKeys, 10), Value: value}
	}); err != nil {
		return nil, err
	}
	r, err := run.measureRestore(ctx)
	if err != nil {
		return nil, err
	}
	return r, run.clean(ctx, kadm.NewClient(client))
}

// measureRestore runs the application until it says what it has restored.
func (r *StreamsRun) measureRestore(ctx context.Context) (*Result, error) {
	cmd, err := r.command(ctx)
	if err != nil {
		return nil, err
	}
	said, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	stolenBefore := stolen()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	line, err := bufio.NewReader(said).ReadString('\n')
	result := &Result{Requests: 1, Stolen: stolen() - stolenBefore}
	if err != nil {
		return nil, fmt.Errorf("the application ended: %w: %s", err, complaint.Bytes())
	}
	if _, err := fmt.Sscanf(line, restoredLine, &result.Records, (*int64)(&result.Elapsed)); err != nil {
		return nil, err
	}
	result.Bytes = result.Records * 100
	if result.CPU, err = cpuTime(cmd.Process.Pid); err != nil {
		return nil, err
	}
	result.RSS, err = residentBytes(cmd.Process.Pid)
	return result, err
}

// restoredLine is how an application tells its records and nanoseconds.
const restoredLine = "restored %d records in %d\n"

// tellRestored returns what watches the restores of an application and tells when all are done.
func tellRestored(w io.Writer) func(streams.RestoreEvent) {
	var began time.Time
	records, done := int64(0), 0
	return func(e streams.RestoreEvent) {
		switch e.Step {
		case streams.RestoreStart:
			if began.IsZero() {
				began = time.Now()
			}
		case streams.RestoreEnd:
			records += e.Records
			if done++; done == restoreParts {
				_, _ = fmt.Fprintf(w, restoredLine, records, time.Since(began).Nanoseconds())
			}
		case streams.RestoreBatch, streams.RestoreSuspended:
		}
	}
}

// restoreRow is how fast an application reads its state back.
func restoreRow() *Row {
	return &Row{
		Section: apps, Name: "streams: restore of 100 B records", Mode: alike, once: true, checks: []check{speed(500_000)},
		ours: func(ctx context.Context, s *stage) (*Result, error) {
			b, err := s.broker(ctx, alike)
			if err != nil {
				return nil, err
			}
			dir, err := os.MkdirTemp(s.dir, restoreApp)
			if err != nil {
				return nil, err
			}
			return Restore(ctx, s.report.Program, b.Addr, dir)
		},
	}
}
