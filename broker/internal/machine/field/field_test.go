package field

import (
	"encoding/binary"
	"errors"
	"testing"
)

func TestFieldsComeBack(t *testing.T) {
	b := binary.BigEndian.AppendUint16(nil, 7)
	b = AppendString(b, "plain")
	b = AppendNullableString(b, nil)
	b = AppendNullableString(b, new("some"))
	b = AppendBytes(b, []byte{1, 2})
	b = AppendCompactString(b, "compact")
	b = append(b, 0)                  // a null compact string
	b = append(b, 3, 8, 9)            // compact bytes
	b = append(b, 2, 5, 1, 1, 6, 0)   // two tagged fields
	b = append(b, 0, 0, 0, 3, 255, 1) // an int32, a varint of two bytes

	r := NewReader(b)
	tags := map[int]int{}
	if n := r.Int16(); n != 7 {
		t.Errorf("int16 %d", n)
	}
	if s := r.String(); s != "plain" {
		t.Errorf("string %q", s)
	}
	if s := r.NullableString(); s != nil {
		t.Errorf("null is %q", *s)
	}
	if s := r.NullableString(); s == nil || *s != "some" {
		t.Error("nullable string")
	}
	if v := r.Bytes(); len(v) != 2 || v[1] != 2 {
		t.Errorf("bytes %v", v)
	}
	if s := r.CompactString(); s != "compact" {
		t.Errorf("compact string %q", s)
	}
	if s := r.CompactNullableString(); s != nil {
		t.Errorf("compact null is %q", *s)
	}
	if v := r.CompactBytes(); len(v) != 2 || v[0] != 8 {
		t.Errorf("compact bytes %v", v)
	}
	r.Tags(func(tag int, value []byte) { tags[tag] = len(value) })
	if len(tags) != 2 || tags[5] != 1 || tags[6] != 0 {
		t.Errorf("tags %v", tags)
	}
	if r.Len() != 6 || r.Int32() != 3 || r.Uvarint() != 255 || r.End() != nil {
		t.Errorf("the rest: %v", r.Err())
	}
}

func TestTheFirstErrorStays(t *testing.T) {
	for what, read := range map[string]func(*Reader){
		"a short int16":          func(r *Reader) { r.Int64(); r.Int16() },
		"a short int32":          func(r *Reader) { r.Int32() },
		"a short int64":          func(r *Reader) { r.Int64() },
		"a null string":          func(r *Reader) { _ = r.String() },
		"a null compact string":  func(r *Reader) { r.Int16(); _ = r.CompactString() },
		"an endless varint":      func(r *Reader) { *r = *NewReader([]byte{0xff}); r.Uvarint() },
		"bytes that are missing": func(r *Reader) { r.Bytes() },
		"bytes that are left":    func(*Reader) {},
		"a failure of others":    func(r *Reader) { r.Fail("reason") },
	} {
		r := NewReader([]byte{0xff, 0xff, 0})
		read(r)
		if err := r.End(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
		if r.Int16() != 0 || r.Uvarint() != 0 || r.CompactNullableString() != nil {
			t.Errorf("%s: fields after the error", what)
		}
		r.Tags(func(int, []byte) { t.Errorf("%s: tags after the error", what) })
	}
}
