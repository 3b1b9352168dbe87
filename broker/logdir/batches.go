package logdir

import (
	"errors"
	"fmt"

	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

const (
	chunk      = 1 << 20   // read at once
	maxBatch   = 256 << 20 // what a batch may declare as its size
	maxRecords = 1 << 30   // what it may decompress to
)

// errDamaged reports bytes that are no batch.
var errDamaged = errors.New("no whole batch")

// window reads a file from front to back in large pieces.
type window struct {
	file env.File
	size int64
	at   int64 // position of buf[0]
	buf  []byte
}

// bytes returns n bytes at a position, valid until the next call; fewer where the file ends.
func (w *window) bytes(pos int64, n int) ([]byte, error) {
	n = int(min(int64(n), w.size-pos))
	if pos < w.at || pos+int64(n) > w.at+int64(len(w.buf)) {
		w.buf = make([]byte, min(w.size-pos, int64(max(n, chunk))))
		w.at = pos
		if got, err := w.file.ReadAt(w.buf, pos); got < len(w.buf) {
			return nil, fmt.Errorf("read: %w", err)
		}
	}
	return w.buf[pos-w.at:][:n], nil
}

// batches shows visit each batch of a .log file with its position, and returns where the next one
// would begin. The error wraps errDamaged when the bytes there are no whole batch.
func batches(fsys env.FS, name string, visit func(pos int64, b record.Batch) error) (pos int64, err error) {
	h, size, err := openFile(fsys, name)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	w := window{file: h, size: size}
	for pos < size {
		head, err := w.bytes(pos, record.HeaderSize)
		if err != nil {
			return pos, err
		}
		if len(head) < record.HeaderSize {
			return pos, fmt.Errorf("%w: %d bytes", errDamaged, len(head))
		}
		n := record.Batch(head).Length()
		if n > maxBatch || n < record.HeaderSize {
			return pos, fmt.Errorf("%w: length %d", errDamaged, n)
		}
		whole, err := w.bytes(pos, n)
		if err != nil {
			return pos, err
		}
		b, _, err := record.Split(whole)
		if err != nil {
			return pos, fmt.Errorf("%w: %w", errDamaged, err)
		}
		if err := visit(pos, b); err != nil {
			return pos, err
		}
		pos += int64(n)
	}
	return pos, nil
}
