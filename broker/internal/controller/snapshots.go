package controller

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/weirstream/weir/internal/env"
)

const (
	snapshotMagic  = "WEIRIMG0"
	snapshotSuffix = ".image"
	keptSnapshots  = 2
)

var errSnapshotFile = errors.New("unreadable snapshot file")

// snapshots is raft's SnapshotStore: one file a snapshot, beside the log,
// written under another name and renamed once it is durable. A file is
//
//	magic (8 bytes) | length of head (4) | head as JSON | image | CRC32C of all before (4)
type snapshots struct {
	fs     env.FS
	dir    string
	logger *slog.Logger
}

var _ raft.SnapshotStore = (*snapshots)(nil)

// snapshotHead is what raft knows about a snapshot.
type snapshotHead struct {
	Index         uint64             `json:"index"`
	Term          uint64             `json:"term"`
	Configuration raft.Configuration `json:"configuration"`
	ConfigIndex   uint64             `json:"configuration_index"`
}

func snapshotName(index, term uint64) string {
	return fmt.Sprintf("%020d-%010d%s", index, term, snapshotSuffix)
}

// Create begins a snapshot, which is written by Close of the sink.
func (s *snapshots) Create(_ raft.SnapshotVersion, index, term uint64, c raft.Configuration, configIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	head, err := json.Marshal(snapshotHead{Index: index, Term: term, Configuration: c, ConfigIndex: configIndex})
	if err != nil {
		return nil, fmt.Errorf("snapshot head: %w", err)
	}
	sink := &snapshotSink{store: s, name: snapshotName(index, term)}
	sink.buf.WriteString(snapshotMagic)
	sink.buf.Write(binary.BigEndian.AppendUint32(nil, uint32(len(head))))
	sink.buf.Write(head)
	return sink, nil
}

// List returns the readable snapshots, the newest first. An unreadable one is
// passed over: an older one and the log may still make it good.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	var metas []*raft.SnapshotMeta
	for _, name := range names {
		meta, _, err := s.read(name)
		if err != nil {
			s.logger.Warn("snapshot is passed over", slog.String("file", name), slog.Any("error", err))
			continue
		}
		metas = append(metas, meta)
	}
	slices.SortFunc(metas, func(a, b *raft.SnapshotMeta) int {
		return cmp.Or(cmp.Compare(b.Index, a.Index), cmp.Compare(b.Term, a.Term))
	})
	return metas, nil
}

// Open returns a snapshot and its image.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, image, err := s.read(id)
	if err != nil {
		return nil, nil, err
	}
	return meta, io.NopCloser(bytes.NewReader(image)), nil
}

// names returns the snapshot files, the newest first.
func (s *snapshots) names() ([]string, error) {
	entries, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), snapshotSuffix) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	slices.Reverse(names)
	return names, nil
}

func (s *snapshots) read(name string) (*raft.SnapshotMeta, []byte, error) {
	data, err := env.ReadFile(s.fs, filepath.Join(s.dir, name))
	if err != nil {
		return nil, nil, fmt.Errorf("read snapshot: %w", err)
	}
	head, image, err := parseSnapshot(data)
	if err != nil {
		return nil, nil, err
	}
	meta := &raft.SnapshotMeta{
		Version: raft.SnapshotVersionMax, ID: name, Index: head.Index, Term: head.Term,
		Configuration: head.Configuration, ConfigurationIndex: head.ConfigIndex, Size: int64(len(image)),
	}
	return meta, image, nil
}

func parseSnapshot(data []byte) (snapshotHead, []byte, error) {
	var head snapshotHead
	const fixed = len(snapshotMagic) + 4
	if len(data) < fixed+4 || string(data[:len(snapshotMagic)]) != snapshotMagic {
		return head, nil, fmt.Errorf("%w: no magic", errSnapshotFile)
	}
	body, sum := data[:len(data)-4], binary.BigEndian.Uint32(data[len(data)-4:])
	if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != sum {
		return head, nil, fmt.Errorf("%w: checksum", errSnapshotFile)
	}
	n := uint64(binary.BigEndian.Uint32(body[len(snapshotMagic):]))
	body = body[fixed:]
	if n > uint64(len(body)) {
		return head, nil, fmt.Errorf("%w: head of %d bytes", errSnapshotFile, n)
	}
	if err := json.Unmarshal(body[:n], &head); err != nil {
		return head, nil, fmt.Errorf("%w: %w", errSnapshotFile, err)
	}
	return head, body[n:], nil
}

// spare returns the index up to which the log may go: that of the oldest snapshot
// kept, once there are so many that one may be lost.
func (s *snapshots) spare() uint64 {
	metas, err := s.List()
	if err != nil || len(metas) < keptSnapshots {
		return 0
	}
	return metas[keptSnapshots-1].Index
}

// retire removes all but the newest snapshots. A file it cannot remove only
// takes up space.
func (s *snapshots) retire() {
	names, err := s.names()
	for i := keptSnapshots; i < len(names); i++ {
		err = errors.Join(err, s.fs.Remove(filepath.Join(s.dir, names[i])))
	}
	if err != nil {
		s.logger.Warn("old snapshots stay", slog.Any("error", err))
	}
}

// snapshotSink collects a snapshot in memory: an image is small.
type snapshotSink struct {
	store *snapshots
	name  string
	buf   bytes.Buffer
}

func (k *snapshotSink) ID() string { return k.name }

func (k *snapshotSink) Write(p []byte) (int, error) { return k.buf.Write(p) }

// Close makes the snapshot durable.
func (k *snapshotSink) Close() error {
	sum := crc32.Checksum(k.buf.Bytes(), crc32.MakeTable(crc32.Castagnoli))
	data := binary.BigEndian.AppendUint32(k.buf.Bytes(), sum)
	if err := env.WriteFileAtomic(k.store.fs, filepath.Join(k.store.dir, k.name), data); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	k.store.retire()
	return nil
}

func (k *snapshotSink) Cancel() error { return nil }
