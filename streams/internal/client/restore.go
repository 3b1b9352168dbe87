package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirstream/weir/streams/internal/runtime"
)

// restorer reads changelogs, with a client of its own that is in no group.
type restorer struct {
	cl      *kgo.Client
	polled  polled
	reading map[runtime.TP]bool
}

// newRestorer makes the client of a restorer, whose id is that of o with a
// suffix.
func newRestorer(ctx context.Context, o *Options, suffix string) (*restorer, error) {
	opts := []kgo.Opt{
		kgo.WithContext(ctx),
		kgo.SeedBrokers(o.Brokers...),
		kgo.ClientID(o.ClientID + suffix),
		kgo.WithLogger(newLogger(ctx, o.Logger)),
		kgo.KeepControlRecords(),
		kgo.FetchMaxWait(fetchWait), // a restore that begins waits for the fetch of copies that have nothing new
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
	}
	if o.TransactionalID != "" {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	cl, err := kgo.NewClient(append(opts, o.Extra...)...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	r := &restorer{cl: cl, reading: map[runtime.TP]bool{}}
	r.polled.committed = o.TransactionalID != ""
	return r, nil
}

func (r *restorer) begin(from map[runtime.TP]int64) {
	offsets := map[string]map[int32]kgo.Offset{}
	for tp, at := range from {
		if offsets[tp.Topic] == nil {
			offsets[tp.Topic] = map[int32]kgo.Offset{}
		}
		offsets[tp.Topic][tp.Partition] = kgo.NewOffset().At(at)
		r.reading[tp] = true
	}
	r.cl.AddConsumePartitions(offsets)
}

func (r *restorer) poll(ctx context.Context, wait time.Duration, limit int) ([]runtime.Fetched, error) {
	fetches := poll(ctx, r.cl, wait, limit)
	for _, e := range fetches.Errors() {
		if errors.Is(e.Err, context.DeadlineExceeded) || errors.Is(e.Err, context.Canceled) {
			continue
		}
		return nil, classify(fmt.Errorf("read %s-%d: %w", e.Topic, e.Partition, e.Err))
	}
	return r.polled.convert(fetches), nil
}

// Restore implements runtime.Log.
func (w *Worker) Restore(from map[runtime.TP]int64) error {
	if w.restore == nil {
		var err error
		if w.restore, err = newRestorer(w.cl.Context(), &w.o, "-restore"); err != nil {
			return err
		}
	}
	w.restore.begin(from)
	return nil
}

// Restored implements runtime.Log.
func (w *Worker) Restored(ctx context.Context, wait time.Duration, limit int) ([]runtime.Fetched, error) {
	if w.restore == nil {
		return nil, nil
	}
	return w.restore.poll(ctx, wait, limit)
}

// EndRestore implements runtime.Log.
func (w *Worker) EndRestore(tps []runtime.TP) {
	if w.restore == nil {
		return
	}
	for _, tp := range tps {
		delete(w.restore.reading, tp)
	}
	if len(w.restore.reading) == 0 {
		w.closeRestore()
		return
	}
	w.restore.cl.RemoveConsumePartitions(group(tps))
}

func (w *Worker) closeRestore() {
	if w.restore != nil {
		w.restore.cl.Close()
		w.restore = nil
	}
}
