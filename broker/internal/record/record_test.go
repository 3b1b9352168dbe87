package record_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/internal/compress"
)

const plenty = 64 << 20

func codecs() []compress.Codec {
	return []compress.Codec{compress.None, compress.Gzip, compress.Snappy, compress.LZ4, compress.Zstd}
}

func sample(o record.Options) record.Batch {
	b := record.NewBuilder(o)
	b.Append(1000, []byte("k0"), []byte("v0"), []record.Header{{Key: "h", Value: []byte("x")}, {Key: "", Value: nil}})
	b.Append(1007, nil, []byte{}, nil)
	b.Append(1003, []byte{}, nil, nil)
	return b.Build()
}

// seal puts the right CRC on a batch that a test has changed.
func seal(b record.Batch) record.Batch {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func collect(t require, b record.Batch) []record.Record {
	t.Helper()
	var out []record.Record
	for r, err := range b.Records(plenty) {
		if err != nil {
			t.Fatalf("walk: %v", err)
		}
		out = append(out, r)
	}
	return out
}

type require interface {
	Helper()
	Fatalf(format string, args ...any)
}

func TestAccessorsReadWhatAnotherImplementationWrote(t *testing.T) {
	k := kmsg.NewRecordBatch()
	k.FirstOffset, k.PartitionLeaderEpoch, k.Magic = 77, 5, 2
	k.Attributes = 4 | 1<<3 | 1<<4 | 1<<5 | 1<<6
	k.LastOffsetDelta, k.NumRecords = 2, 3
	k.FirstTimestamp, k.MaxTimestamp = 1000, 1007
	k.ProducerID, k.ProducerEpoch, k.FirstSequence = 9, 3, 1<<31-2
	k.Records = []byte("body")
	k.Length = 49 + 4
	b := record.Batch(k.AppendTo(nil))
	got := []any{
		b.BaseOffset(), b.LastOffset(), b.NextOffset(), b.Length(), b.LeaderEpoch(), b.Magic(), b.Attributes(), b.Codec(),
		b.IsLogAppendTime(), b.IsTransactional(), b.IsControl(), b.HasDeleteHorizon(), b.LastOffsetDelta(),
		b.BaseTimestamp(), b.MaxTimestamp(), b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.LastSequence(), b.Count(), b.HasProducer(),
	}
	want := []any{
		int64(77), int64(79), int64(80), 65, int32(5), int8(2), int16(124), compress.Zstd,
		true, true, true, true, int32(2), int64(1000), int64(1007), int64(9), int16(3), int32(1<<31 - 2), int32(0), int32(3), true,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
}

func TestBuilderWritesWhatAnotherImplementationReads(t *testing.T) {
	b := sample(record.Options{BaseOffset: 5, LeaderEpoch: 2, Producer: &record.Producer{ID: 8, Epoch: 1, Sequence: 40}, Transactional: true})
	var k kmsg.RecordBatch
	if err := k.ReadFrom(b); err != nil {
		t.Fatal(err)
	}
	want := kmsg.RecordBatch{
		FirstOffset: 5, Length: int32(len(b) - 12), PartitionLeaderEpoch: 2, Magic: 2, CRC: int32(b.CRC()), Attributes: 1 << 4,
		LastOffsetDelta: 2, FirstTimestamp: 1000, MaxTimestamp: 1007, ProducerID: 8, ProducerEpoch: 1, FirstSequence: 40, NumRecords: 3, Records: b[61:],
	}
	if d := cmp.Diff(want, k); d != "" {
		t.Fatal(d)
	}
	var got []kmsg.Record
	for raw := k.Records; len(raw) > 0; {
		n, used := binary.Varint(raw)
		var r kmsg.Record
		if err := r.ReadFrom(raw[:used+int(n)]); err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
		raw = raw[used+int(n):]
	}
	wantRecords := []kmsg.Record{
		{Key: []byte("k0"), Value: []byte("v0"), Headers: []kmsg.Header{{Key: "h", Value: []byte("x")}, {}}},
		{TimestampDelta64: 7, OffsetDelta: 1, Value: []byte{}},
		{TimestampDelta64: 3, OffsetDelta: 2, Key: []byte{}},
	}
	if d := cmp.Diff(wantRecords, got, cmpopts.IgnoreFields(kmsg.Record{}, "Length", "TimestampDelta"), cmpopts.EquateEmpty()); d != "" {
		t.Fatal(d)
	}
}

func TestWalkYieldsWhatWasAppended(t *testing.T) {
	want := []record.Record{
		{Offset: 50, Timestamp: 1000, Key: []byte("k0"), Value: []byte("v0"), Headers: []record.Header{{Key: "h", Value: []byte("x")}, {Key: ""}}},
		{Offset: 51, Timestamp: 1007, Value: []byte{}},
		{Offset: 52, Timestamp: 1003, Key: []byte{}},
	}
	for _, codec := range codecs() {
		b := sample(record.Options{BaseOffset: 50, Codec: codec})
		if err := b.Check(); err != nil {
			t.Fatalf("%s: %v", codec, err)
		}
		if d := cmp.Diff(want, collect(t, b)); d != "" {
			t.Fatalf("%s: %s", codec, d)
		}
	}
}

func TestWalkStopsWhenTheReaderDoes(t *testing.T) {
	n := 0
	for range sample(record.Options{}).Records(plenty) {
		n++
		break
	}
	if n != 1 {
		t.Fatal(n)
	}
}

func TestRoundTripOfAnyRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bytesOrNil := rapid.Custom(func(t *rapid.T) []byte {
			if rapid.Bool().Draw(t, "null") {
				return nil
			}
			return rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes")
		})
		o := record.Options{BaseOffset: rapid.Int64Range(0, 1<<40).Draw(t, "base"), Codec: rapid.SampledFrom(codecs()).Draw(t, "codec")}
		b := record.NewBuilder(o)
		var want []record.Record
		latest := int64(-1 << 62)
		for i := range rapid.IntRange(1, 20).Draw(t, "n") {
			r := record.Record{
				Offset: o.BaseOffset + int64(i), Timestamp: rapid.Int64Range(-1, 1<<45).Draw(t, "ts"),
				Key: bytesOrNil.Draw(t, "key"), Value: bytesOrNil.Draw(t, "value"),
			}
			for range rapid.IntRange(0, 3).Draw(t, "headers") {
				r.Headers = append(r.Headers, record.Header{Key: rapid.String().Draw(t, "hk"), Value: bytesOrNil.Draw(t, "hv")})
			}
			latest = max(latest, r.Timestamp)
			want = append(want, r)
			b.Append(r.Timestamp, r.Key, r.Value, r.Headers)
		}
		got := b.Build()
		if err := got.Check(); err != nil {
			t.Fatal(err)
		}
		if got.MaxTimestamp() != latest || int(got.Count()) != len(want) || got.LastOffset() != o.BaseOffset+int64(len(want))-1 {
			t.Fatal("header does not describe the records")
		}
		if d := cmp.Diff(want, collect(t, got)); d != "" {
			t.Fatal(d)
		}
	})
}

