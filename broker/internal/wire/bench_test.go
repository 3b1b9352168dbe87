package wire

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/env"
)

// BenchmarkWrite writes answers with file ranges to a loopback connection.
func BenchmarkWrite(b *testing.B) {
	name := filepath.Join(b.TempDir(), "segment")
	if err := os.WriteFile(name, make([]byte, 4<<20), 0o600); err != nil {
		b.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for _, c := range []struct{ ranges, size int }{{0, 100}, {1, 4 << 10}, {100, 4 << 10}, {1, 1 << 20}} {
		b.Run(fmt.Sprintf("%d ranges of %d", c.ranges, c.size), func(b *testing.B) {
			ln, err := env.RealNetwork().Listen(b.Context(), "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = ln.Close() }()
			go func() {
				if conn, err := ln.Accept(); err == nil {
					_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{conn}, make([]byte, 1<<20))
					_ = conn.Close()
				}
			}()
			conn, err := new(net.Dialer).DialContext(b.Context(), "tcp", ln.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			w := NewWriter(conn, env.RealClock(), new(Buffers), time.Minute)
			released := 0
			bodies := make([]fileBody, c.ranges)
			for i := range bodies {
				bodies[i] = fileBody{file, int64(i * c.size % (2 << 20)), c.size, false, &released}
			}
			var out Out
			b.SetBytes(int64(c.ranges * c.size))
			b.ReportAllocs()
			for b.Loop() {
				m := out.Begin(1, false)
				out.Buf = append(out.Buf, "an answer's head"...)
				for i := range bodies {
					out.Buf = append(out.Buf, "a partition's head"...)
					out.Splice(&bodies[i])
				}
				out.End(m)
				if err := w.Write(&out); err != nil {
					b.Fatal(err)
				}
				out.Reset()
			}
		})
	}
}
