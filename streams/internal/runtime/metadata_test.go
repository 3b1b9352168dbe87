package runtime

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCommitMetadataIsThatOfKafkaStreams: the texts were written by its
// TopicPartitionMetadata.
func TestCommitMetadataIsThatOfKafkaStreams(t *testing.T) {
	for want, m := range map[string]Metadata{
		"Av//////////":                         {Time: -1},
		"AgAAAAAAAAAA":                         {},
		"AgAAAU1hVXTg":                         {Time: 1431857100000},
		"AgAAAAAAAABkAAAAAQAAAAJzdAAAAAAAAAAF": {Time: 100, Marks: map[string]int64{"st": 5}},
	} {
		if got := m.encode(); got != want {
			t.Errorf("%v is %s, want %s", m, got, want)
		}
		if m.Marks == nil {
			m.Marks = map[string]int64{}
		}
		if diff := cmp.Diff(m, DecodeMetadata(want)); diff != "" {
			t.Errorf("%s: %s", want, diff)
		}
	}
	two := DecodeMetadata("AgAAAAAAAABkAAAAAgAAAAJzdAAAAAAAAAAFAAAABmNvdW50cwAAAAAAABtY")
	if diff := cmp.Diff(Metadata{100, map[string]int64{"st": 5, "counts": 7000}}, two); diff != "" {
		t.Error(diff)
	}
}

func TestCommitMetadataOfOthersTellsNothing(t *testing.T) {
	for _, bad := range []string{"", "!", "AA==", "AwAAAU1hVXTg"} {
		if diff := cmp.Diff(Metadata{-1, map[string]int64{}}, DecodeMetadata(bad)); diff != "" {
			t.Errorf("%q: %s", bad, diff)
		}
	}
	for _, cut := range []string{"AgAAAAAAAABkAAAAAQAAAA==", "AgAAAAAAAABkAAAAAQAAAAJzdAAA"} {
		if diff := cmp.Diff(Metadata{100, map[string]int64{}}, DecodeMetadata(cut)); diff != "" {
			t.Errorf("%q: %s", cut, diff)
		}
	}
}

// TestTaskRemembersAcrossPartitions: marks are part of every commit, and of
// several that were committed apart the largest counts.
func TestTaskRemembersAcrossPartitions(t *testing.T) {
	r := newRig(t, nil)
	r.Resume(Offset{TP: TP{"in", 0}, Offset: 5, Metadata: Metadata{Time: 7, Marks: map[string]int64{"a": 3, "b": 1}}.encode()}, true)
	r.Resume(Offset{TP: TP{"in2", 0}, Offset: 5, Metadata: Metadata{Time: 9, Marks: map[string]int64{"a": 2, "c": 4}}.encode()}, true)
	for name, want := range map[string]int64{"a": 3, "b": 1, "c": 4} {
		if n, ok := r.Remembered(name); !ok || n != want {
			t.Errorf("%s is %d, %v; want %d", name, n, ok, want)
		}
	}
	if _, ok := r.Remembered("d"); ok {
		t.Error("remembers what nobody said")
	}
}
