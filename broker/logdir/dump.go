package logdir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weirstream/weir/broker/internal/commitlog/layout"
	"github.com/weirstream/weir/broker/internal/commitlog/segment"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/producer"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// Batch is a record batch as a .log file holds it.
type Batch struct {
	Position      int64    `json:"position"`
	Size          int      `json:"size"`
	BaseOffset    int64    `json:"base_offset"`
	LastOffset    int64    `json:"last_offset"`
	Count         int32    `json:"count"`
	LeaderEpoch   int32    `json:"leader_epoch"`
	Codec         string   `json:"codec"`
	MaxTimestamp  int64    `json:"max_timestamp"`
	AppendTime    bool     `json:"append_time,omitempty"`
	DeleteHorizon *int64   `json:"delete_horizon,omitempty"` // from when on tombstones may go, in milliseconds
	ProducerID    int64    `json:"producer_id"`
	ProducerEpoch int16    `json:"producer_epoch"`
	BaseSequence  int32    `json:"base_sequence"`
	Transactional bool     `json:"transactional,omitempty"`
	Control       string   `json:"control,omitempty"` // commit, abort, or another kind of control batch
	CRC           uint32   `json:"crc"`
	Valid         bool     `json:"valid"`
	Records       []Record `json:"records,omitempty"`
}

// Record is one record. Decoded is what it says where the topic is one of Kafka's internal ones.
type Record struct {
	Offset    int64             `json:"offset"`
	Timestamp int64             `json:"timestamp"`
	Key       []byte            `json:"key"`
	Value     []byte            `json:"value"`
	Headers   map[string][]byte `json:"headers,omitempty"`
	Decoded   string            `json:"decoded,omitempty"`
}

// Entry is one thing that a file holds: exactly one of the fields beside File is set.
type Entry struct {
	File  string `json:"file"`
	Batch *Batch `json:"batch,omitempty"`
	// Index is an entry of an .index or .timeindex: an offset and its position or timestamp.
	Index    *IndexEntry        `json:"index,omitempty"`
	Aborted  *layout.AbortedTxn `json:"aborted,omitempty"`
	Producer *producer.Info     `json:"producer,omitempty"`
	Text     string             `json:"text,omitempty"` // of a small file
	Problem  *Problem           `json:"problem,omitempty"`
}

// IndexEntry is an entry of an .index or .timeindex.
type IndexEntry struct {
	Offset    int64  `json:"offset"`
	Position  *int64 `json:"position,omitempty"`
	Timestamp *int64 `json:"timestamp,omitempty"`
}

// DumpOptions say how much is shown.
type DumpOptions struct {
	Records bool // the records of each batch
}

