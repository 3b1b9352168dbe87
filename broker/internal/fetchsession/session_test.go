package fetchsession

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/twmb/franz-go/pkg/kerr"
)

// TestTranscripts runs conversations with a cache. Commands:
//
//	cache slots=N settle=SECONDS
//	begin at=SECONDS id=N epoch=N [byid] [fetch=(a/0@10,..)] [forget=(a/0,..)]
//	tell (a/0 bytes=.. hw=.. start=.. code=.., one a line) answers the last begin
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		t.Helper()
		var c *Cache
		var f Fetch
		next := int32(0)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			switch d.Cmd {
			case "cache":
				slots, settle := 0, 0
				d.ScanArgs(t, "slots", &slots)
				d.ScanArgs(t, "settle", &settle)
				c = NewCache(slots, time.Duration(settle)*time.Second, func() int32 { next++; return next })
				return ""
			case "begin":
				return begin(t, d, c, &f)
			case "tell":
				return tell(t, d, c, &f)
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

func begin(t *testing.T, d *datadriven.TestData, c *Cache, f *Fetch) string {
	t.Helper()
	at := 0
	var r Request
	d.ScanArgs(t, "at", &at)
	d.ScanArgs(t, "id", &r.ID)
	d.ScanArgs(t, "epoch", &r.Epoch)
	r.ByID = d.HasArg("byid")
	for _, arg := range d.CmdArgs {
		for _, v := range arg.Vals {
			switch arg.Key {
			case "fetch":
				r.Fetch = append(r.Fetch, parse(t, v))
			case "forget":
				r.Forget = append(r.Forget, parse(t, v).Key)
			}
		}
	}
	var err error
	if *f, err = begun(c, time.Unix(int64(at), 0), r); err != nil {
		var e *kerr.Error
		if !errors.As(err, &e) {
			t.Fatal(err)
		}
		return e.Message + "\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "session %d of %d:", f.ID, c.Len())
	for _, p := range f.Partitions {
		fmt.Fprintf(&b, " %s/%d@%d", p.Topic, p.Index, p.Offset)
	}
	return b.String() + "\n"
}

func tell(t *testing.T, d *datadriven.TestData, c *Cache, f *Fetch) string {
	t.Helper()
	answers := make([]Answer, len(f.Partitions))
	for line := range strings.Lines(d.Input) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		k := parse(t, name).Key
		for i, p := range f.Partitions {
			if p.Key != k {
				continue
			}
			for field := range strings.FieldsSeq(rest) {
				a := &answers[i]
				for format, to := range map[string]any{"bytes=%d": &a.Bytes, "hw=%d": &a.HighWatermark, "start=%d": &a.LogStart, "code=%d": &a.Code} {
					_, _ = fmt.Sscanf(field, format, to)
				}
			}
		}
	}
	told := make([]bool, len(answers))
	c.Tell(f, answers, told)
	var names []string
	for i, p := range f.Partitions {
		if told[i] {
			names = append(names, fmt.Sprintf("%s/%d", p.Topic, p.Index))
		}
	}
	return "told: " + strings.Join(names, " ") + "\n"
}

// begun is Begin with a Fetch of its own.
func begun(c *Cache, now time.Time, r Request) (f Fetch, err error) {
	err = c.Begin(now, r, &f)
	return f, err
}

func parse(t *testing.T, s string) Partition {
	t.Helper()
	name, rest, _ := strings.Cut(s, "/")
	p := Partition{Key: Key{Topic: name}}
	if _, err := fmt.Sscanf(strings.Replace(rest+"@0", "@", " ", 1), "%d %d", &p.Index, &p.Offset); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return p
}

func TestEpochsWrapToOne(t *testing.T) {
	c := NewCache(1, time.Minute, func() int32 { return 7 })
	one := []Partition{{Key: Key{Topic: "a"}}}
	f, err := begun(c, time.Unix(0, 0), Request{Fetch: one})
	if err != nil || f.ID != 7 {
		t.Fatal(f, err)
	}
	c.sessions[7].epoch = math.MaxInt32 - 1
	for _, epoch := range []int32{math.MaxInt32 - 1, math.MaxInt32, 1, 2} {
		if _, err := begun(c, time.Unix(0, 0), Request{ID: 7, Epoch: epoch}); err != nil {
			t.Fatalf("epoch %d: %v", epoch, err)
		}
	}
}

func TestSessionIDsArePositiveAndFree(t *testing.T) {
	ids := []int32{0, math.MinInt32, -1, 5, 5, 6}
	c := NewCache(10, time.Minute, func() int32 { id := ids[0]; ids = ids[1:]; return id })
	for _, want := range []int32{math.MaxInt32, 5, 6} {
		f, err := begun(c, time.Unix(0, 0), Request{Fetch: make([]Partition, 1)})
		if err != nil || f.ID != want {
			t.Errorf("got session %d, %v; want %d", f.ID, err, want)
		}
	}
	if c.Partitions() != 3 {
		t.Errorf("%d partitions", c.Partitions())
	}
}

func TestALaterRequestDoesNotChangeAnEarlierFetch(t *testing.T) {
	c := NewCache(10, time.Minute, func() int32 { return 7 })
	a, b := Partition{Key: Key{Topic: "a"}, Offset: 1}, Partition{Key: Key{Topic: "b"}, Offset: 2}
	if _, err := begun(c, time.Unix(0, 0), Request{Fetch: []Partition{a, b}}); err != nil {
		t.Fatal(err)
	}
	first, _ := begun(c, time.Unix(0, 0), Request{ID: 7, Epoch: 1})
	moved := a
	moved.Offset = 9
	second, _ := begun(c, time.Unix(0, 0), Request{ID: 7, Epoch: 2, Fetch: []Partition{moved}, Forget: []Key{b.Key}})
	if first.Partitions[0].Offset != 1 || len(first.Partitions) != 2 || second.Partitions[0].Offset != 9 || len(second.Partitions) != 1 {
		t.Errorf("first %+v, second %+v", first.Partitions, second.Partitions)
	}
	told := make([]bool, 2)
	c.Tell(&first, []Answer{{Bytes: 1}, {Bytes: 1}}, told) // one of them was forgotten meanwhile
	if !told[0] || !told[1] {
		t.Errorf("told %v", told)
	}
}
