package controller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/env"
)

// snapshotNow takes a snapshot, as the controller does when one is due.
func (n *node) snapshotNow() {
	n.t.Helper()
	if err := n.node.Snapshot().Error(); err != nil {
		n.t.Fatal(err)
	}
}

func TestSnapshotsReplaceTheLog(t *testing.T) {
	fs := env.NewMemFS()
	var indexes []int64
	for i := range 4 {
		n := start(t, life{fs: fs, snapshot: 1 << 20})
		if got := n.Image().TopicCount(); got != 10*i {
			t.Fatalf("life %d begins with %d topics", i, got)
		}
		for j := range 10 {
			n.mustCreate(fmt.Sprintf("t%d-%d", i, j))
		}
		indexes = append(indexes, n.Image().Version())
		n.snapshotNow()
		n.close()
		// The log goes back to the older of two snapshots: either may be lost.
		want := uint64(1)
		if i > 0 {
			want = uint64(indexes[i-1]) + 1
		}
		s, giveBack := openForTest(t, fs)
		if first, err := s.log.FirstIndex(); err != nil || first != want {
			t.Fatalf("after snapshot %d the log begins at %d, want %d: %v", i, first, want, err)
		}
		giveBack()
	}
	if files := imageFiles(t, fs); len(files) != keptSnapshots {
		t.Fatalf("snapshots %v", files)
	}
}

func TestSnapshotsAreTakenWhenTheyAreDue(t *testing.T) {
	fs := env.NewMemFS()
	n := start(t, life{fs: fs, snapshot: 5})
	defer n.close()
	for i := 0; len(imageFiles(t, fs)) < keptSnapshots; i++ {
		if i > 10_000 {
			t.Fatal("no snapshots")
		}
		n.mustCreate(fmt.Sprint("t", i))
	}
}

