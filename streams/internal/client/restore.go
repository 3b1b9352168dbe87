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

// Restore implements runtime.Log.
func (w *Worker) Restore(from map[runtime.TP]int64) error {
	if w.restore == nil {
		opts := []kgo.Opt{
			kgo.WithContext(w.cl.Context()),
			kgo.SeedBrokers(w.o.Brokers...),
			kgo.ClientID(w.o.ClientID + "-restore"),
			kgo.WithLogger(w.kgoLog),
			kgo.KeepControlRecords(),
			kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		}
		if w.transactional() {
			opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
		}
		cl, err := kgo.NewClient(append(opts, w.o.Extra...)...)
		if err != nil {
			return fmt.Errorf("kafka client: %w", err)
		}
		w.restore = &restorer{cl: cl, reading: map[runtime.TP]bool{}}
	}
	offsets := map[string]map[int32]kgo.Offset{}
	for tp, at := range from {
		if offsets[tp.Topic] == nil {
			offsets[tp.Topic] = map[int32]kgo.Offset{}
		}
		offsets[tp.Topic][tp.Partition] = kgo.NewOffset().At(at)
		w.restore.reading[tp] = true
	}
	w.restore.cl.AddConsumePartitions(offsets)
	return nil
}

// Restored implements runtime.Log.
func (w *Worker) Restored(ctx context.Context, wait time.Duration, limit int) ([]runtime.Fetched, error) {
	if w.restore == nil {
		return nil, nil
	}
	fetches := poll(ctx, w.restore.cl, wait, limit)
	for _, e := range fetches.Errors() {
		if errors.Is(e.Err, context.DeadlineExceeded) || errors.Is(e.Err, context.Canceled) {
			continue
		}
		return nil, classify(fmt.Errorf("changelog %s-%d: %w", e.Topic, e.Partition, e.Err))
	}
	return w.restore.polled.convert(fetches), nil
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
