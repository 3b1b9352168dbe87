package logdir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
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

const (
	offsetWidth = 8  // of an entry of an .index: relative offset, position
	timeWidth   = 12 // of a .timeindex: timestamp, relative offset
)

// What comes of a problem.
const (
	badBatch    = "a broker that was not stopped cleanly cuts the log here; one that was answers fetches of it with an error, and never compacts the log"
	badOrder    = "readers that seek an offset may miss records"
	badIndex    = "the broker builds the index again when it finds this; no record is lost"
	lostTxns    = "readers of committed data are shown aborted records; delete the .index and .timeindex files of the segment while no broker runs, and the next start reads it again"
	badTxns     = "readers of committed data may be shown aborted records"
	badSnapshot = "an older snapshot is used and the log is read from there"
	badEpochs   = "the whole log is read at the next start"
	badPoints   = "the next start reads the logs from their beginning"
	badStart    = "a broker refuses to start on the directory"
	leftover    = "a compaction was interrupted; the next start finishes or undoes it"
)

// What is wrong with an entry of an index.
const (
	partOfEntry = "part of an entry"
	noTxn       = "no entry of version 0"
)

// Report is what Verify found.
type Report struct {
	Partitions   int       `json:"partitions"`
	Segments     int       `json:"segments"`
	Batches      int64     `json:"batches"`
	Records      int64     `json:"records"`
	Bytes        int64     `json:"bytes"` // of segments
	Indexes      int       `json:"indexes"`
	CleanStopped bool      `json:"clean_stopped"` // the marker of a clean stop is there
	Problems     []Problem `json:"problems"`
}

// verifier gathers a report.
type verifier struct {
	report Report
	ends   map[layout.TP]int64 // log ends
	open   map[int64]bool      // producers in a transaction with records, of the partition
}

func (v *verifier) problem(file string, pos int64, means, what string, args ...any) {
	v.report.Problems = append(v.report.Problems, Problem{File: file, Position: pos, What: fmt.Sprintf(what, args...), Means: means})
}

// Verify reads all of a log directory, or of one partition's: every batch with its checksum and its
// records, every index, snapshot and checkpoint. The error is one of reading, or wraps ErrNothing.
func Verify(fsys env.FS, path string) (Report, error) {
	f, err := open(fsys, path)
	if err != nil {
		return Report{}, err
	}
	if !f.ours() {
		return Report{}, fmt.Errorf("%s: %w", path, ErrNothing)
	}
	partitions, err := f.partitions()
	if err != nil {
		return Report{}, err
	}
	v := &verifier{ends: map[layout.TP]int64{}, report: Report{Problems: []Problem{}}}
	if len(f.bases()) > 0 {
		partitions = append(partitions, f)
	}
	for _, p := range partitions {
		if err := v.partition(p); err != nil {
			return Report{}, err
		}
	}
	if f.topic == "" {
		if err := v.directory(f); err != nil {
			return Report{}, err
		}
	}
	return v.report, nil
}

// directory checks the files of a log directory itself.
func (v *verifier) directory(f folder) error {
	v.report.CleanStopped = f.has(layout.CleanFile)
	for name, means := range map[string]string{
		layout.RecoveryFile: badPoints, layout.CleanerFile: badPoints, layout.StartFile: badStart, layout.WatermarkFile: badStart,
	} {
		data, err := f.read(name)
		if missing(err) {
			continue
		}
		if err != nil {
			return err
		}
		path := filepath.Join(f.path, name)
		offsets, err := layout.ParseOffsets(data)
		if err != nil {
			v.problem(path, -1, means, "%v", err)
			continue
		}
		for tp, offset := range offsets {
			if end, known := v.ends[tp]; known && offset > end {
				v.problem(path, -1, "records that were durable are missing", "%s: offset %d, but the log ends at %d", tp, offset, end)
			}
		}
	}
	if f.has(layout.MetaFile) {
		data, err := f.read(layout.MetaFile)
		if err != nil {
			return err
		}
		if _, err := layout.ParseMeta(data); err != nil {
			v.problem(filepath.Join(f.path, layout.MetaFile), -1, badStart, "%v", err)
		}
	}
	slices.SortStableFunc(v.report.Problems, func(a, b Problem) int { return strings.Compare(a.File, b.File) })
	return nil
}

// segmentState is what the indexes of a segment are held to.
type segmentState struct {
	base, end int64
	size      int64
	starts    map[int64]int64 // base offsets by position
	newest    int64           // largest timestamp
	aborts    map[int64]bool  // offsets of abort markers, and whether records are there that they abort
}

