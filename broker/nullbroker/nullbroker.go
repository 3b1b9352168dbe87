// Package nullbroker is the ceiling that a broker is measured against: it checks
// the CRC of each batch, appends it to a fresh file and answers, and it answers a
// fetch of one partition by sending a range of that file. A fetch of several it
// answers the plain way, a read and a write for each. It knows one topic, the last
// that was named, keeps no offsets and looks at nothing else.
package nullbroker

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/broker/internal/wire"
	"github.com/weirstream/weir/internal/env"
)

// Serve answers Produce version 7, of one partition, and Fetch version 11 on ln
// until ctx ends, and closes it. The files lie in dir and are emptied when another
// topic is named. Whoever asks for anything else is disconnected.
func Serve(ctx context.Context, e env.Env, ln net.Listener, dir string) error {
	b := &null{env: e, dir: dir, files: map[int32]*file{}}
	defer b.close()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	var g errgroup.Group
	defer func() { _ = g.Wait() }()
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		g.Go(func() error {
			defer func() { _ = conn.Close() }()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			_ = b.serve(conn) // the client sees it
			return nil
		})
	}
}

var errUnknown = errors.New("unknown request")

type null struct {
	env   env.Env
	dir   string
	mu    sync.Mutex
	topic string
	files map[int32]*file
}

// file is a partition: bytes, one after the other.
type file struct {
	mu   sync.Mutex
	data env.File
	size atomic.Int64
}

func (f *file) empty() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.size.Store(0)
	return f.data.Truncate(0)
}

// span is a run of bytes of a file, as an answer carries it.
type span struct {
	data env.File
	pos  int64
	n    int
}

// Len is the number of bytes.
func (s span) Len() int { return s.n }

// ReadAt reads from the span.
func (s span) ReadAt(p []byte, off int64) (int, error) { return s.data.ReadAt(p, s.pos+off) }

// File is the file and the position in it.
func (s span) File() (*os.File, int64, bool) {
	f, ok := s.data.(env.OSFile)
	if !ok {
		return nil, 0, false
	}
	return f.OSFile(), s.pos, true
}

// Release does nothing: the file stays open.
func (s span) Release() {}

func (b *null) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.files {
		_ = f.data.Close()
	}
}

