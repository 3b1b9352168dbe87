package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// FirstProduce returns how long after a start the answer of an acks=all produce
// came to a topic that exists, trying again until it does.
func FirstProduce(ctx context.Context, addr, topic string, started time.Time) (time.Duration, error) {
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

// IdleConnections opens n connections, lets each make one request and rest for a
// while, and returns the memory that one of them costs the broker.
func IdleConnections(ctx context.Context, addr string, pid, n int) (int64, error) {
	before, err := residentBytes(pid)
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
	after, err := residentBytes(pid)
	return (after - before) / int64(n), err
}

// ManyPartitions creates a topic with n partitions and returns the memory that one
// of them costs the broker, and how long it took until they could be read.
func ManyPartitions(ctx context.Context, addr string, pid, n int) (each int64, took time.Duration, err error) {
	before, err := residentBytes(pid)
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	for made := 0; made < n; {
		some := min(n-made, 1000)
		if err := createTopic(ctx, addr, fmt.Sprintf("many-%d", made), some); err != nil {
			return 0, 0, err
		}
		made += some
	}
	took = time.Since(began)
	if err := pause(ctx, time.Second); err != nil {
		return 0, 0, err
	}
	after, err := residentBytes(pid)
	return (after - before) / int64(n), took, err
}

// makeTopic creates a topic where it is missing.
func makeTopic(ctx context.Context, addr, topic string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = kadm.NewClient(client).CreateTopic(ctx, 1, 1, nil, topic)
	return err
}

// Footprint is what a broker costs before it does anything.
type Footprint struct {
	Start      time.Duration // from exec to the answer of an acks=all produce, the topic being made beforehand
	Restart    time.Duration // the same after kill -9 with Partitions that were written to
	IdleBytes  int64
	Connection int64 // bytes of an idle one
	Partition  int64 // bytes of an empty one
	Creating   time.Duration
}

// MeasureFootprint starts a broker with start, twice, and ends it.
func MeasureFootprint(ctx context.Context, start func() (*Broker, error), connections, partitions int) (f Footprint, err error) {
	const topic = "footprint"
	began := time.Now()
	b, err := start()
	if err != nil {
		return f, err
	}
	defer func() { b.Kill() }()
	if err := makeTopic(ctx, b.Addr, topic); err != nil {
		return f, err
	}
	if f.Start, err = FirstProduce(ctx, b.Addr, topic, began); err != nil {
		return f, err
	}
	if err := pause(ctx, time.Second); err != nil {
		return f, err
	}
	if f.IdleBytes, err = residentBytes(b.PID()); err != nil {
		return f, err
	}
	if f.Connection, err = IdleConnections(ctx, b.Addr, b.PID(), connections); err != nil {
		return f, err
	}
	if f.Partition, f.Creating, err = ManyPartitions(ctx, b.Addr, b.PID(), partitions); err != nil {
		return f, err
	}
	b.Kill()
	began = time.Now()
	if b, err = start(); err != nil {
		return f, err
	}
	f.Restart, err = FirstProduce(ctx, b.Addr, topic, began)
	return f, err
}