func (v *verifier) partition(f folder) error {
	v.report.Partitions++
	v.open = map[int64]bool{}
	bases := f.bases()
	end := int64(0)
	for i, base := range bases {
		next := int64(-1)
		if i+1 < len(bases) {
			next = bases[i+1]
		}
		s, err := v.log(f, base, next)
		if err != nil {
			return err
		}
		end = s.end
		for _, check := range []func(folder, segmentState) error{v.index, v.timeIndex, v.txnIndex} {
			if err := check(f, s); err != nil {
				return err
			}
		}
	}
	if tp, ok := layout.ParseTP(filepath.Base(f.path)); ok && len(bases) > 0 {
		v.ends[tp] = end
	}
	return v.others(f, end)
}

// log checks the batches of one segment, which next follows, -1 for none.
func (v *verifier) log(f folder, base, next int64) (segmentState, error) {
	path := filepath.Join(f.path, segment.Name(base, segment.LogSuffix))
	s := segmentState{base: base, end: base, starts: map[int64]int64{}, newest: record.NoTimestamp, aborts: map[int64]bool{}}
	v.report.Segments++
	pos, err := batches(f.fs, path, func(pos int64, b record.Batch) error {
		s.starts[pos] = b.BaseOffset()
		v.report.Batches++
		v.report.Records += int64(b.Count())
		v.report.Bytes += int64(len(b))
		if what := wrong(b); what != nil {
			v.problem(path, pos, badBatch, "%v", what)
		} else {
			v.follow(b, s)
		}
		if b.BaseOffset() < s.end || b.LastOffset() < b.BaseOffset() {
			v.problem(path, pos, badOrder, "offsets %d to %d after %d", b.BaseOffset(), b.LastOffset(), s.end-1)
		}
		if next >= 0 && b.NextOffset() > next {
			v.problem(path, pos, badOrder, "offset %d belongs to the next segment", b.LastOffset())
		}
		s.end = max(s.end, b.NextOffset())
		s.newest = max(s.newest, b.MaxTimestamp())
		s.size = pos + int64(len(b))
		return nil
	})
	if errors.Is(err, errDamaged) {
		v.problem(path, pos, badBatch, "%v", err)
		err = nil
	}
	return s, err
}

// follow notes who is in a transaction, and what ends with an abort.
func (v *verifier) follow(b record.Batch, s segmentState) {
	switch id := b.ProducerID(); {
	case !b.IsTransactional():
	case !b.IsControl():
		v.open[id] = v.open[id] || b.Count() > 0
	default:
		if controlKind(b) == "abort" {
			s.aborts[b.BaseOffset()] = v.open[id]
		}
		delete(v.open, id)
	}
}

// wrong tells what is wrong inside a batch.
func wrong(b record.Batch) error {
	if err := b.Intact(); err != nil {
		return err
	}
	if b.IsControl() && b.Count() > 0 {
		_, err := b.Control()
		return err
	}
	body, err := b.Body(nil, nil, maxRecords)
	if err != nil || b.Count() == 0 {
		return err
	}
	last := b.BaseOffset() - 1
	w := b.Walk(body)
	for w.Next() {
		o := w.Record().Offset
		if o <= last || o > b.LastOffset() {
			return fmt.Errorf("record %d after %d in a batch that ends with %d", o, last, b.LastOffset())
		}
		last = o
	}
	return w.Err()
}

// entries reads an index.
func (v *verifier) entries(f folder, s segmentState, suffix string, width int) (path string, data []byte, err error) {
	name := segment.Name(s.base, suffix)
	path = filepath.Join(f.path, name)
	data, err = f.read(name)
	if missing(err) {
		return path, nil, nil
	}
	if err != nil {
		return path, nil, err
	}
	v.report.Indexes++
	data = withoutRoom(data, width)
	if over := len(data) % width; over != 0 {
		v.problem(path, int64(len(data)-over), badIndex, partOfEntry)
		data = data[:len(data)-over]
	}
	return path, data, nil
}

// withoutRoom is an index without the zeroes at its end, which are room that Kafka has set aside.
func withoutRoom(data []byte, width int) []byte {
	for len(data) >= width && len(bytes.Trim(data[len(data)-width:], "\x00")) == 0 {
		data = data[:len(data)-width]
	}
	return data
}

