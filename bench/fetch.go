package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
)

// Fetch reads a topic that Fill has filled, over and over, on Conns connections
// that each have one request in flight. Of a single partition the records are
// dropped in the kernel where it can; nothing is decoded.
func Fetch(ctx context.Context, l Load, filled Filled) (*Result, error) {
	l = l.withDefaults()
	w := newWindow(&l)
	readers := make([]*reader, l.Conns)
	g, ctx := errgroup.WithContext(ctx)
	for i := range readers {
		readers[i] = newReader(&l, w, filled, i)
		g.Go(func() error { return readers[i].run(ctx, l.Addr) })
	}
	r := new(Result)
	g.Go(func() error { return w.watch(ctx, l.PID, r) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, f := range readers {
		r.Requests += f.requests
		r.Bytes += f.bytes
		r.Latency.Merge(&f.latency)
	}
	r.Records = r.Bytes / int64(len(filled.Batch.Bytes)) * int64(filled.Batch.Records)
	return r, nil
}

// Filled is what Fill has put into every partition of a topic.
type Filled struct {
	Batch   Batch
	Batches int
}

// Fill creates the topic and writes about that many bytes into each partition.
func Fill(ctx context.Context, l Load, perPartition int) (Filled, error) {
	l = l.withDefaults()
	if err := prepare(ctx, &l); err != nil {
		return Filled{}, err
	}
	batch := NewBatch(l.Value, l.BatchBytes, 0)
	f := Filled{Batch: batch, Batches: max(perPartition/len(batch.Bytes), 1)}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", l.Addr)
	if err != nil {
		return f, err
	}
	defer func() { _ = conn.Close() }()
	s := newSender(&l, 0)
	answer := make([]byte, s.acked)
	for range f.Batches {
		for p := range l.Partitions {
			if _, err := conn.Write(appendProduce(nil, l.Topic, int32(p), -1, batch.Bytes)); err != nil {
				return f, err
			}
			if _, err := io.ReadFull(conn, answer); err != nil {
				return f, noEOF(err)
			}
			if err := s.check(answer); err != nil {
				return f, err
			}
		}
	}
	return f, nil
}

// reader is one connection that fetches.
type reader struct {
	load   *Load
	window *window
	filled Filled
	parts  []fetchPart
	buf    []byte

	requests, bytes int64
	latency         Histogram
}

func newReader(l *Load, w *window, filled Filled, i int) *reader {
	r := &reader{load: l, window: w, filled: filled}
	for j := range l.Together {
		r.parts = append(r.parts, fetchPart{index: int32((i*l.Together + j) % l.Partitions)})
	}
	return r
}

func (r *reader) run(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	drop, err := newDropper(conn)
	if err != nil {
		return err
	}
	var frame []byte
	for {
		now := time.Now()
		if r.window.over(now) {
			return nil
		}
		frame = appendFetch(frame[:0], r.load.Topic, r.parts, 500, 1, r.load.FetchBytes)
		if _, err := conn.Write(frame); err != nil {
			return err
		}
		var n int64
		if len(r.parts) == 1 {
			n, err = r.single(conn, drop)
		} else {
			n, err = r.several(conn)
		}
		if err != nil {
			return err
		}
		if done := time.Now(); r.window.counts(done) {
			r.requests++
			r.bytes += n
			r.window.take(int(n), done)
			r.latency.Add(done.Sub(now))
		}
	}
}

// single reads an answer with one partition and drops its records unseen.
func (r *reader) single(conn net.Conn, drop *dropper) (int64, error) {
	head := fetchHead(r.load.Topic)
	r.buf = grown(r.buf, head+fetchPartHead)
	if _, err := io.ReadFull(conn, r.buf); err != nil {
		return 0, noEOF(err)
	}
	n, err := r.took(&r.parts[0], r.buf[head:])
	if err != nil {
		return 0, err
	}
	return int64(n), drop.bytes(n)
}

// several reads a whole answer and walks its partitions.
func (r *reader) several(conn net.Conn) (int64, error) {
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return 0, noEOF(err)
	}
	r.buf = grown(r.buf, int(binary.BigEndian.Uint32(size[:])))
	if _, err := io.ReadFull(conn, r.buf); err != nil {
		return 0, noEOF(err)
	}
	rest, total := r.buf[fetchHead(r.load.Topic)-4:], int64(0)
	for i := range r.parts {
		n, err := r.took(&r.parts[i], rest)
		if err != nil {
			return 0, err
		}
		total += int64(n)
		rest = rest[fetchPartHead+n:]
	}
	if total == 0 {
		return 0, errNothing
	}
	return total, nil
}

var errNothing = errors.New("an answer without records")

// took moves a partition on by what the answer holds for it, and from its end back to its start.
func (r *reader) took(p *fetchPart, part []byte) (int, error) {
	if code := int16(binary.BigEndian.Uint16(part[4:])); code != 0 {
		return 0, fmt.Errorf("%w: fetch: error code %d", errRefused, code)
	}
	n := int(int32(binary.BigEndian.Uint32(part[fetchPartHead-4:])))
	batch := len(r.filled.Batch.Bytes)
	if r.load.Raw { // offsets are positions, and any bytes will do
		if p.offset += int64(n); p.offset+int64(r.load.FetchBytes) > int64(r.filled.Batches*batch) {
			p.offset = 0
		}
		return n, nil
	}
	if n == 0 && len(r.parts) > 1 { // a broker may bound what one answer brings
		return 0, nil
	}
	if n < min(batch, r.load.FetchBytes) {
		return 0, fmt.Errorf("an answer of %d bytes where batches have %d", n, batch)
	}
	p.offset += int64(max(n/batch, 1) * r.filled.Batch.Records) // Kafka cuts the last batch
	if p.offset >= int64(r.filled.Batches*r.filled.Batch.Records) {
		p.offset = 0
	}
	return n, nil
}

func grown(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