func imageFiles(t *testing.T, fs env.FS) []string {
	t.Helper()
	s := &snapshots{fs: fs, dir: filepath.Join(root, logFolder), logger: slog.New(slog.DiscardHandler)}
	names, err := s.names()
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// openForTest opens the stores of a directory that nobody uses.
func openForTest(t *testing.T, fs env.FS) (s *stores, giveBack func()) {
	t.Helper()
	s, giveBack, err := tryOpen(t, fs)
	if err != nil {
		t.Fatal(err)
	}
	return s, giveBack
}

// tryOpen opens the stores; with an error the directory is given back already.
func tryOpen(t *testing.T, fs env.FS) (s *stores, giveBack func(), err error) {
	t.Helper()
	e := env.Real()
	e.FS = fs
	dir, err := openDir(e)
	if err != nil {
		return nil, nil, err
	}
	giveBack = func() {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := dir.Run(ctx); err != nil {
			t.Error(err)
		}
	}
	s, err = openStores(&Options{Env: e, Dir: dir, NodeID: 1, Logger: slog.New(slog.DiscardHandler)}, make(chan error, 1))
	if err != nil {
		giveBack()
	}
	return s, giveBack, err
}

// damage changes one byte in the middle of a file.
func damage(t *testing.T, fs env.FS, name string) {
	t.Helper()
	name = filepath.Join(root, logFolder, name)
	data, err := env.ReadFile(fs, name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := env.WriteFile(fs, name, data); err != nil {
		t.Fatal(err)
	}
}

func TestADamagedSnapshotIsPassedOverForAnOlderOne(t *testing.T) {
	fs := env.NewMemFS()
	n := start(t, life{fs: fs, snapshot: 1 << 20})
	for i := range 30 {
		n.mustCreate(fmt.Sprintf("t%03d", i))
		if i%10 == 9 {
			n.snapshotNow()
		}
	}
	n.close()
	files := imageFiles(t, fs)
	if len(files) != keptSnapshots {
		t.Fatalf("snapshots %v", files)
	}
	damage(t, fs, files[0])
	n = start(t, life{fs: fs, snapshot: 1 << 20})
	if got := n.Image().TopicCount(); got != 30 {
		t.Fatalf("%d topics", got)
	}
	n.close()
	damage(t, fs, files[1])
	if _, _, err := tryOpen(t, fs); !errors.Is(err, errGap) {
		t.Fatal(err)
	}
}

func TestQuorumStateMustGoWithTheLog(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(fs env.FS, name string) error
	}{
		"missing": {func(fs env.FS, name string) error { return fs.Remove(name) }},
		"cut":     {func(fs env.FS, name string) error { return env.WriteFile(fs, name, []byte(`{"for`)) }},
		"behind": {func(fs env.FS, name string) error {
			return env.WriteFile(fs, name, []byte(`{"format":"weir","term":1}`))
		}},
		"of later": {func(fs env.FS, name string) error { return env.WriteFile(fs, name, []byte(`{"format":"weir","v":1}`)) }},
	} {
		fs := env.NewMemFS()
		n := start(t, life{fs: fs})
		n.mustCreate("a")
		n.close()
		if err := tc.change(fs, filepath.Join(root, logFolder, "quorum-state")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := tryOpen(t, fs); !errors.Is(err, errQuorumState) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func entries() *rapid.Generator[*raft.Log] {
	return rapid.Custom(func(t *rapid.T) *raft.Log {
		e := &raft.Log{
			Index: rapid.Uint64Range(1, 1<<40).Draw(t, "index"), Term: rapid.Uint64Range(1, 1<<30).Draw(t, "term"),
			Type: raft.LogType(rapid.IntRange(0, int(entryTypes)-1).Draw(t, "type")),
			Data: append([]byte{}, rapid.SliceOf(rapid.Byte()).Draw(t, "data")...),
		}
		if rapid.Bool().Draw(t, "stamped") {
			e.AppendedAt = time.UnixMilli(rapid.Int64Range(0, 1<<41).Draw(t, "at"))
		}
		if rapid.Bool().Draw(t, "extended") {
			e.Extensions = rapid.SliceOfN(rapid.Byte(), 1, 9).Draw(t, "extensions")
		}
		return e
	})
}

func TestAnEntryComesBackAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := entries().Draw(t, "entry")
		b := encodeEntry(want)
		if b.BaseOffset() != int64(want.Index)-1 || b.LeaderEpoch() != int32(want.Term) || b.Count() != 1 {
			t.Fatalf("offset %d, epoch %d, %d records", b.BaseOffset(), b.LeaderEpoch(), b.Count())
		}
		got, err := decodeEntry(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestABatchThatIsNoEntryIsRefused(t *testing.T) {
	build := func(values int, headers ...record.Header) record.Batch {
		b := record.NewBuilder(record.Options{})
		for range values {
			b.Append(0, nil, []byte("v"), headers)
		}
		return b.Build()
	}
	torn := build(1, record.Header{Key: headerType, Value: []byte{0}})
	torn[len(torn)-1] ^= 1
	for name, b := range map[string]record.Batch{
		"two records":     build(2, record.Header{Key: headerType, Value: []byte{0}}),
		"no type":         build(1),
		"an unknown type": build(1, record.Header{Key: headerType, Value: []byte{9}}),
		"a long type":     build(1, record.Header{Key: headerType, Value: []byte{0, 0}}),
		"a flipped bit":   torn,
	} {
		if e, err := decodeEntry(b); !errors.Is(err, errEntry) {
			t.Errorf("%s: %v %v", name, e, err)
		}
	}
}

func stored(from, to uint64) (out []*raft.Log) {
	for i := from; i <= to; i++ {
		out = append(out, &raft.Log{Index: i, Term: 1, Data: fmt.Append(nil, i)})
	}
	return out
}

func TestTheLogStoreKeepsARangeOfEntries(t *testing.T) {
	fs := env.NewMemFS()
	s, giveBack := openForTest(t, fs)
	defer giveBack()
	log := s.log
	spare := uint64(0)
	log.spare = func() uint64 { return spare }
	bounds := func() [2]uint64 {
		first, err := log.FirstIndex()
		last, err2 := log.LastIndex()
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		return [2]uint64{first, last}
	}
	if got := bounds(); got != [2]uint64{0, 0} || !log.IsMonotonic() || log.lastTerm() != 0 {
		t.Fatal(got)
	}
	if err := log.DeleteRange(1, 5); err != nil {
		t.Fatal(err)
	}
	if err := log.StoreLogs(stored(1, 10)); err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]*raft.Log{stored(5, 6), stored(12, 12)} {
		if err := log.StoreLogs(bad); !errors.Is(err, errGap) {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		from, to, spare uint64
		want            [2]uint64
		fails           bool
	}{
		{5, 6, 0, [2]uint64{1, 10}, true},
		{6, 5, 0, [2]uint64{1, 10}, false},
		{9, 10, 0, [2]uint64{1, 8}, false},
		{9, 12, 0, [2]uint64{1, 8}, false},
		{1, 3, 0, [2]uint64{1, 8}, false},
		{1, 7, 3, [2]uint64{4, 8}, false},
		{1, 2, 9, [2]uint64{4, 8}, false},
	} {
		spare = step.spare
		if err := log.DeleteRange(step.from, step.to); (err != nil) != step.fails {
			t.Fatal(step, err)
		}
		if got := bounds(); got != step.want {
			t.Fatalf("%v: %v", step, got)
		}
	}
	if err := log.StoreLog(stored(9, 9)[0]); err != nil {
		t.Fatal(err)
	}
	var e raft.Log
	for i := range uint64(12) {
		err := log.GetLog(i, &e)
		if inside := i >= 4 && i <= 9; inside != (err == nil) || inside && string(e.Data) != fmt.Sprint(i) {
			t.Errorf("entry %d: %q %v", i, e.Data, err)
		}
	}
	spare = 99
	if err := log.DeleteRange(1, 99); err != nil || bounds() != [2]uint64{0, 0} {
		t.Fatal(err, bounds())
	}
	if err := log.StoreLog(stored(10, 10)[0]); err != nil || bounds() != [2]uint64{10, 10} {
		t.Fatal(err, bounds())
	}
	broken := errors.New("broken")
	log.healthy = func() error { return broken }
	if err := log.StoreLog(stored(11, 11)[0]); !errors.Is(err, broken) {
		t.Fatal(err)
	}
}

func TestTheStableStoreTellsTheTruth(t *testing.T) {
	fs := env.NewMemFS()
	if err := fs.MkdirAll("/q", 0o755); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	s, found, err := openStable(fs, "/q/quorum-state", failed)
	if err != nil || found {
		t.Fatal(found, err)
	}
	read := func(s *stable) string {
		term, _ := s.GetUint64([]byte(keyTerm))
		voteTerm, _ := s.GetUint64([]byte(keyVoteTerm))
		vote, _ := s.Get([]byte(keyVote))
		return fmt.Sprint(term, voteTerm, string(vote))
	}
	if got := read(s); got != "0 0" {
		t.Fatal(got)
	}
	if unknown, _ := s.GetUint64([]byte("x")); unknown != 0 || s.Set([]byte("x"), nil) == nil || s.SetUint64([]byte("x"), 1) == nil {
		t.Fatal("a key that is not there")
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.SetUint64([]byte(keyTerm), 4))
	must(s.SetUint64([]byte(keyVoteTerm), 4))
	reopen := func() string {
		again, found, err := openStable(fs, "/q/quorum-state", failed)
		if err != nil || !found {
			t.Fatal(found, err)
		}
		return read(again)
	}
	if got := reopen(); got != "4 0" {
		t.Fatalf("half a vote is stored: %q", got)
	}
	must(s.Set([]byte(keyVote), []byte("me")))
	if got := reopen(); got != "4 4me" {
		t.Fatal(got)
	}

	fs.OnOp(func(op env.Op) error {
		if op.Kind == env.OpWrite {
			return syscall.ENOSPC
		}
		return nil
	})
	must(s.SetUint64([]byte(keyTerm), 5)) // raft would panic
	if !env.IsNoSpace(s.whole()) || s.Set([]byte(keyVote), []byte("me")) == nil {
		t.Fatal("a vote was stored on a full disk")
	}
	fs.OnOp(nil)
	must(s.whole())
	if got := reopen(); got != "5 4me" {
		t.Fatal(got)
	}

	fs.OnOp(func(op env.Op) error {
		if op.Kind == env.OpSync {
			return syscall.EIO
		}
		return nil
	})
	must(s.SetUint64([]byte(keyTerm), 6))
	fs.OnOp(nil)
	if err := <-failed; !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if !errors.Is(s.whole(), syscall.EIO) || s.Set([]byte(keyVote), []byte("me")) == nil || s.SetUint64([]byte(keyVoteTerm), 6) == nil {
		t.Fatal("a store that failed goes on")
	}
	if got := reopen(); got != "5 4me" {
		t.Fatal(got)
	}
}

func TestAFileThatIsNoSnapshotIsRefused(t *testing.T) {
	store := &snapshots{fs: env.NewMemFS(), dir: "/s", logger: slog.New(slog.DiscardHandler)}
	if _, err := store.List(); err == nil {
		t.Fatal("a list without a folder")
	}
	if err := store.fs.MkdirAll("/s", 0o755); err != nil {
		t.Fatal(err)
	}
	sink, err := store.Create(1, 7, 3, raft.Configuration{Servers: []raft.Server{{ID: "1", Address: "a"}}}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Write([]byte("image")); err != nil {
		t.Fatal(err)
	}
	if err := sink.Cancel(); err != nil {
		t.Fatal(err)
	}
	if list, err := store.List(); err != nil || len(list) != 0 {
		t.Fatal("a cancelled snapshot is there")
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	meta, r, err := store.Open(sink.ID())
	if err != nil {
		t.Fatal(err)
	}
	if image, err := io.ReadAll(r); err != nil || string(image) != "image" || meta.Index != 7 || meta.Term != 3 || meta.Configuration.Servers[0].ID != "1" {
		t.Fatal(meta, string(image), err)
	}
	if _, _, err := store.Open("none"); err == nil {
		t.Fatal("opened nothing")
	}
	whole, err := env.ReadFile(store.fs, "/s/"+sink.ID())
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if _, _, err := parseSnapshot(whole[:n]); !errors.Is(err, errSnapshotFile) {
			t.Fatalf("cut at %d: %v", n, err)
		}
		flipped := bytes.Clone(whole)
		flipped[n] ^= 0x40
		if _, _, err := parseSnapshot(flipped); !errors.Is(err, errSnapshotFile) {
			t.Fatalf("flipped at %d: %v", n, err)
		}
	}
}

func FuzzParseSnapshot(f *testing.F) {
	f.Add([]byte(snapshotMagic))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _, _ = parseSnapshot(data) })
}

func TestASoleVoterReachesNobody(t *testing.T) {
	s := newSolo("1", "node-1")
	_, pipeline := s.AppendEntriesPipeline("2", "x")
	for _, err := range []error{
		pipeline, s.AppendEntries("2", "x", nil, nil), s.RequestVote("2", "x", nil, nil), s.RequestPreVote("2", "x", nil, nil),
		s.InstallSnapshot("2", "x", nil, nil, nil), s.TimeoutNow("2", "x", nil, nil),
	} {
		if !errors.Is(err, errNoPeers) {
			t.Error(err)
		}
	}
	if s.LocalAddr() != "node-1" || s.DecodePeer(s.EncodePeer("2", "x")) != "x" {
		t.Error("addresses")
	}
	s.SetHeartbeatHandler(nil)
}

func TestRaftSpeaksQuietlyThroughSlog(t *testing.T) {
	var out strings.Builder
	l := hclog.Logger(&raftLogger{to: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})), name: "raft"})
	l = l.Named("x").With("k", 1).ResetNamed("y")
	l.Trace("t")
	l.Debug("d", "n", 2)
	l.Info("i", "servers", hclog.Fmt("%d-%d", 1, 2))
	l.Warn("w")
	l.Error("e", "odd")
	l.Log(hclog.NoLevel, "n")
	want := `level=DEBUG msg=raft event=t k=1
level=DEBUG msg=raft event=d k=1 n=2
level=DEBUG msg=raft event=i k=1 servers=1-2
level=INFO msg=raft event=w k=1
level=WARN msg=raft event=e k=1
level=DEBUG msg=raft event=n k=1
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if l.Name() != "y" || l.IsTrace() || l.IsDebug() || !l.IsInfo() || !l.IsWarn() || !l.IsError() || l.GetLevel() != hclog.Info || len(l.ImpliedArgs()) != 2 {
		t.Error("levels")
	}
	l.SetLevel(hclog.Trace)
	l.StandardLogger(nil).Print("nobody reads this")
}