func (v *verifier) index(f folder, s segmentState) error {
	path, data, err := v.entries(f, s, segment.IndexSuffix, offsetWidth)
	last, lastPos := int64(-1), int64(-1)
	for at := 0; at < len(data); at += offsetWidth {
		offset, pos := s.base+int64(binary.BigEndian.Uint32(data[at:])), int64(binary.BigEndian.Uint32(data[at+4:]))
		first, begins := s.starts[pos]
		switch {
		case offset <= last || pos <= lastPos:
			v.problem(path, int64(at), badIndex, "entry of offset %d, position %d after offset %d, position %d", offset, pos, last, lastPos)
		case !begins:
			v.problem(path, int64(at), badIndex, "no batch begins at position %d", pos)
		case first > offset || offset >= s.end:
			v.problem(path, int64(at), badIndex, "offset %d is not at position %d, where a batch begins with %d", offset, pos, first)
		}
		last, lastPos = offset, pos
	}
	return err
}

func (v *verifier) timeIndex(f folder, s segmentState) error {
	path, data, err := v.entries(f, s, segment.TimeSuffix, timeWidth)
	last, lastOffset := int64(-1), int64(-1)
	for at := 0; at < len(data); at += timeWidth {
		ts, offset := int64(binary.BigEndian.Uint64(data[at:])), s.base+int64(binary.BigEndian.Uint32(data[at+8:]))
		switch {
		case ts <= last || offset < lastOffset:
			v.problem(path, int64(at), badIndex, "entry of timestamp %d, offset %d after timestamp %d, offset %d", ts, offset, last, lastOffset)
		case ts > s.newest:
			v.problem(path, int64(at), badIndex, "timestamp %d, but the largest of the segment is %d", ts, s.newest)
		case offset >= s.end:
			v.problem(path, int64(at), badIndex, "offset %d, but the segment ends at %d", offset, s.end)
		}
		last, lastOffset = ts, offset
	}
	return err
}

func (v *verifier) txnIndex(f folder, s segmentState) error {
	path, data, err := v.entries(f, s, segment.TxnSuffix, layout.TxnWidth)
	last := int64(-1)
	for at := 0; at < len(data); at += layout.TxnWidth {
		t, ok := layout.ParseTxn(data[at:])
		switch {
		case !ok:
			v.problem(path, int64(at), badTxns, noTxn)
		case t.Last <= last:
			v.problem(path, int64(at), badTxns, "marker %d after %d", t.Last, last)
		case t.Last < s.base || t.Last >= s.end:
			v.problem(path, int64(at), badTxns, "marker %d is not in the segment, which ends at %d", t.Last, s.end)
		default:
			if _, marked := s.aborts[t.Last]; !marked {
				v.problem(path, int64(at), badTxns, "no abort marker at offset %d", t.Last)
			}
			delete(s.aborts, t.Last)
		}
		last = t.Last
	}
	for _, marker := range slices.Sorted(maps.Keys(s.aborts)) {
		if s.aborts[marker] {
			v.problem(path, -1, lostTxns, "no entry of the abort marker at offset %d", marker)
		}
	}
	return err
}

// others checks the small files of a partition whose log has an end.
func (v *verifier) others(f folder, end int64) error {
	for _, name := range f.names {
		path := filepath.Join(f.path, name)
		_, suffix, isSegment := segment.ParseName(name)
		ext := filepath.Ext(name)
		if ext == layout.SwapSuffix || ext == layout.CleanedSuffix {
			v.problem(path, -1, leftover, "left of a compaction")
		}
		snapshot := isSegment && suffix == segment.SnapshotSuffix && f.topic != metadata.ClusterMetadata
		if !snapshot && name != layout.EpochFile && name != layout.TopicFile {
			continue
		}
		data, err := f.read(name)
		if err != nil {
			return err
		}
		if snapshot {
			if err := producer.New().Load(data); err != nil {
				v.problem(path, -1, badSnapshot, "%v", err)
			}
			continue
		}
		v.small(path, name, data, end)
	}
	return nil
}

// small checks partition.metadata or the leader epochs.
func (v *verifier) small(path, name string, data []byte, end int64) {
	if name == layout.TopicFile {
		if _, _, err := layout.ParseTopicID(data); err != nil {
			v.problem(path, -1, badStart, "%v", err)
		}
		return
	}
	list, err := layout.ParseEpochs(data)
	if err != nil {
		v.problem(path, -1, badEpochs, "%v", err)
	} else if n := len(list); n > 0 && list[n-1].Start > end {
		v.problem(path, -1, badEpochs, "epoch %d begins at %d, but the log ends at %d", list[n-1].Epoch, list[n-1].Start, end)
	}
}
