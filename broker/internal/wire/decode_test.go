package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// allocated returns how many bytes f allocates.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

func TestGarbageIsRefusedWithinTheBudget(t *testing.T) {
	everyRequest(t, func(t *testing.T, key, version int16) {
		t.Helper()
		rng := rand.New(rand.NewPCG(uint64(key), uint64(version)))
		d := NewDecoder(key, version, version)
		if _, err := d.Decode(version, nil); err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("version %d: %v", version, err) // and the shape is learnt
		}
		for _, body := range garbage(rng, scrambled(rng, key, version).AppendTo(nil)) {
			var err error
			spent := allocated(func() { _, err = d.Decode(version, body) })
			if err != nil && !errors.Is(err, ErrMalformed) {
				t.Fatalf("version %d: %v", version, err)
			}
			if limit := 2*memoryFloor + 2*memoryFactor*len(body); spent > limit {
				t.Fatalf("version %d: %d bytes cost %d bytes of memory, at most %d", version, len(body), spent, limit)
			}
		}
	})
}

// garbage returns bodies that a hostile client may send.
func garbage(rng *rand.Rand, valid []byte) [][]byte {
	random := make([]byte, 1000)
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	bodies := [][]byte{random, make([]byte, 4000), bytes.Repeat([]byte{0xff}, 1000), bytes.Repeat([]byte{1}, 20_000), bytes.Repeat([]byte{0, 0, 0x40, 0}, 10_000)}
	for range 20 {
		b := bytes.Clone(valid)
		for range 1 + rng.IntN(3) {
			if len(b) > 0 {
				b[rng.IntN(len(b))] = byte(rng.Uint32())
			}
		}
		bodies = append(bodies, b)
	}
	for at := 0; at+4 <= len(valid); at += 1 + len(valid)/16 {
		for _, count := range []uint32{1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 20} {
			b := bytes.Clone(valid)
			binary.BigEndian.PutUint32(b[at:], count)
			bodies = append(bodies, b, append(b, make([]byte, 10_000)...))
		}
	}
	return bodies
}

func TestARequestOfManyTinyElementsIsRefused(t *testing.T) {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	req.Topics = make([]kmsg.MetadataRequestTopic, 200_000)
	_, err := NewDecoder(req.Key(), 0, 13).Decode(12, req.AppendTo(nil))
	if err != nil {
		t.Errorf("16 bytes of an id for each: %v", err)
	}
	one := kmsg.NewPtrDeleteGroupsRequest()
	one.Version = 2
	one.Groups = make([]string, 200_000)
	if _, err := NewDecoder(one.Key(), 0, 2).Decode(2, one.AppendTo(nil)); err != nil {
		t.Errorf("16 bytes of memory for each byte: %v", err)
	}
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Version = 9
	commit.Topics = make([]kmsg.OffsetCommitRequestTopic, 200_000)
	if _, err := NewDecoder(commit.Key(), 0, 9).Decode(9, commit.AppendTo(nil)); !errors.Is(err, ErrMalformed) {
		t.Errorf("64 bytes of memory for each three: %v", err)
	}
}

// TestAMetadataRequestOfLibrdkafka for all topics, byte by byte as its version 2.12 sends it.
func TestAMetadataRequestOfLibrdkafka(t *testing.T) {
	sent := []byte{0, 0, 0, 0, 1, 0, 0}
	req, err := NewDecoder(int16(kmsg.Metadata), 0, 13).Decode(13, sent)
	if m, ok := req.(*kmsg.MetadataRequest); err != nil || !ok || m.Topics != nil {
		t.Errorf("%+v, %v", req, err)
	}
	if _, err := NewDecoder(int16(kmsg.Metadata), 0, 13).Decode(13, append(sent, 0)); !errors.Is(err, ErrMalformed) {
		t.Errorf("with a byte more: %v", err)
	}
}

