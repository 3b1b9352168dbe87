package commitlog

import (
	"testing"

	"github.com/weirstream/weir/internal/env"
)

// TestDeletedRecordsStayDeletedBeforeTheirSegmentsDo cuts the power when the checkpoint
// no longer has to tell the start, as a segment begins there, but the removal of the
// segments before it is not durable yet.
func TestDeletedRecordsStayDeletedBeforeTheirSegmentsDo(t *testing.T) {
	fsys := env.NewMemFS()
	d := openDir(t, fsys, DirOptions{})
	l := openLog(t, d, "a", Config{SegmentBytes: 150}, nil)
	for range 4 {
		mustAppend(t, l, batchOf(0, 1, "a record that fills a segment by itself, so that each has its own"))
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	l.SetHighWatermark(4)
	for step, want := range []int64{2, 3} {
		if err := l.SetStartOffset(want); err != nil {
			t.Fatal(err)
		}
		if err := d.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		disk, _ := fsys.Crash(env.KeepNothing, 0)
		after := openDir(t, disk, DirOptions{})
		if got := openLog(t, after, "a", Config{}, nil).StartOffset(); got != want {
			t.Errorf("step %d: the log starts at %d, want %d", step, got, want)
		}
	}
	if err := d.sync([]*Log{l}); err != nil {
		t.Fatal(err)
	}
	if err := d.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if len(d.starts.Offsets) != 0 {
		t.Errorf("the checkpoint still tells %v", d.starts.Offsets)
	}
}
