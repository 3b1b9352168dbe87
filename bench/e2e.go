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
	r := new(Result)
	f := &flow{load: &l, window: newWindow(&l), began: time.Now(), gap: time.Second / time.Duration(l.Rate), free: make(chan struct{}, l.Depth)}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.send(ctx) })
	g.Go(func() error { return f.receive(ctx, &r.Latency) })
	g.Go(func() error { return f.window.watch(ctx, l.PID, r) })
	err := g.Wait()
	r.Records = int64(r.Latency.n)
	r.Requests, r.Bytes = r.Records, r.Records*int64(l.Value)
	return r, err
}

// most is how many records leave in one request, when the broker is behind.
const most = 64

// flow is one stream of records: the n-th is due n gaps after its beginning and has offset n.
type flow struct {
	load   *Load
	window *window
	began  time.Time
	gap    time.Duration
	sent   atomic.Int64
	ended  atomic.Bool
	free   chan struct{} // one for each request in flight
}

func (f *flow) due(n int64) time.Time { return f.began.Add(time.Duration(n) * f.gap) }

// send sends what is due as one request, as soon as Depth allows another.
func (f *flow) send(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", f.load.Addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	var frames [most + 1][]byte // by records
	for n := 1; n <= most; n++ {
		frames[n] = appendProduce(nil, f.load.Topic, 0, -1, newBatch(f.load.Value, n, 1<<30, 0).Bytes)
	}
	go f.acknowledge(conn)
	for n := int64(0); ; {
		if err := pause(ctx, time.Until(f.due(n))); err != nil {
			return err
		}
		select {
		case f.free <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		now := time.Now()
		k := min(int64(now.Sub(f.due(n))/f.gap)+1, most)
		if _, err := conn.Write(frames[k]); err != nil {
			return err
		}
		n += k
		f.sent.Store(n)
		if f.window.over(now) {
			f.ended.Store(true)
			return pause(ctx, time.Second) // the last answers come
		}
	}
}

// acknowledge reads answers until the connection ends; the fetch shows what was refused.
func (f *flow) acknowledge(conn net.Conn) {
	answer := make([]byte, produceError(f.load.Topic)+2+8+8+8+4)
	for {
		if _, err := io.ReadFull(conn, answer); err != nil {
			return
		}
		<-f.free
	}
}

func (f *flow) receive(ctx context.Context, latency *Histogram) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", f.load.Addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
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
		f.arrived(buf, &part[0], latency)
	}
	return nil
}

// arrived counts the records of whole batches.
func (f *flow) arrived(batches []byte, part *fetchPart, latency *Histogram) {
	now := time.Now()
	for len(batches) >= batchHeader {
		size := 12 + int(binary.BigEndian.Uint32(batches[8:]))
		if size > len(batches) {
			return
		}
		for range binary.BigEndian.Uint32(batches[57:]) {
			if due := f.due(part.offset); f.window.counts(due) {
				latency.Add(now.Sub(due))
			}
			part.offset++
		}
		batches = batches[size:]
	}
}