func TestSplitCutsByLength(t *testing.T) {
	one, two := sample(record.Options{}), sample(record.Options{Codec: compress.Zstd})
	both := slices.Concat([]byte(one), []byte(two))
	first, rest, err := record.Split(both)
	if err != nil || !bytes.Equal(first, one) || !bytes.Equal(rest, two) {
		t.Fatal("first batch", err)
	}
	if cap(first) != len(first) {
		t.Fatal("the view reaches beyond its batch")
	}
	for n := range one {
		if _, _, err := record.Split(both[:n]); !errors.Is(err, record.ErrShort) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

func TestSplitRefuses(t *testing.T) {
	with := func(change func(b record.Batch)) record.Batch {
		b := slices.Clone(sample(record.Options{}))
		change(b)
		return b
	}
	length := func(n int32) func(record.Batch) {
		return func(b record.Batch) { binary.BigEndian.PutUint32(b[8:], uint32(n)) }
	}
	cases := map[string]struct {
		b    []byte
		want error
	}{
		"nothing":                 {nil, record.ErrShort},
		"a length below a header": {with(length(48)), record.ErrCorrupt},
		"a negative length":       {with(length(-1)), record.ErrCorrupt},
		"the least int32":         {with(length(-1 << 31)), record.ErrCorrupt},
		"a length beyond the end": {with(length(1<<31 - 1)), record.ErrShort},
		"magic 3":                 {with(func(b record.Batch) { b[16] = 3 }), record.ErrCorrupt},
		"zeros":                   {make([]byte, 100), record.ErrCorrupt},
		"a message set, magic 0":  {with(func(b record.Batch) { b[16] = 0 }), record.ErrOldFormat},
		"a message set, magic 1":  {with(func(b record.Batch) { b[16] = 1 }), record.ErrOldFormat},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, _, err := record.Split(c.b); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err := record.Batch(c.b).Check(); !errors.Is(err, c.want) {
				t.Fatalf("check: got %v, want %v", err, c.want)
			}
		})
	}
}

