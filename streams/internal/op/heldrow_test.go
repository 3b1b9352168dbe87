package op

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/streams/processor"
	"github.com/weirstream/weir/streams/serde"
)

// heldRows is what reads the values that operators hold back.
func heldRows() map[string]func([]byte) error {
	text := codec[string]{serde.String(), "t"}
	return map[string]func([]byte) error{
		"waiting": func(b []byte) error { _, err := waitingCodec[string]{text}.Decode(b); return err },
		"held":    func(b []byte) error { _, err := heldValueCodec[string]{text}.Decode(b); return err },
	}
}

// TestHeldRowsComeBack pins the bytes of both layouts.
func TestHeldRowsComeBack(t *testing.T) {
	text := codec[string]{serde.String(), "t"}
	headers := []processor.Header{{Key: "a", Value: []byte("1")}, {Key: "b"}, {Key: "c", Value: []byte{}}}
	w := waiting[string]{at: 1, now: row[string]{value: "new", ok: true, at: 2}, headers: headers}
	b, err := waitingCodec[string]{text}.Append(nil, w)
	if want := "5701" + "0000000000000001" + "0000000000000002" + "046e6577" + "00" + "03" + "02610231" + "026200" + "026301"; err != nil || hex.EncodeToString(b) != want {
		t.Fatalf("%x, want %s (%v)", b, want, err)
	}
	back, err := waitingCodec[string]{text}.Decode(b)
	if err != nil || back.at != 1 || back.now != w.now || back.prior.ok || cmp.Diff(headers, back.headers) != "" {
		t.Errorf("%+v, %v", back, err)
	}
	h := heldValue[string]{value: "", headers: headers[:1]}
	if b, err = (heldValueCodec[string]{text}).Append(nil, h); err != nil || hex.EncodeToString(b) != "5701"+"01"+"01"+"02610231" {
		t.Fatalf("%x (%v)", b, err)
	}
	if back, err := (heldValueCodec[string]{text}).Decode(b); err != nil || cmp.Diff(h.headers, back.headers) != "" {
		t.Errorf("%+v, %v", back, err)
	}
	place := heldCodec[string]{text}
	if b, err = place.Append(nil, held[string]{at: 258, key: "k", count: 3}); err != nil || hex.EncodeToString(b) != "00000000000001026b00000003" {
		t.Fatalf("%x (%v)", b, err)
	}
	if back, err := place.Decode(b); err != nil || back != (held[string]{258, "k", 3}) {
		t.Errorf("%+v, %v", back, err)
	}
	if _, err := place.Decode(b[:11]); !errors.Is(err, statestore.ErrCorrupt) {
		t.Errorf("short key: %v", err)
	}
}

// TestTornHeldRowsAreRefused: no beginning of a row is a row, nothing may follow
// one, and what Kafka Streams writes to such a changelog is not taken for ours.
func TestTornHeldRowsAreRefused(t *testing.T) {
	text := codec[string]{serde.String(), "t"}
	headers := []processor.Header{{Key: "a", Value: []byte("1")}, {Key: "b"}}
	rows := map[string][]byte{}
	rows["waiting"], _ = waitingCodec[string]{text}.Append(nil, waiting[string]{at: 1, now: row[string]{value: "new", ok: true, at: 2}, prior: row[string]{value: "old", ok: true}, headers: headers})
	rows["held"], _ = heldValueCodec[string]{text}.Append(nil, heldValue[string]{value: "new", headers: headers})
	for name, read := range heldRows() {
		row := rows[name]
		if err := read(row); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for n := range row {
			if err := read(row[:n]); !errors.Is(err, statestore.ErrCorrupt) {
				t.Errorf("%s: %d of %d bytes: %v", name, n, len(row), err)
			}
		}
		if err := read(append(slices.Clone(row), 0)); !errors.Is(err, statestore.ErrCorrupt) || !strings.Contains(err.Error(), "too many") {
			t.Errorf("%s: one byte more: %v", name, err)
		}
		kafka, _ := hex.DecodeString("0000018bcfe568000000000000000007000000026a6e00000000") // a record context
		if err := read(kafka); !errors.Is(err, statestore.ErrCorrupt) || !strings.Contains(err.Error(), "begins with 0000") {
			t.Errorf("%s: bytes of Kafka Streams: %v", name, err)
		}
		newer := bytes.Replace(row, []byte("W\x01"), []byte("W\x02"), 1)
		if err := read(newer); !errors.Is(err, statestore.ErrCorrupt) {
			t.Errorf("%s: another format: %v", name, err)
		}
	}
}
