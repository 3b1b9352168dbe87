package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirstream/weir/internal/env"
)

// pipe returns two ends of a connection in memory.
func pipe(t *testing.T) (client, server net.Conn) {
	t.Helper()
	network := env.NewMemNetwork()
	l, err := network.Listen(t.Context(), "a:1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if client, err = network.Dial(context.Background(), "a:1"); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func framed(sizes ...int) []byte {
	var b []byte
	for i, n := range sizes {
		b = binary.BigEndian.AppendUint32(b, uint32(n))
		b = append(b, bytes.Repeat([]byte{byte(i + 1)}, n)...)
	}
	return b
}

func TestFramesAreCutWhateverTheirSizesAndPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pipe(t)
		sizes := []int{1, 100, window - prefix, window, window + 1, 5, growth, 3*growth + 7, 1, 2}
		stream := framed(sizes...)
		go func() {
			rng := rand.New(rand.NewPCG(1, 2))
			for len(stream) > 0 {
				n := min(len(stream), 1+rng.IntN(100_000))
				if _, err := client.Write(stream[:n]); err != nil {
					return
				}
				stream = stream[n:]
			}
			_ = client.Close()
		}()
		f := NewFrames(server, env.RealClock(), new(Buffers), time.Minute)
		defer f.Close()
		for i, n := range sizes {
			frame, err := f.Next(100 << 20)
			if err != nil || len(frame) != n || frame[0] != byte(i+1) || frame[n-1] != byte(i+1) {
				t.Fatalf("frame %d: %d bytes, %v; want %d", i, len(frame), err, n)
			}
		}
		if _, err := f.Next(100); !errors.Is(err, io.EOF) {
			t.Fatalf("after the last frame: %v", err)
		}
	})
}

func TestReadyTellsOfWholeFramesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pipe(t)
		f := NewFrames(server, env.RealClock(), new(Buffers), time.Minute)
		defer f.Close()
		stream := framed(10, 20, 30)
		if _, err := client.Write(stream[:len(stream)-1]); err != nil {
			t.Fatal(err)
		}
		want := []bool{false, false, false}
		if _, err := f.Next(100); err != nil { // through the four bytes of a silent connection
			t.Fatal(err)
		}
		want[0] = f.Ready()
		if _, err := f.Next(100); err != nil {
			t.Fatal(err)
		}
		if !want[0] || f.Ready() {
			t.Fatalf("Ready after one frame: %v, want true; after two: %v, want false", want[0], f.Ready())
		}
	})
}

func TestReadingEndsWithTheReason(t *testing.T) {
	oversized := binary.BigEndian.AppendUint32(nil, 101)
	for name, c := range map[string]struct {
		send   []byte
		close  bool
		want   error
		within time.Duration
	}{
		"negative size":    {send: []byte{0xff, 0, 0, 0}, want: ErrFrameSize},
		"empty frame":      {send: []byte{0, 0, 0, 0}, want: ErrFrameSize},
		"oversized":        {send: oversized, want: ErrFrameSize},
		"an HTTP request":  {send: []byte("GET / HTTP/1.1\r\n\r\n"), want: ErrFrameSize},
		"cut in length":    {send: []byte{0, 0}, close: true, want: io.ErrUnexpectedEOF},
		"cut in frame":     {send: []byte{0, 0, 0, 5, 1}, close: true, want: io.ErrUnexpectedEOF},
		"silent in length": {send: []byte{0}, want: ErrStalled, within: frameGrace + time.Second},
		"silent in frame":  {send: []byte{0, 0, 0, 5, 1}, want: ErrStalled, within: frameGrace + time.Second},
		"silence":          {want: ErrIdle, within: time.Minute + time.Second},
		"nothing":          {close: true, want: io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := pipe(t)
				if _, err := client.Write(c.send); err != nil {
					t.Fatal(err)
				}
				if c.close {
					_ = client.Close()
				}
				began := time.Now()
				f := NewFrames(server, env.RealClock(), new(Buffers), time.Minute)
				defer f.Close()
				_, err := f.Next(100)
				for errors.Is(err, ErrQuiet) {
					_, err = f.Next(100)
				}
				if !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
				if took := time.Since(began); took > c.within {
					t.Errorf("took %v, want at most %v", took, c.within)
				}
			})
		})
	}
}

func TestASlowTrickleDoesNotHoldAFrameOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pipe(t)
		began := time.Now()
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			for i := range 100 {
				if i == 0 {
					_, _ = client.Write([]byte{0, 0, 0, 99})
				}
				if _, err := client.Write([]byte{1}); err != nil {
					return
				}
				time.Sleep(time.Second) // in the bubble
			}
		}()
		f := NewFrames(server, env.RealClock(), new(Buffers), time.Minute)
		defer f.Close()
		_, err := f.Next(100)
		if took := time.Since(began); !errors.Is(err, ErrStalled) || took > 3*frameGrace {
			t.Errorf("got %v after %v", err, took)
		}
		_ = server.Close()
		<-stop
	})
}

func TestASilentConnectionHoldsNoBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pipe(t)
		f := NewFrames(server, env.RealClock(), new(Buffers), time.Minute)
		got := make(chan error, 1)
		next := func() { _, err := f.Next(100); got <- err }
		go next()
		_, _ = client.Write(framed(3))
		if err := <-got; err != nil || f.buf == nil {
			t.Fatalf("busy: %v, buffer %v", err, f.buf)
		}
		go next()
		time.Sleep(2 * linger) // in the bubble
		synctest.Wait()
		if f.buf != nil {
			t.Error("a silent connection holds a read buffer")
		}
		if err := <-got; !errors.Is(err, ErrQuiet) {
			t.Errorf("a silent connection: %v", err)
		}
		go next()
		_, _ = client.Write(framed(3))
		if err := <-got; err != nil {
			t.Error(err)
		}
		f.Close()
	})
}

func TestAFrameNowAndThenLeavesNoBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pipe(t)
		f := NewFrames(server, env.RealClock(), new(Buffers), time.Minute)
		defer f.Close()
		next := func(after time.Duration, frame []byte) {
			t.Helper()
			go func() {
				time.Sleep(after) // in the bubble
				_, _ = client.Write(frame)
			}()
			got, err := f.Next(1 << 20)
			for errors.Is(err, ErrQuiet) {
				got, err = f.Next(1 << 20)
			}
			if err != nil || len(got) != len(frame)-prefix {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
		}
		for _, size := range []int{3, 2 * small} {
			next(2*linger, framed(size))
			if !f.Rest() || f.buf != nil || f.large != nil {
				t.Errorf("the first frame in a while, of %d bytes, left a buffer", size)
			}
		}
		next(0, framed(3))
		if f.Rest() || len(f.buf.Bytes) < window {
			t.Error("a second frame at once does not make the connection busy")
		}
	})
}

func TestSilenceIsToldEachTimeItDoubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pipe(t)
		f := NewFrames(server, env.RealClock(), new(Buffers), 10*time.Second)
		defer f.Close()
		told := func(want error, after time.Duration) {
			t.Helper()
			began := time.Now()
			if _, err := f.Next(100); !errors.Is(err, want) || time.Since(began) != after {
				t.Errorf("%v after %v, want %v after %v", err, time.Since(began), want, after)
			}
		}
		for range 2 {
			for _, after := range []time.Duration{time.Second, time.Second, 2 * time.Second, 4 * time.Second} {
				told(ErrQuiet, after)
			}
			told(ErrIdle, 2*time.Second)
		}
		told(ErrQuiet, time.Second)
		_, _ = client.Write(framed(3))
		told(nil, 0)
		if !f.Rest() {
			t.Error("a frame alone leaves a buffer")
		}
		told(ErrQuiet, time.Second)
	})
}

func TestALargeFrameTakesMemoryOnlyAsItArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pipe(t)
		f := NewFrames(server, env.RealClock(), new(Buffers), time.Minute)
		_, _ = client.Write(binary.BigEndian.AppendUint32(nil, 90<<20))
		_, _ = client.Write(make([]byte, 1000))
		done := make(chan error, 1)
		go func() { _, err := f.Next(100 << 20); done <- err }()
		synctest.Wait()
		if n := len(f.large.Bytes); n > growth {
			t.Errorf("%d bytes are held for 1000 that arrived", n)
		}
		_ = client.Close()
		if err := <-done; !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
		f.Close()
	})
}

func TestBufferClasses(t *testing.T) {
	var pool Buffers
	for _, n := range []int{0, 1, 4096, 4097, 16 << 10, 64 << 10, 1 << 20, 4 << 20, 4<<20 + 1} {
		b := pool.Get(n)
		if len(b.Bytes) < n || n > 4096 && n <= 4<<20 && len(b.Bytes) > 4*n {
			t.Errorf("Get(%d) has %d bytes", n, len(b.Bytes))
		}
		pool.Put(b)
	}
	pool.Put(nil)
}

// stream is a connection that only reads, in pieces of at most step bytes.
type stream struct {
	net.Conn
	bytes []byte
	step  int
}

func (s *stream) SetReadDeadline(time.Time) error { return nil }

func (s *stream) Read(p []byte) (int, error) {
	if len(s.bytes) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.step)], s.bytes)
	s.bytes = s.bytes[n:]
	return n, nil
}

func FuzzFrames(f *testing.F) {
	f.Add(framed(1, 5, 70), 3)
	f.Add([]byte{0, 0, 0}, 1)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1}, 5)
	f.Fuzz(func(t *testing.T, bytes []byte, step int) {
		frames := NewFrames(&stream{bytes: bytes, step: max(step, 1)}, env.RealClock(), new(Buffers), time.Minute)
		defer frames.Close()
		at := 0
		for {
			frame, err := frames.Next(1 << 20)
			if err != nil {
				return
			}
			if at += prefix + len(frame); at > len(bytes) || string(frame) != string(bytes[at-len(frame):at]) {
				t.Fatalf("a frame of %d bytes that ends at %d of %d", len(frame), at, len(bytes))
			}
		}
	})
}