func (b *null) file(topic []byte, partition int32) (*file, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if string(topic) != b.topic {
		b.topic = string(topic)
		for _, f := range b.files {
			if err := f.empty(); err != nil {
				return nil, err
			}
		}
	}
	if f := b.files[partition]; f != nil {
		return f, nil
	}
	data, err := b.env.FS.OpenFile(filepath.Join(b.dir, fmt.Sprintf("null-%d.log", partition)), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	f := &file{data: data}
	b.files[partition] = f
	return f, nil
}

// serve answers one connection: as many requests as have arrived, then one write.
func (b *null) serve(conn net.Conn) error {
	in := bufio.NewReaderSize(conn, 256<<10)
	var buffers wire.Buffers
	writer := wire.NewWriter(conn, b.env.Clock, &buffers, time.Minute)
	var out wire.Out
	defer out.Reset()
	var large []byte
	for {
		prefix, err := in.Peek(4)
		if err != nil {
			return err
		}
		size := int(binary.BigEndian.Uint32(prefix)) + 4
		var frame []byte
		switch {
		case size > maxFrame:
			return wire.ErrFrameSize
		case size <= in.Size():
			frame, err = in.Peek(size)
		default:
			large = slices.Grow(large[:0], size)[:size]
			frame = large
			_, err = io.ReadFull(in, frame)
		}
		if err == nil {
			err = b.answer(frame[4:], &out)
		}
		if err != nil {
			return err
		}
		if size <= in.Size() {
			_, _ = in.Discard(size)
		}
		if whole(in) {
			continue
		}
		if out.Bodies() > 1 && out.Len() <= largest {
			large = slices.Grow(large[:0], largest)[:largest]
			err = writeEach(conn, &out, large)
		} else {
			err = writer.Write(&out)
		}
		if err != nil {
			return err
		}
		out.Reset()
	}
}

const (
	maxFrame = 100 << 20
	largest  = 16 << 20 // answer to a fetch of several partitions that is written piece by piece
)

// whole says that another request was read already.
func whole(in *bufio.Reader) bool {
	if in.Buffered() < 4 {
		return false
	}
	prefix, _ := in.Peek(4)
	return in.Buffered() >= 4+int(binary.BigEndian.Uint32(prefix))
}

// answer does what one request asks for.
func (b *null) answer(frame []byte, out *wire.Out) error {
	h, err := wire.PeekHeader(frame)
	if err != nil {
		return err
	}
	h, body, err := wire.ReadHeader(frame, false)
	if err != nil {
		return err
	}
	r := wire.NewReader(body, false)
	mark := out.Begin(h.Correlation, false)
	switch {
	case h.Key == 0 && h.Version == 7:
		err = b.produce(&r, out)
	case h.Key == 1 && h.Version == 11:
		err = b.fetch(&r, out)
	default:
		err = fmt.Errorf("%w: key %d version %d", errUnknown, h.Key, h.Version)
	}
	if err != nil {
		return err
	}
	out.End(mark)
	return nil
}

func (b *null) produce(r *wire.Reader, out *wire.Out) error {
	r.NullString()
	r.Span(2 + 4 + 4) // acks, timeout, one topic
	topic := r.String()
	r.Span(4)
	partition, batch := r.Int32(), record.Batch(r.Bytes())
	if !r.Ok() {
		return r.Err()
	}
	if err := batch.Check(); err != nil {
		return err
	}
	f, err := b.file(topic, partition)
	if err != nil {
		return err
	}
	f.mu.Lock()
	pos := f.size.Load()
	_, err = f.data.WriteAt(batch, pos)
	f.size.Store(pos + int64(len(batch)))
	f.mu.Unlock()
	if err != nil {
		return err
	}
	out.Buf = appendHead(out.Buf, topic, partition)
	out.Buf = binary.BigEndian.AppendUint64(out.Buf, uint64(pos))
	out.Buf = binary.BigEndian.AppendUint64(out.Buf, ^uint64(0))
	out.Buf = binary.BigEndian.AppendUint64(out.Buf, 0)
	out.Buf = binary.BigEndian.AppendUint32(out.Buf, 0) // throttle time
	return nil
}

// fetch takes offsets for positions, and answers from a file's start where too
// little follows.
func (b *null) fetch(r *wire.Reader, out *wire.Out) error {
	r.Span(4 + 4 + 4 + 4 + 1 + 4 + 4 + 4)
	topic := r.String()
	out.Buf = binary.BigEndian.AppendUint32(out.Buf, 0) // throttle time
	out.Buf = append(out.Buf, 0, 0, 0, 0, 0, 0)         // error, session
	out.Buf = appendTopic(out.Buf, topic)
	const least = 4 + 4 + 8 + 8 + 4 // bytes of a partition in the request
	partitions := r.ArrayLen(least)
	out.Buf = binary.BigEndian.AppendUint32(out.Buf, uint32(partitions))
	for range partitions {
		index := r.Int32()
		r.Span(4)
		pos := r.Int64()
		r.Span(8)
		n := r.Int32()
		f, err := b.file(topic, index)
		if err = errors.Join(r.Err(), err); err != nil {
			return err
		}
		size := f.size.Load()
		if pos < 0 || pos+int64(n) > size {
			pos = 0
		}
		part := span{f.data, pos, int(min(int64(n), size))}
		out.Buf = binary.BigEndian.AppendUint32(out.Buf, uint32(index))
		out.Buf = append(out.Buf, 0, 0)
		for _, offset := range []int64{size, size, 0} { // high watermark, last stable, log start
			out.Buf = binary.BigEndian.AppendUint64(out.Buf, uint64(offset))
		}
		out.Buf = append(out.Buf, 0, 0, 0, 0, 255, 255, 255, 255) // no aborted transactions, no other replica
		out.Buf = binary.BigEndian.AppendUint32(out.Buf, uint32(part.n))
		out.Splice(part)
	}
	return nil
}

// writeEach writes an answer with a read and a write for each of its bodies.
func writeEach(conn net.Conn, out *wire.Out, buf []byte) error {
	n := 0
	err := out.Each(func(bytes []byte, body wire.Body) error {
		if body == nil {
			n += copy(buf[n:], bytes) // the head of what follows
			return nil
		}
		if _, err := body.ReadAt(buf[n:n+body.Len()], 0); err != nil {
			return err
		}
		_, err := conn.Write(buf[:n+body.Len()])
		n = 0
		return err
	})
	if err != nil {
		return err
	}
	_, err = conn.Write(buf[:n])
	return err
}

// appendTopic appends one topic up to its partitions.
func appendTopic(b []byte, topic []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, 1)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(topic))), topic...)
}

// appendHead appends one topic with one partition without an error.
func appendHead(b []byte, topic []byte, partition int32) []byte {
	b = appendTopic(b, topic)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint32(b, uint32(partition))
	return append(b, 0, 0)
}
