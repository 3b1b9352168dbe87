package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// footprint is what a broker costs before it does anything, and what it takes to come back.
type footprint struct {
	start      time.Duration // from exec to the answer of an acks=all produce
	restart    time.Duration // the same after kill -9 with many written partitions
	idle       int64         // resident bytes
	connection int64         // bytes of an idle one
	partition  int64         // bytes of an empty one
}

const (
	idleConnections = 10_000
	manyPartitions  = 10_000
	restartBytes    = 10_000_000 // in each of restartParts partitions
	restartParts    = 1000
	// kafkaPartitions is as many as a process of 20,000 files can hold, three each.
	kafkaPartitions = 5000
)

func footprintRows() []*Row {
	megabytes := func(f float64) string { return fmt.Sprintf("%.1f MB", f/(1<<20)) }
	kilobytes := func(f float64) string { return fmt.Sprintf("%.2f KB", f/(1<<10)) }
	duration := func(f float64) string { return time.Duration(f).Round(time.Millisecond).String() }
	row := func(name string, figure func(*footprint) float64, measured check) *Row {
		of := func(broker string) side {
			return func(ctx context.Context, s *stage) (*Result, error) {
				f, err := s.footprint(ctx, broker)
				if err != nil {
					return nil, err
				}
				return &Result{Value: figure(f)}, nil
			}
		}
		return &Row{Section: small, Name: name, Mode: pagecache, once: true, ours: of(pagecache), kafka: of(kafka), checks: []check{measured}}
	}
	return []*Row{
		row("footprint: idle connection of 10,000", func(f *footprint) float64 { return float64(f.connection) }, value("memory", kilobytes, 6<<10, .6)),
		row("footprint: empty partition of 10,000", func(f *footprint) float64 { return float64(f.partition) }, value("memory", kilobytes, 12<<10, .6)),
		row("footprint: idle broker", func(f *footprint) float64 { return float64(f.idle) }, value("resident", megabytes, 40<<20, .1)),
		row("footprint: start to the first answer", func(f *footprint) float64 { return float64(f.start) }, value("time", duration, float64(100*time.Millisecond), .05)),
		row("footprint: kill -9 with 10 GB in 1,000 partitions to the first answer", func(f *footprint) float64 { return float64(f.restart) },
			value("time", duration, float64(3*time.Second), .25)),
	}
}

// footprint measures a broker that is started for it alone, once for all rows.
func (s *stage) footprint(ctx context.Context, name string) (*footprint, error) {
	if f := s.footprints[name]; f != nil {
		return f, nil
	}
	f := new(footprint)
	for _, measure := range []func(context.Context, func() (*Broker, error), bool) error{f.measureIdle, f.measurePartitions, f.measureRestart} {
		dir, err := os.MkdirTemp(s.dir, "footprint-")
		if err != nil {
			return nil, err
		}
		err = measure(ctx, func() (*Broker, error) { return s.start(ctx, name, dir) }, name == kafka)
		if removed := os.RemoveAll(dir); err == nil {
			err = removed
		}
		if err != nil {
			return nil, err
		}
	}
	s.footprints[name] = f
	return f, nil
}

const footprintTopic = "footprint"

// measureIdle starts a broker twice, the second time with an empty topic, and looks at its memory.
func (f *footprint) measureIdle(ctx context.Context, start func() (*Broker, error), _ bool) error {
	b, err := start()
	if err != nil {
		return err
	}
	err = createTopic(ctx, b.Addr, footprintTopic, 1, nil)
	b.Stop()
	if err != nil {
		return err
	}
	if b, f.start, err = timedStart(ctx, start); err != nil {
		return err
	}
	defer b.Kill()
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	if f.idle, err = residentBytes(b.PID()); err != nil {
		return err
	}
	f.connection, err = perConnection(ctx, b.Addr, b.memory(ctx), idleConnections)
	return err
}

// measurePartitions looks at the memory of a broker that nobody has connected to in numbers.
func (f *footprint) measurePartitions(ctx context.Context, start func() (*Broker, error), isKafka bool) error {
	b, err := start()
	if err != nil {
		return err
	}
	defer b.Kill()
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	partitions := manyPartitions
	if isKafka {
		partitions = kafkaPartitions
	}
	f.partition, err = perPartition(ctx, b.Addr, b.memory(ctx), partitions)
	return err
}

// measureRestart fills a broker, kills it and starts it again.
func (f *footprint) measureRestart(ctx context.Context, start func() (*Broker, error), _ bool) error {
	b, err := start()
	if err != nil {
		return err
	}
	l := Load{Addr: b.Addr, Topic: footprintTopic, Partitions: restartParts, Value: 1000, BatchBytes: mb}
	_, err = Fill(ctx, l, restartBytes)
	b.Kill()
	if err != nil {
		return err
	}
	if b, f.restart, err = timedStart(ctx, start); err != nil {
		return err
	}
	b.Kill()
	return nil
}

// timedStart starts a broker and tells how long it took to the answer of an acks=all produce.
func timedStart(ctx context.Context, start func() (*Broker, error)) (*Broker, time.Duration, error) {
	began := time.Now()
	b, err := start()
	if err != nil {
		return nil, 0, err
	}
	took, err := firstProduce(ctx, b.Addr, footprintTopic, began)
	if err != nil {
		b.Kill()
		return nil, 0, err
	}
	return b, took, nil
}

// firstProduce returns how long after a start the answer of an acks=all produce
// came to a topic that exists, trying again until it does.
func firstProduce(ctx context.Context, addr, topic string, started time.Time) (time.Duration, error) {
	batch := NewBatch(100, 0, 0)
	frame := appendProduce(nil, topic, 0, -1, batch.Bytes)
	code := produceError(topic)
	for {
		err := func() error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			if _, err := conn.Write(frame); err != nil {
				return err
			}
			answer := make([]byte, code+2+8+8+8+4)
			if _, err := io.ReadFull(conn, answer); err != nil {
				return err
			}
			if answer[code] != 0 || answer[code+1] != 0 {
				return errRefused
			}
			return nil
		}()
		if err == nil {
			return time.Since(started), nil
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// perConnection opens n connections, lets each make one request and rest for a
// while, and returns the memory that one of them costs the broker.
func perConnection(ctx context.Context, addr string, memory func() (int64, error), n int) (int64, error) {
	before, err := memory()
	if err != nil {
		return 0, err
	}
	frame := appendFrame(nil, 18, 0, func(b []byte) []byte { return b }) // ApiVersions
	for range n {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return 0, err
		}
		defer func() { _ = conn.Close() }()
		if _, err := conn.Write(frame); err != nil {
			return 0, err
		}
		if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
			return 0, noEOF(err)
		}
	}
	if err := pause(ctx, 3*time.Second); err != nil { // read buffers go back after a second
		return 0, err
	}
	after, err := memory()
	return (after - before) / int64(n), err
}

// perPartition creates topics with n partitions together and returns the memory
// that one of them costs the broker.
func perPartition(ctx context.Context, addr string, memory func() (int64, error), n int) (int64, error) {
	before, err := memory()
	if err != nil {
		return 0, err
	}
	for made := 0; made < n; made += 1000 {
		topic := fmt.Sprintf("many-%d", made)
		if err := createTopic(ctx, addr, topic, min(n-made, 1000), nil); err != nil {
			return 0, fmt.Errorf("%d partitions: %w", made, err)
		}
	}
	if err := pause(ctx, time.Second); err != nil {
		return 0, err
	}
	after, err := memory()
	return (after - before) / int64(n), err
}
