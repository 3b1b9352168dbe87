package controller

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// logFolder is the folder of the metadata log.
const logFolder = metadata.ClusterMetadata + "-0"

// ErrForeign is returned when the metadata log is not one of ours, such as that
// of a Kafka controller. Nothing in it was touched.
var ErrForeign = errors.New("the folder holds a metadata log that is not Weir's")

// logID is the topic id that marks a metadata log as ours.
func logID() metadata.ID {
	return metadata.ID([]byte("weir metadata/00"))
}

// stores is everything raft keeps on disk.
type stores struct {
	id        raft.ServerID
	addr      raft.ServerAddress
	log       *logStore
	stable    *stable
	snapshots *snapshots
	fresh     bool // nothing was ever stored
	close     func() error
}

// openStores opens the metadata log of a directory or begins one. Failures that
// come later and end the node are sent to failed.
func openStores(o *Options, failed chan<- error) (s *stores, err error) {
	folder := filepath.Join(o.Dir.Path(), logFolder)
	if err := checkOurs(o.Env.FS, folder); err != nil {
		return nil, err
	}
	log, err := o.Dir.Open(metadata.ClusterMetadata, 0, logID(), logConfig(), noFollower{})
	if err != nil {
		return nil, fmt.Errorf("open metadata log: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, log.Close())
		}
	}()
	s = &stores{
		id: raft.ServerID(strconv.Itoa(int(o.NodeID))), addr: raft.ServerAddress("node-" + strconv.Itoa(int(o.NodeID))),
		snapshots: &snapshots{fs: o.Env.FS, dir: folder, logger: o.Logger}, close: log.Close,
	}
	var found bool
	if s.stable, found, err = openStable(o.Env.FS, filepath.Join(folder, "quorum-state"), failed); err != nil {
		return nil, err
	}
	if s.log, err = openLogStore(log, s.stable.whole, s.snapshots.spare, failed); err != nil {
		return nil, err
	}
	if err := s.checkWhole(found); err != nil {
		return nil, fmt.Errorf("%s: %w", folder, err)
	}
	return s, nil
}

// checkWhole finds what is missing, and whether there is anything at all. The
// term is durable before the first entry, and a snapshot before the entries it
// replaces are dropped, so no crash leaves either gap.
func (s *stores) checkWhole(found bool) error {
	first, err := s.log.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.log.LastIndex()
	if err != nil {
		return err
	}
	taken, err := s.snapshots.List()
	if err != nil {
		return err
	}
	covered, term := uint64(0), s.log.lastTerm()
	if len(taken) > 0 {
		covered, term = taken[0].Index, max(term, taken[0].Term)
	}
	switch {
	case !found && (last > 0 || covered > 0):
		return fmt.Errorf("%w: it is missing beside a log that has entries", errQuorumState)
	case s.stable.state.Term < term:
		return fmt.Errorf("%w: its term %d is behind term %d of the log", errQuorumState, s.stable.state.Term, term)
	case last > 0 && first > covered+1:
		return fmt.Errorf("%w: the log begins at index %d, the newest readable snapshot ends at %d", errGap, first, covered)
	}
	// A crash before the first entry leaves a term at most; there was no vote to keep.
	s.fresh = last == 0 && covered == 0
	if s.fresh && found {
		s.stable.state = quorumState{Format: quorumFormat}
	}
	return nil
}

// checkOurs refuses a folder with a metadata log that Weir did not write. The
// topic id or the quorum-state shows whose it is; a crash at the very beginning
// may leave neither, but then there is no entry either.
func checkOurs(fsys env.FS, folder string) error {
	entries, err := fsys.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", folder, err)
	}
	foreign := func(why string) error {
		return fmt.Errorf("%s: %w (%s); name another log.dirs", folder, ErrForeign, why)
	}
	ours := false
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, ".checkpoint") {
			return foreign(name + " is a snapshot of Kafka")
		}
		if name != "partition.metadata" && name != "quorum-state" {
			continue
		}
		data, err := env.ReadFile(fsys, filepath.Join(folder, name))
		if err != nil {
			return fmt.Errorf("read %s: %w", filepath.Join(folder, name), err)
		}
		known, mine := owner(name, data)
		if known && !mine {
			return foreign(name + " is another program's")
		}
		ours = ours || mine
	}
	return checkEmpty(fsys, folder, entries, ours)
}

// owner says whether a file tells who wrote the log, and whether it was Weir.
func owner(name string, data []byte) (known, ours bool) {
	if name == "quorum-state" {
		var q struct {
			Format string `json:"format"`
		}
		err := json.Unmarshal(data, &q)
		return err == nil, q.Format == quorumFormat
	}
	var id metadata.ID
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "topic_id: "); ok {
			err := id.UnmarshalText([]byte(text))
			return err == nil, err == nil && id == logID()
		}
	}
	return false, false
}

// checkEmpty refuses a log without our topic id that has data: a crash between
// making the folder and naming it leaves none.
func checkEmpty(fsys env.FS, folder string, entries []fs.DirEntry, ours bool) error {
	for _, e := range entries {
		if ours || !strings.HasSuffix(e.Name(), ".log") {
			continue
		}
		info, err := fsys.Stat(filepath.Join(folder, e.Name()))
		if err != nil {
			return fmt.Errorf("read %s: %w", folder, err)
		}
		if info.Size() > 0 {
			return fmt.Errorf("%s: %w (nothing tells who wrote it); name another log.dirs", folder, ErrForeign)
		}
	}
	return nil
}

// logConfig keeps everything until a snapshot drops it, and answers only after
// fsync.
func logConfig() commitlog.Config {
	return commitlog.Config{
		SegmentBytes: 16 << 20, SegmentMs: math.MaxInt64, IndexIntervalBytes: 4096, SegmentIndexBytes: 1 << 20,
		RetentionMs: -1, RetentionBytes: -1, Delete: true, Durability: commitlog.Fsync,
	}
}

// noFollower keeps no state beside the metadata log.
type noFollower struct{}

func (noFollower) Reset()              {}
func (noFollower) Load([]byte) error   { return nil }
func (noFollower) Replay(record.Batch) {}
func (noFollower) Snapshot() []byte    { return nil }
