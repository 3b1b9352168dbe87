package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirstream/weir/internal/env"
)

// fileBody is a range of a file; counting says how often it was released.
type fileBody struct {
	file     *os.File
	pos      int64
	n        int
	noFile   bool
	released *int
}

func (b fileBody) Len() int { return b.n }
func (b fileBody) ReadAt(p []byte, off int64) (int, error) {
	return b.file.ReadAt(p, b.pos+off)
}
func (b fileBody) File() (*os.File, int64, bool) { return b.file, b.pos, !b.noFile }
func (b fileBody) Release()                      { *b.released++ }

// testFile holds size bytes that differ from place to place.
func testFile(t *testing.T, size int) (*os.File, []byte) {
	t.Helper()
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(i>>8 ^ i*7)
	}
	name := filepath.Join(t.TempDir(), "segment")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f, content
}

// tcp returns two ends of a loopback connection.
func tcp(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := env.RealNetwork().Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if client, err = env.RealNetwork().Dial(context.Background(), l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return client, server
}

func TestAnswersWithFileRangesArriveWhole(t *testing.T) {
	file, content := testFile(t, 6<<20)
	for name, conns := range map[string]func(t *testing.T) (net.Conn, net.Conn){"sendfile": tcp, "copied": pipe} {
		for _, noFile := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				client, server := conns(t)
				released := 0
				body := func(pos int64, n int) Body { return fileBody{file, pos, n, noFile, &released} }
				var out Out
				var want []byte
				m := out.Begin(7, true)
				out.Buf = append(out.Buf, "head"...)
				for _, r := range []struct {
					pos int64
					n   int
				}{
					{0, 100},
					{5, gather},
					{9, 3 << 20},
					{1 << 20, 5 << 20},
					{3, 10},
					{7, gather - 1},
					{2, gather - 1},
					{5, gather - 1},
					{1, gather - 1},
					{6, gather - 1},
					{4, gather},
				} {
					out.Buf = append(out.Buf, '|')
					out.Splice(body(r.pos, r.n))
					want = append(append(want, '|'), content[r.pos:r.pos+int64(r.n)]...)
				}
				want = append([]byte("\x00\x00\x00\x07\x00head"), want...)
				want = append(binary.BigEndian.AppendUint32(nil, uint32(len(want))), want...)
				if n := out.End(m); n != len(want) || out.Len() != n {
					t.Errorf("End returned %d, Len %d, want %d", n, out.Len(), len(want))
				}
				got := make(chan []byte, 1)
				go func() { b, _ := io.ReadAll(client); got <- b }()
				w := NewWriter(server, env.RealClock(), new(Buffers), time.Minute)
				if err := w.Write(&out); err != nil {
					t.Fatal(err)
				}
				_ = server.Close()
				if !bytes.Equal(<-got, want) {
					t.Error("what arrived differs from what was written")
				}
				if out.Reset(); released != 11 || out.Len() != 0 {
					t.Errorf("%d of 11 ranges were released, %d bytes left", released, out.Len())
				}
			})
		}
	}
}

func TestASkippedAnswerLeavesNothing(t *testing.T) {
	file, _ := testFile(t, 1<<20)
	released := 0
	var out Out
	out.Buf = append(out.Buf, "before"...)
	m := out.Begin(1, false)
	out.Splice(fileBody{file, 0, 1 << 20, false, &released})
	out.Skip()
	if n := out.End(m); n != 0 || string(out.Buf) != "before" || out.Bodies() != 0 || released != 1 {
		t.Errorf("End returned %d, left %q, %d bodies, released %d", n, out.Buf, out.Bodies(), released)
	}
}

func TestARangeThatCannotBeReadIsAnError(t *testing.T) {
	file, _ := testFile(t, gather+10)
	for name, conns := range map[string]func(t *testing.T) (net.Conn, net.Conn){"sendfile": tcp, "copied": pipe} {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{20, gather + 20} {
				released := 0
				var out Out
				out.Splice(fileBody{file, gather, n, false, &released})
				client, server := conns(t)
				go func() { _, _ = io.Copy(io.Discard, client) }()
				if err := NewWriter(server, env.RealClock(), new(Buffers), time.Minute).Write(&out); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
					t.Errorf("%d bytes: %v", n, err)
				}
				if out.Reset(); released != 1 {
					t.Errorf("%d bytes: released %d times", n, released)
				}
				_, _ = client.Close(), server.Close()
			}
		})
	}
}

func TestWritingToAPeerThatNeverReadsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, server := pipe(t)
		w := NewWriter(server, env.RealClock(), new(Buffers), time.Minute)
		out := Out{Buf: make([]byte, 64<<20)}
		began := time.Now()
		if err := w.Write(&out); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("took %v", took)
		}
	})
}