func TestViolationsAreNamed(t *testing.T) {
	flexible := func(b ...byte) Reader { return NewReader(b, true) }
	plain := func(b ...byte) Reader { return NewReader(b, false) }
	for name, c := range map[string]struct {
		r    Reader
		read func(r *Reader)
		want string
	}{
		"short int8":          {plain(), func(r *Reader) { r.Int8() }, "ends too early"},
		"short int16":         {plain(1), func(r *Reader) { r.Int16() }, "ends too early"},
		"short int32":         {plain(1), func(r *Reader) { r.Int32() }, "ends too early"},
		"short int64":         {plain(1), func(r *Reader) { r.Int64() }, "ends too early"},
		"short id":            {plain(1), func(r *Reader) { r.UUID() }, "ends too early"},
		"null string":         {plain(0xff, 0xff), func(r *Reader) { r.String() }, "null"},
		"null compact":        {flexible(0), func(r *Reader) { r.String() }, "null"},
		"negative length":     {plain(0xff, 0xfe), func(r *Reader) { r.NullString() }, "negative"},
		"negative count":      {plain(0x80, 0, 0, 0), func(r *Reader) { r.ArrayLen(1) }, "negative"},
		"huge count":          {plain(0x7f, 0xff, 0xff, 0xff), func(r *Reader) { r.ArrayLen(1) }, "more elements"},
		"count of wide":       {plain(0, 0, 0, 2, 1, 2, 3), func(r *Reader) { r.ArrayLen(2) }, "more elements"},
		"cut varint":          {flexible(0x80), func(r *Reader) { r.Bytes() }, "varint"},
		"overlong varint":     {flexible(0x80, 0x80, 0x80, 0x80, 0x80, 1), func(r *Reader) { r.Bytes() }, "varint"},
		"varint of 33 bits":   {flexible(0xff, 0xff, 0xff, 0xff, 0x1f), func(r *Reader) { r.Bytes() }, "varint"},
		"too many tags":       {flexible(65), func(r *Reader) { r.Tags(nil) }, "too many"},
		"repeated tag":        {flexible(2, 1, 0, 1, 0), func(r *Reader) { r.Tags(nil) }, "repeated"},
		"unsorted tags":       {flexible(2, 5, 0, 1, 0), func(r *Reader) { r.Tags(nil) }, "repeated"},
		"cut tag":             {flexible(1, 5, 9), func(r *Reader) { r.Tags(nil) }, "ends too early"},
		"bytes after":         {plain(1, 2), func(r *Reader) { r.Int8() }, "after its end"},
		"what a caller found": {plain(1), func(r *Reader) { r.Fail("odd") }, "odd"},
	} {
		c.read(&c.r)
		if err := c.r.Done(); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want one about %q", name, err, c.want)
		}
	}
}

func TestHeaders(t *testing.T) {
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID("someone"))
	req := kmsg.NewPtrHeartbeatRequest()
	for version := range int16(5) {
		req.Version = version
		frame := f.AppendRequest(nil, req, 42)[4:]
		h, body, err := ReadHeader(frame, req.IsFlexible())
		if err != nil || h.Key != 12 || h.Version != version || h.Correlation != 42 || string(h.ClientID) != "someone" {
			t.Fatalf("version %d: %+v, %v", version, h, err)
		}
		if !bytes.Equal(body, req.AppendTo(nil)) {
			t.Fatalf("version %d: body is %x", version, body)
		}
		for cut := range len(frame) - len(body) {
			if _, _, err := ReadHeader(frame[:cut], req.IsFlexible()); !errors.Is(err, ErrMalformed) {
				t.Fatalf("version %d: %d bytes of a header: %v", version, cut, err)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 1))
	decoders := map[[2]int16]*Decoder{}
	for key := range int16(100) {
		if req := kmsg.RequestForKey(key); req != nil {
			for version := range req.MaxVersion() + 1 {
				decoders[[2]int16{key, version}] = NewDecoder(key, version, version)
			}
			f.Add(key, req.MaxVersion(), scrambled(rng, key, req.MaxVersion()).AppendTo(nil))
		}
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		d := decoders[[2]int16{key, version}]
		if d == nil {
			return
		}
		req, err := d.Decode(version, body)
		if err == nil && req.GetVersion() != version {
			t.Errorf("version %d was decoded as %d", version, req.GetVersion())
		}
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Error(err)
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte("\x00\x12\x00\x03\x00\x00\x00\x01\x00\x01x\x00"), true)
	f.Add([]byte("\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff"), false)
	f.Fuzz(func(t *testing.T, frame []byte, flexible bool) {
		h, body, err := ReadHeader(frame, flexible)
		if err == nil && len(h.ClientID)+len(body)+10 > len(frame) {
			t.Errorf("a header of %d bytes has %d of client id and %d of body", len(frame), len(h.ClientID), len(body))
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	for range 10 {
		topic := "some-topic"
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: &topic})
	}
	body := req.AppendTo(nil)
	d := NewDecoder(req.Key(), 0, 13)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Decode(12, body); err != nil {
			b.Fatal(err)
		}
	}
}
