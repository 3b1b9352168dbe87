package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
)

// Produce sends batches over Conns connections, round robin over the partitions,
// each with Depth requests in flight, and reports what was answered in the
// counted time. Latency is from before a request's write to its answer.
func Produce(ctx context.Context, l Load) (*Result, error) {
	l = l.withDefaults()
	if err := prepare(ctx, &l); err != nil {
		return nil, err
	}
	senders := make([]*sender, l.Conns)
	for i := range senders {
		senders[i] = newSender(&l, i)
	}
	w := newWindow(&l) // not before what they send is made
	g, ctx := errgroup.WithContext(ctx)
	for i := range senders {
		senders[i].window = w
		g.Go(func() error { return senders[i].run(ctx, l.Addr) })
	}
	r := new(Result)
	g.Go(func() error { return w.watch(ctx, l.PID, r) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, s := range senders {
		r.Requests += s.requests
		r.Latency.Merge(&s.latency)
	}
	batch := NewBatch(l.Value, l.BatchBytes, 0)
	r.Records = r.Requests * int64(batch.Records)
	r.Bytes = r.Requests * int64(len(batch.Bytes))
	return r, nil
}

// sender is one connection that produces. It does not write and read at once:
// with a window of small answers neither side waits for long.
type sender struct {
	window *window
	ring   []byte // frames, twice, so that any run of them is one slice
	starts []int  // of the frames in ring
	frames int    // in the ring once
	depth  int
	burst  int
	code   int // where an answer has its error code
	acked  int // the length of an answer
	batch  int // bytes of a batch

	requests int64
	latency  Histogram
}

// ringBytes is how much different data a connection sends before it repeats itself.
const ringBytes = 2 << 20

func newSender(l *Load, i int) *sender {
	s := &sender{depth: l.Depth, burst: l.Burst, code: produceError(l.Topic), acked: produceError(l.Topic) + 2 + 8 + 8 + 8 + 4}
	batch := NewBatch(l.Value, l.BatchBytes, uint64(i))
	s.batch = len(batch.Bytes)
	s.frames = l.Partitions
	for s.frames < l.Depth || s.frames*len(batch.Bytes) < ringBytes/l.Conns && s.frames < 4*l.Depth {
		s.frames += l.Partitions
	}
	for range 2 {
		for j := range s.frames {
			s.starts = append(s.starts, len(s.ring))
			s.ring = appendProduce(s.ring, l.Topic, int32((i+j)%l.Partitions), l.Acks, batch.Bytes)
		}
	}
	s.starts = append(s.starts, len(s.ring))
	return s
}

func (s *sender) run(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	in := bufio.NewReaderSize(conn, 64<<10)
	sent := make([]time.Time, s.depth) // by request, modulo depth
	next, flying, oldest := 0, 0, 0
	for {
		now := time.Now()
		if s.window.over(now) {
			return nil
		}
		for flying+s.burst <= s.depth {
			n := (s.depth - flying) / s.burst * s.burst
			if _, err := conn.Write(s.ring[s.starts[next]:s.starts[next+n]]); err != nil {
				return err
			}
			for range n {
				sent[(oldest+flying)%s.depth] = now
				flying++
			}
			next = (next + n) % s.frames
		}
		for {
			answer, err := in.Peek(s.acked)
			if err != nil {
				return noEOF(err)
			}
			if err := s.check(answer); err != nil {
				return err
			}
			_, _ = in.Discard(s.acked)
			now := time.Now()
			if s.window.counts(now) {
				s.requests++
				s.latency.Add(now.Sub(sent[oldest]))
				s.window.take(s.batch, now)
			}
			oldest = (oldest + 1) % s.depth
			flying--
			if in.Buffered() < s.acked {
				break
			}
		}
	}
}

// check looks at the length and the error code of an answer.
func (s *sender) check(answer []byte) error {
	if n := int(binary.BigEndian.Uint32(answer)) + 4; n != s.acked {
		return fmt.Errorf("an answer of %d bytes where %d were expected", n, s.acked)
	}
	if code := int16(binary.BigEndian.Uint16(answer[s.code:])); code != 0 {
		return fmt.Errorf("%w: produce: error code %d", errRefused, code)
	}
	return nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
