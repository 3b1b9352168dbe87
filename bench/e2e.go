package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// EndToEnd produces single records with acks=all at a fixed rate, whatever the
// broker does, and fetches them with a long poll. Latency is from when a record
// should have been sent to when the fetch that carries it was read.
func EndToEnd(ctx context.Context, l Load) (*Result, error) {
	l.Partitions = 1
	l = l.withDefaults()
	if err := prepare(ctx, &l); err != nil {
		return nil, err
	}
	r := &Result{Elapsed: l.Duration}
	batch := NewBatch(l.Value, 0, 0)
	w := newWindow(&l)
	f := &flow{load: &l, window: w, size: len(batch.Bytes), began: time.Now(), gap: time.Second / time.Duration(l.Rate)}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.send(ctx, appendProduce(nil, l.Topic, 0, -1, batch.Bytes)) })
	g.Go(func() error { return f.receive(ctx, &r.Latency) })
	g.Go(func() (err error) {
		r.CPU, r.RSS, err = w.watch(l.PID)
		return err
	})
	err := g.Wait()
	r.Records = int64(r.Latency.n)
	r.Requests, r.Bytes = r.Records, r.Records*int64(f.size)
	return r, err
}

// flow is one stream of records: the n-th is due n gaps after its beginning and has offset n.
type flow struct {
	load   *Load
	window window
	size   int // of a batch
	began  time.Time
	gap    time.Duration
	sent   atomic.Int64
	ended  atomic.Bool
}

func (f *flow) due(n int64) time.Time { return f.began.Add(time.Duration(n) * f.gap) }

func (f *flow) send(ctx context.Context, frame []byte) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", f.load.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	go func() { _, _ = io.Copy(io.Discard, conn) }() // the fetch shows what was refused
	var burst []byte
	for n := int64(0); ; {
		time.Sleep(time.Until(f.due(n)))
		now := time.Now()
		burst = burst[:0]
		for ; !f.due(n).After(now); n++ {
			burst = append(burst, frame...)
		}
		if _, err := conn.Write(burst); err != nil {
			return err
		}
		f.sent.Store(n)
		if now.After(f.window.to) {
			f.ended.Store(true)
			return pause(ctx, time.Second) // the last answers come
		}
	}
}

func (f *flow) receive(ctx context.Context, latency *Histogram) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", f.load.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	head := fetchHead(f.load.Topic)
	part := []fetchPart{{}}
	var frame, buf []byte
	for !f.ended.Load() || part[0].offset < f.sent.Load() {
		frame = appendFetch(frame[:0], f.load.Topic, part, 500, 1, 1<<20)
		if _, err := conn.Write(frame); err != nil {
			return err
		}
		buf = grown(buf, head+fetchPartHead)
		if _, err := io.ReadFull(conn, buf); err != nil {
			return noEOF(err)
		}
		if code := int16(binary.BigEndian.Uint16(buf[head+4:])); code != 0 {
			return fmt.Errorf("%w: fetch: error code %d", errRefused, code)
		}
		n := int(int32(binary.BigEndian.Uint32(buf[head+fetchPartHead-4:])))
		if n <= 0 {
			continue
		}
		buf = grown(buf, n)
		if _, err := io.ReadFull(conn, buf); err != nil {
			return noEOF(err)
		}
		now := time.Now()
		for range n / f.size {
			if due := f.due(part[0].offset); f.window.counts(due) {
				latency.Add(now.Sub(due))
			}
			part[0].offset++
		}
	}
	return nil
}