func TestCheckRefuses(t *testing.T) {
	put32 := func(at int, v int32) func(record.Batch) {
		return func(b record.Batch) { binary.BigEndian.PutUint32(b[at:], uint32(v)) }
	}
	producer := record.Options{Producer: &record.Producer{ID: 4, Epoch: 0, Sequence: 0}}
	cases := map[string]struct {
		from   record.Options
		change func(record.Batch)
		raw    bool // leave the CRC as it was
		want   error
	}{
		"a wrong crc":                         {change: put32(17, 1), raw: true, want: record.ErrCorrupt},
		"no records":                          {change: put32(57, 0), want: record.ErrInvalid},
		"a negative count":                    {change: put32(57, -1), want: record.ErrInvalid},
		"a negative last offset delta":        {change: put32(23, -1), want: record.ErrInvalid},
		"a delta that is not count-1":         {change: put32(23, 5), want: record.ErrInvalid},
		"an unknown codec":                    {change: func(b record.Batch) { b[22] = 5 }, want: record.ErrInvalid},
		"a count that the bytes cannot hold":  {change: func(b record.Batch) { put32(57, 1000)(b); put32(23, 999)(b) }, want: record.ErrInvalid},
		"a producer without a sequence":       {from: producer, change: put32(53, -1), want: record.ErrInvalid},
		"a producer without an epoch":         {from: producer, change: func(b record.Batch) { b[51], b[52] = 255, 255 }, want: record.ErrInvalid},
		"a producer id below none":            {change: func(b record.Batch) { b[50] = 0xfe }, want: record.ErrInvalid},
		"a transaction without a producer":    {change: func(b record.Batch) { b[22] |= 1 << 4 }, want: record.ErrInvalid},
		"a good batch with a byte cut off it": {change: put32(8, int32(len(sample(record.Options{})))-12-1), want: record.ErrCorrupt},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := slices.Clone(sample(c.from))
			c.change(b)
			if !c.raw {
				seal(b)
			}
			if err := b.Check(); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestCheckSeesEveryFlippedBitBehindTheLength(t *testing.T) {
	b := sample(record.Options{Codec: compress.LZ4})
	for bit := 16 * 8; bit < len(b)*8; bit++ {
		bad := slices.Clone(b)
		bad[bit/8] ^= 1 << (bit % 8)
		if bad.Check() == nil {
			t.Fatalf("bit %d flipped and not noticed", bit)
		}
	}
}

func TestStampsLeaveTheCRCAlone(t *testing.T) {
	b := sample(record.Options{})
	crc := b.CRC()
	b.SetBaseOffset(1 << 40)
	b.SetLeaderEpoch(12)
	if b.BaseOffset() != 1<<40 || b.LeaderEpoch() != 12 || b.CRC() != crc || b.Check() != nil {
		t.Fatal("stamping broke the batch")
	}
}

func TestAppendTimeStandsForEveryRecord(t *testing.T) {
	b := sample(record.Options{})
	b.SetAppendTime(9000)
	if err := b.Check(); err != nil || !b.IsLogAppendTime() || b.MaxTimestamp() != 9000 {
		t.Fatal(err)
	}
	for _, r := range collect(t, b) {
		if r.Timestamp != 9000 {
			t.Fatalf("record %d has timestamp %d", r.Offset, r.Timestamp)
		}
	}
	if built := sample(record.Options{AppendTime: true}); !built.IsLogAppendTime() {
		t.Fatal("builder")
	}
}

func TestSequencesWrapAfterTheLargestInt32(t *testing.T) {
	const top = 1<<31 - 1
	for _, c := range [][3]int32{{0, 0, 0}, {5, 3, 8}, {top, 0, top}, {top, 1, 0}, {top - 1, 3, 1}, {top, top, top - 1}} {
		if got := record.AddSequence(c[0], c[1]); got != c[2] {
			t.Errorf("%d + %d = %d, want %d", c[0], c[1], got, c[2])
		}
	}
}

func TestCheckRecordsHoldsTheBodyToTheHeader(t *testing.T) {
	var keyless []int32
	note := func(i int32, r record.Record) {
		if r.Key == nil {
			keyless = append(keyless, i)
		}
	}
	check := func(b record.Batch) (int64, error) {
		body, err := b.Body(nil, nil, plenty)
		if err != nil {
			return 0, err
		}
		return b.CheckRecords(body, note)
	}
	good := sample(record.Options{BaseOffset: 3, Codec: compress.Gzip})
	if latest, err := check(good); err != nil || latest != 1007 || !slices.Equal(keyless, []int32{1}) {
		t.Fatal(latest, err, keyless)
	}
	plain := sample(record.Options{})
	fewer := slices.Clone(plain)
	binary.BigEndian.PutUint32(fewer[57:], 2)
	more := slices.Clone(plain)
	binary.BigEndian.PutUint32(more[57:], 4)
	gap := slices.Clone(plain)
	gap[61+3] = 2 // offset delta of the first record
	for name, b := range map[string]record.Batch{"fewer records than bytes": fewer, "more records than bytes": more, "an offset gap": gap} {
		if _, err := check(b); !errors.Is(err, record.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRecompressKeepsRecordsAndHeader(t *testing.T) {
	for _, from := range codecs() {
		for _, to := range codecs() {
			b := sample(record.Options{Codec: from, Producer: &record.Producer{ID: 3, Epoch: 2, Sequence: 9}})
			body, err := b.Body(nil, nil, plenty)
			if err != nil {
				t.Fatal(err)
			}
			got, err := b.Recompress(nil, body, to)
			if err != nil || got.Check() != nil || got.Codec() != to || got.BaseSequence() != 9 {
				t.Fatalf("%s to %s: %v", from, to, err)
			}
			if d := cmp.Diff(collect(t, b), collect(t, got)); d != "" {
				t.Fatal(d)
			}
		}
	}
	if _, err := sample(record.Options{}).Recompress(nil, nil, 7); !errors.Is(err, compress.ErrUnknownCodec) {
		t.Fatal(err)
	}
}

func TestMaxTimestampCanBeCorrected(t *testing.T) {
	b := sample(record.Options{})
	b.SetMaxTimestamp(5)
	if b.MaxTimestamp() != 5 || b.Check() != nil {
		t.Fatal("batch broken")
	}
}

func TestWalkIsBoundedByTheLimit(t *testing.T) {
	for _, codec := range codecs()[1:] {
		b := record.NewBuilder(record.Options{Codec: codec})
		b.Append(0, nil, make([]byte, 1<<20), nil)
		batch := b.Build()
		var last error
		for _, err := range batch.Records(1 << 19) {
			last = err
		}
		if !errors.Is(last, compress.ErrTooLarge) || !errors.Is(last, record.ErrInvalid) {
			t.Errorf("%s: %v", codec, last)
		}
	}
}

func TestControlRecordsOfTransactions(t *testing.T) {
	for _, kind := range []record.ControlType{record.Abort, record.Commit} {
		want := record.Control{Type: kind, CoordinatorEpoch: 17}
		b := record.NewEndTxn(9, 4, want, 123)
		if err := b.Check(); err != nil {
			t.Fatal(err)
		}
		got, err := b.Control()
		if err != nil || got != want || !got.IsEndTxn() || !b.IsControl() || !b.IsTransactional() || b.ProducerID() != 9 || b.ProducerEpoch() != 4 {
			t.Fatal(got, err)
		}
		r := collect(t, b)[0]
		if !bytes.Equal(r.Key, []byte{0, 0, 0, byte(kind)}) || !bytes.Equal(r.Value, []byte{0, 0, 0, 0, 0, 17}) {
			t.Fatalf("bytes differ from Kafka's: % x, % x", r.Key, r.Value)
		}
	}
}

func TestParseControl(t *testing.T) {
	cases := map[string]struct {
		key, value []byte
		want       record.Control
		bad        bool
	}{
		"a short key":               {key: []byte{0, 0, 0}, bad: true},
		"a null key":                {bad: true},
		"a negative version":        {key: []byte{255, 255, 0, 0}, bad: true},
		"a commit without an epoch": {key: []byte{0, 0, 0, 1}, value: []byte{0, 0, 0, 0}, bad: true},
		"a later version":           {key: []byte{0, 1, 0, 1, 9}, value: []byte{0, 1, 0, 0, 0, 2, 9, 9}, want: record.Control{Type: record.Commit, CoordinatorEpoch: 2}},
		"a leader change":           {key: []byte{0, 0, 0, 2}, want: record.Control{Type: record.LeaderChange, CoordinatorEpoch: -1}},
		"a type of the future":      {key: []byte{0, 0, 0, 99}, want: record.Control{Type: 99, CoordinatorEpoch: -1}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := record.ParseControl(c.key, c.value)
			if c.bad {
				if !errors.Is(err, record.ErrInvalid) {
					t.Fatal(err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Fatal(got, err)
			}
		})
	}
	empty := slices.Clone(record.NewEndTxn(1, 1, record.Control{}, 0)[:61])
	binary.BigEndian.PutUint32(empty[57:], 0)
	if _, err := empty.Control(); !errors.Is(err, record.ErrInvalid) {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint32(empty[57:], 1)
	if _, err := empty.Control(); !errors.Is(err, record.ErrInvalid) {
		t.Fatal(err)
	}
	packed := slices.Clone(record.NewEndTxn(1, 1, record.Control{}, 0))
	packed[22] |= 1
	if _, err := packed.Control(); !errors.Is(err, record.ErrInvalid) {
		t.Fatal(err)
	}
}

func TestBuilderCanBeUsedAgain(t *testing.T) {
	b := record.NewBuilder(record.Options{})
	b.Append(5, []byte("a"), nil, nil)
	first := b.Build()
	kept := slices.Clone(first)
	if b.Count() != 1 || b.Size() != len(first) {
		t.Fatal(b.Count(), b.Size())
	}
	b.Reset()
	b.Append(9, []byte("b"), nil, nil)
	second := b.Build()
	if !bytes.Equal(first, kept) || second.BaseTimestamp() != 9 || second.Count() != 1 {
		t.Fatal("batches share state")
	}
}

func TestBuilderRefusesACodecThatDoesNotExist(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	b := record.NewBuilder(record.Options{Codec: 9})
	b.Append(0, nil, nil, nil)
	b.Build()
}
