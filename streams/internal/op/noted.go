package op

import (
	"bytes"
	"encoding/binary"

	"github.com/weirstream/weir/streams/processor"
)

// noted are the headers of the records that changed rows of a cached store since
// its last flush: what goes on then has those of the last one, as in Kafka Streams.
// Records without headers cost nothing.
type noted[K any] struct {
	key      codec[K]
	sessions bool // rows differ by their ends too
	byRow    map[string][]processor.Header
	buf      []byte
}

func newNoted[K, V any](e *Env, s State[K, V], sessions bool) *noted[K] {
	return &noted[K]{
		key: codec[K]{s.Key, changelog(e.ApplicationID(), s.Store)}, sessions: sessions,
		byRow: map[string][]processor.Header{},
	}
}

// note keeps the headers of the record that changed a row last. It copies them.
func (n *noted[K]) note(key K, start, end int64, headers []processor.Header) error {
	if len(headers) == 0 && len(n.byRow) == 0 {
		return nil
	}
	if err := n.place(key, start, end); err != nil {
		return err
	}
	if len(headers) == 0 {
		delete(n.byRow, string(n.buf))
		return nil
	}
	own := make([]processor.Header, len(headers))
	for i, h := range headers {
		own[i] = processor.Header{Key: h.Key, Value: bytes.Clone(h.Value)}
	}
	n.byRow[string(n.buf)] = own
	return nil
}

// take returns the headers of a row and forgets them.
func (n *noted[K]) take(key K, start, end int64) ([]processor.Header, error) {
	if len(n.byRow) == 0 {
		return nil, nil
	}
	if err := n.place(key, start, end); err != nil {
		return nil, err
	}
	headers := n.byRow[string(n.buf)]
	delete(n.byRow, string(n.buf))
	return headers, nil
}

// place makes the name of a row.
func (n *noted[K]) place(key K, start, end int64) (err error) {
	if !n.sessions {
		end = 0
	}
	n.buf = binary.BigEndian.AppendUint64(n.buf[:0], uint64(start))
	n.buf, err = n.key.Append(binary.BigEndian.AppendUint64(n.buf, uint64(end)), key)
	return err
}
