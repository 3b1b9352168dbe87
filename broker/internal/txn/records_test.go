package txn

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/machine"
	"github.com/weirstream/weir/broker/internal/machine/field"
)

func example() *transaction {
	return &transaction{
		producerID: 42, previousID: 41, nextID: 43, epoch: 7, timeout: 60_000, state: PrepareCommit,
		partitions: []TopicPartition{{"a", 3}, {"b", 0}, {"b", 1}}, updated: 1_700_000_000_000, started: 1_699_999_999_999, version: version2,
	}
}

func same(t *testing.T, want, got *transaction) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(transaction{}), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

// TestGoldenBytes pins what is written to what Apache Kafka 4.3.1 writes.
func TestGoldenBytes(t *testing.T) {
	empty := &transaction{producerID: 42, previousID: 42, nextID: noProducer, timeout: 60_000, updated: 1_700_000_000_000, started: -1}
	complete := *example()
	complete.state, complete.partitions, complete.nextID = CompleteCommit, nil, noProducer
	for name, test := range map[string]struct {
		got  []byte
		want string
	}{
		"key":   {encodeKey("tx"), "0000 0002 7478"},
		"empty": {empty.encode(), "0001 000000000000002a 0000 0000ea60 00 00 0000018bcfe56800 ffffffffffffffff 01 0008 000000000000002a"},
		"prepared": {
			example().encode(),
			"0001 000000000000002a 0007 0000ea60 02 03 0261 02 00000003 00 0262 03 00000000 00000001 00" +
				"0000018bcfe56800 0000018bcfe567ff 03 0008 0000000000000029 0108 000000000000002b 0202 0002",
		},
		"complete": {
			complete.encode(),
			"0001 000000000000002a 0007 0000ea60 04 01 0000018bcfe56800 0000018bcfe567ff 02 0008 0000000000000029 0202 0002",
		},
	} {
		want, err := hex.DecodeString(strings.ReplaceAll(test.want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(test.got, want) {
			t.Errorf("%s: got  %x\nwant %x", name, test.got, want)
		}
	}
}

// TestRecordsAgreeWithKmsg reads with one codec what the other wrote, in every version.
func TestRecordsAgreeWithKmsg(t *testing.T) {
	for version := range int16(valueVersion + 1) {
		v := kmsg.NewTxnMetadataValue()
		v.Version, v.ProducerID, v.ProducerEpoch, v.TimeoutMillis, v.State = version, 42, 7, 60_000, kmsg.TransactionStatePrepareCommit
		v.LastUpdateTimestamp, v.StartTimestamp = 1_700_000_000_000, 1_699_999_999_999
		v.Topics = []kmsg.TxnMetadataValueTopic{{Topic: "b", Partitions: []int32{1, 0}}, {Topic: "a", Partitions: []int32{3}}}
		want := example()
		if version >= 1 {
			v.PreviousProducerID, v.NextProducerID, v.ClientTransactionVersion = 41, 43, version2
			v.UnknownTags.Set(9, []byte("later"))
		} else {
			want.previousID, want.nextID, want.version = noProducer, noProducer, version1
		}
		got, err := readTransaction(v.AppendTo(nil))
		if err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		same(t, want, got)
	}
	var k kmsg.TxnMetadataKey
	var v kmsg.TxnMetadataValue
	if err := errors.Join(k.ReadFrom(encodeKey("tx")), v.ReadFrom(example().encode())); err != nil {
		t.Fatal(err)
	}
	if k.TransactionalID != "tx" || v.Version != valueVersion || len(v.Topics) != 2 || v.NextProducerID != 43 || v.ClientTransactionVersion != version2 {
		t.Errorf("kmsg reads %+v, %+v", k, v)
	}
}

func TestParseRefuses(t *testing.T) {
	key, value := encodeKey("tx"), example().encode()
	changed := func(at int, b byte) []byte {
		c := bytes.Clone(value)
		c[at] = b
		return c
	}
	for name, r := range map[string]machine.Record{
		"an empty key":               {},
		"half a type":                {Key: []byte{0}},
		"a short key":                {Key: key[:5]},
		"a long key":                 {Key: append(bytes.Clone(key), 0)},
		"a null id":                  {Key: []byte{0, 0, 0xff, 0xff}},
		"an empty value":             {Key: key, Value: []byte{}},
		"a later version":            {Key: key, Value: changed(1, 2)},
		"a short value":              {Key: key, Value: value[:30]},
		"a long value":               {Key: key, Value: append(bytes.Clone(value), 0)},
		"a state that no log has":    {Key: key, Value: changed(16, byte(Dead))},
		"a negative state":           {Key: key, Value: changed(16, 0xff)},
		"more topics than bytes":     {Key: key, Value: changed(17, 0x7f)},
		"a null topic":               {Key: key, Value: changed(18, 0)},
		"a producer id of two bytes": {Key: key, Value: append(bytes.Clone(value[:len(value)-25]), 1, 0, 2, 0, 0)},
	} {
		m := New(DefaultOptions(), 0)
		if err := m.Replay(r); !errors.Is(err, field.ErrMalformed) || len(m.durable) > 0 {
			t.Errorf("%s: %v, %d ids", name, err, len(m.durable))
		}
	}
}

func TestUnknownRecordsAreSkipped(t *testing.T) {
	m := New(DefaultOptions(), 0)
	for _, r := range []machine.Record{
		{Key: []byte{0, 1, 1}, Value: []byte("later")},
		{Key: encodeKey("tx"), Value: example().encode(), Txn: &machine.Txn{ProducerID: 1}},
	} {
		if err := m.Replay(r); err != nil || len(m.durable) > 0 {
			t.Errorf("%v, %d ids", err, len(m.durable))
		}
	}
}

func TestStates(t *testing.T) {
	for s := Empty; s <= PrepareEpochFence; s++ {
		if !KnownState(s.String()) {
			t.Errorf("%s is not known", s)
		}
		if (s == Dead || s == PrepareEpochFence) && s.after(Ongoing) {
			t.Errorf("%s is reached", s)
		}
	}
	if KnownState("ongoing") || KnownState("") {
		t.Error("names are exact")
	}
}

// FuzzParse feeds any bytes to the codecs. What can be read is written and read again the same.
func FuzzParse(f *testing.F) {
	f.Add(encodeKey("tx"), example().encode())
	v := kmsg.TxnMetadataValue{State: kmsg.TransactionStateOngoing, Topics: []kmsg.TxnMetadataValueTopic{{Topic: "t", Partitions: []int32{1}}}}
	f.Add(encodeKey("tx"), v.AppendTo(nil))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		_, x, _, err := parse(machine.Record{Key: key, Value: value})
		if err != nil || x == nil {
			return
		}
		if x.state == Empty {
			x.partitions = nil // is not written
		}
		again, err := readTransaction(x.encode())
		if err != nil {
			t.Fatal(err)
		}
		same(t, x, again)
	})
}