// Dump shows visit what a file holds, or each file of a partition's or log directory, by name.
// Bytes that make no sense are shown as a problem, and end their file. The error is one of reading,
// or visit's, or wraps ErrNothing.
func Dump(fsys env.FS, path string, o DumpOptions, visit func(Entry) error) error {
	f, err := open(fsys, path)
	if err != nil {
		return err
	}
	if !f.ours() {
		return fmt.Errorf("%s: %w", path, ErrNothing)
	}
	partitions, err := f.partitions()
	if err != nil {
		return err
	}
	for _, each := range append([]folder{f}, partitions...) {
		for _, name := range each.names {
			if err := each.dump(name, o, visit); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f folder) dump(name string, o DumpOptions, visit func(Entry) error) error {
	path := filepath.Join(f.path, name)
	base, suffix, ok := segment.ParseName(name)
	if ok && suffix == segment.LogSuffix {
		return f.dumpLog(path, o, visit)
	}
	text := slices.Contains([]string{layout.MetaFile, layout.TopicFile, layout.CleanFile}, name) || strings.HasSuffix(name, "-checkpoint")
	if !ok && !text {
		return nil
	}
	data, err := f.read(name)
	if err != nil {
		return err
	}
	if text {
		return visit(Entry{File: path, Text: string(data)})
	}
	if suffix == segment.SnapshotSuffix && f.topic != metadata.ClusterMetadata {
		return dumpProducers(path, data, visit)
	}
	width := map[string]int{segment.IndexSuffix: offsetWidth, segment.TimeSuffix: timeWidth, segment.TxnSuffix: layout.TxnWidth}[suffix]
	if width == 0 {
		return nil
	}
	data = withoutRoom(data, width)
	for at := 0; at < len(data); at += width {
		e := indexEntry(path, base, suffix, at, data[at:min(at+width, len(data))])
		if err := visit(e); err != nil || e.Problem != nil {
			return err
		}
	}
	return nil
}

// indexEntry reads the entry at a position of an index.
func indexEntry(path string, base int64, suffix string, pos int, data []byte) Entry {
	be := binary.BigEndian
	switch {
	case suffix == segment.IndexSuffix && len(data) == offsetWidth:
		at := int64(be.Uint32(data[4:]))
		return Entry{File: path, Index: &IndexEntry{Offset: base + int64(be.Uint32(data)), Position: &at}}
	case suffix == segment.TimeSuffix && len(data) == timeWidth:
		ts := int64(be.Uint64(data))
		return Entry{File: path, Index: &IndexEntry{Offset: base + int64(be.Uint32(data[8:])), Timestamp: &ts}}
	case suffix == segment.TxnSuffix && len(data) == layout.TxnWidth:
		if t, ok := layout.ParseTxn(data); ok {
			return Entry{File: path, Aborted: &t}
		}
		return Entry{File: path, Problem: &Problem{File: path, Position: int64(pos), What: noTxn, Means: badTxns}}
	}
	return Entry{File: path, Problem: &Problem{File: path, Position: int64(pos), What: partOfEntry, Means: badIndex}}
}

func dumpProducers(path string, data []byte, visit func(Entry) error) error {
	state := producer.New()
	if err := state.Load(data); err != nil {
		return visit(Entry{File: path, Problem: &Problem{File: path, Position: -1, What: err.Error(), Means: badSnapshot}})
	}
	for _, p := range state.Producers() {
		if err := visit(Entry{File: path, Producer: &p}); err != nil {
			return err
		}
	}
	return nil
}

func (f folder) dumpLog(path string, o DumpOptions, visit func(Entry) error) error {
	pos, err := batches(f.fs, path, func(pos int64, b record.Batch) error {
		shown, err := f.show(pos, b, o)
		if err := visit(Entry{File: path, Batch: shown}); err != nil {
			return err
		}
		if err != nil {
			return visit(Entry{File: path, Problem: &Problem{File: path, Position: pos, What: err.Error(), Means: badBatch}})
		}
		return nil
	})
	if errors.Is(err, errDamaged) {
		return visit(Entry{File: path, Problem: &Problem{File: path, Position: pos, What: err.Error(), Means: badBatch}})
	}
	return err
}

// show describes a batch; an error tells what is wrong with it.
func (f folder) show(pos int64, b record.Batch, o DumpOptions) (*Batch, error) {
	out := &Batch{
		Position: pos, Size: len(b), BaseOffset: b.BaseOffset(), LastOffset: b.LastOffset(), Count: b.Count(),
		LeaderEpoch: b.LeaderEpoch(), Codec: b.Codec().String(), MaxTimestamp: b.MaxTimestamp(), AppendTime: b.IsLogAppendTime(),
		ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch(), BaseSequence: b.BaseSequence(),
		Transactional: b.IsTransactional(), CRC: b.CRC(),
	}
	if err := b.Intact(); err != nil {
		return out, err
	}
	out.Valid = true
	if b.HasDeleteHorizon() {
		at := b.BaseTimestamp()
		out.DeleteHorizon = &at
	}
	if b.IsControl() {
		out.Control = controlKind(b)
	}
	if !o.Records {
		return out, nil
	}
	for r, err := range b.Records(maxRecords) {
		if err != nil {
			return out, err
		}
		shown := Record{Offset: r.Offset, Timestamp: r.Timestamp, Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			if shown.Headers == nil {
				shown.Headers = map[string][]byte{}
			}
			shown.Headers[h.Key] = h.Value
		}
		if !b.IsControl() {
			shown.Decoded = decode(f.topic, r.Key, r.Value)
		}
		out.Records = append(out.Records, shown)
	}
	return out, nil
}

// controlKind names a control batch.
func controlKind(b record.Batch) string {
	if b.Count() == 0 {
		return "emptied"
	}
	c, err := b.Control()
	switch {
	case err != nil:
		return "unreadable"
	case c.Type == record.Commit:
		return "commit"
	case c.Type == record.Abort:
		return "abort"
	}
	return fmt.Sprintf("type %d", c.Type)
}
