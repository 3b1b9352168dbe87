package group

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

func exampleMetadata() *metadata {
	return &metadata{
		ProtocolType: "consumer", Generation: 7, Protocol: new("range"), Leader: new("a-1"), Since: 1_700_000_000_000,
		Members: []memberRecord{
			{ID: "a-1", ClientID: "a", ClientHost: "/127.0.0.1", RebalanceTimeout: 60000, SessionTimeout: 10000, Subscription: []byte{1, 2}, Assignment: []byte{3}},
			{ID: "i-2", InstanceID: new("i"), ClientID: "b", ClientHost: "/::1", RebalanceTimeout: 5, SessionTimeout: 6, Subscription: []byte{}, Assignment: []byte{}},
		},
	}
}

// TestGoldenBytes pins what is written to what Apache Kafka 4.3.1 writes.
func TestGoldenBytes(t *testing.T) {
	offset := &Offset{Offset: 42, LeaderEpoch: 3, Metadata: "m", CommitTime: 1_700_000_000_000, ExpireTime: -1}
	withID := *offset
	withID.TopicID = [16]byte{1, 2, 15: 16}
	expiring := *offset
	expiring.ExpireTime = 1_700_000_000_001
	tests := map[string]struct {
		got  []byte
		want string
	}{
		"offset key":           {encodeOffsetKey(offsetKey{"g", "t", 5}), "0001 0001 67 0001 74 00000005"},
		"group key":            {encodeMetadataKey("g"), "0002 0001 67"},
		"offset":               {encodeOffset(offset), "0004 000000000000002a 00000003 02 6d 0000018bcfe56800 00"},
		"offset with topic id": {encodeOffset(&withID), "0004 000000000000002a 00000003 02 6d 0000018bcfe56800 01 00 10 01020000000000000000000000000010"},
		"offset that expires":  {encodeOffset(&expiring), "0001 000000000000002a 0001 6d 0000018bcfe56800 0000018bcfe56801"},
		"empty group": {
			encodeMetadata(&metadata{ProtocolType: "consumer", Generation: 2, Since: -1}),
			"0003 0008 636f6e73756d6572 00000002 ffff ffff ffffffffffffffff 00000000",
		},
		"group": {
			encodeMetadata(exampleMetadata()),
			"0003 0008 636f6e73756d6572 00000007 0005 72616e6765 0003 612d31 0000018bcfe56800 00000002" +
				"0003 612d31 ffff 0001 61 000a 2f3132372e302e302e31 0000ea60 00002710 00000002 0102 00000001 03" +
				"0003 692d32 0001 69 0001 62 0004 2f3a3a31 00000005 00000006 00000000 00000000",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			want, err := hex.DecodeString(strings.ReplaceAll(test.want, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(test.got, want) {
				t.Fatalf("got  %x\nwant %x", test.got, want)
			}
		})
	}
}

// TestRecordsAgreeWithKmsg reads with one codec what the other wrote, in every version.
func TestRecordsAgreeWithKmsg(t *testing.T) {
	for version := range int16(maxVersion + 1) {
		o := kmsg.OffsetCommitValue{Version: version, Offset: 1 << 40, LeaderEpoch: -1, Metadata: "meta", CommitTimestamp: 5, ExpireTimestamp: -1}
		if version >= 3 {
			o.LeaderEpoch = 9
		}
		if version == 1 {
			o.ExpireTimestamp = 77
		}
		if version >= 4 {
			o.TopicID = [16]byte{9: 9}
			o.UnknownTags.Set(7, []byte("later"))
		}
		got, err := readOffset(o.AppendTo(nil))
		if err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		want := &Offset{Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata, CommitTime: 5, ExpireTime: o.ExpireTimestamp, TopicID: o.TopicID}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(Offset{})); diff != "" {
			t.Errorf("version %d: %s", version, diff)
		}

		g := kmsg.NewGroupMetadataValue()
		g.Version, g.ProtocolType, g.Generation, g.Protocol, g.Leader, g.CurrentStateTimestamp = version, "consumer", 7, new("range"), nil, 8
		m := kmsg.NewGroupMetadataValueMember()
		m.MemberID, m.InstanceID, m.ClientID, m.ClientHost = "m", new("i"), "c", "/h"
		m.RebalanceTimeoutMillis, m.SessionTimeoutMillis, m.Subscription, m.Assignment = 11, 12, []byte("s"), []byte("a")
		g.Members = append(g.Members, m)
		back, err := readMetadata(g.AppendTo(nil))
		if err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		wantGroup := &metadata{ProtocolType: "consumer", Generation: 7, Protocol: new("range"), Since: -1, Members: []memberRecord{{
			ID: "m", ClientID: "c", ClientHost: "/h", RebalanceTimeout: 12, SessionTimeout: 12, Subscription: []byte("s"), Assignment: []byte("a"),
		}}}
		if version >= 1 {
			wantGroup.Members[0].RebalanceTimeout = 11
		}
		if version >= 2 {
			wantGroup.Since = 8
		}
		if version >= 3 {
			wantGroup.Members[0].InstanceID = new("i")
		}
		if diff := cmp.Diff(wantGroup, back); diff != "" {
			t.Errorf("version %d: %s", version, diff)
		}
	}

	var written kmsg.GroupMetadataValue
	if err := written.ReadFrom(encodeMetadata(exampleMetadata())); err != nil {
		t.Fatal(err)
	}
	if written.Version != metadataVersion || len(written.Members) != 2 || *written.Members[1].InstanceID != "i" {
		t.Errorf("kmsg reads %+v", written)
	}
	var offset kmsg.OffsetCommitValue
	if err := offset.ReadFrom(encodeOffset(&Offset{Offset: 3, ExpireTime: -1, TopicID: [16]byte{1}})); err != nil {
		t.Fatal(err)
	}
	if offset.Version != offsetVersion || offset.Offset != 3 || offset.TopicID != [16]byte{1} {
		t.Errorf("kmsg reads %+v", offset)
	}
}

func TestParseRefuses(t *testing.T) {
	key := encodeOffsetKey(offsetKey{"g", "t", 0})
	groupKey := encodeMetadataKey("g")
	tests := map[string]machine.Record{
		"an empty key":            {Key: nil},
		"half a type":             {Key: []byte{0}},
		"a short offset key":      {Key: key[:len(key)-1]},
		"a long offset key":       {Key: append(bytes.Clone(key), 0)},
		"a null group":            {Key: []byte{0, 2, 0xff, 0xff}},
		"a negative length":       {Key: []byte{0, 2, 0x80, 0}},
		"an empty value":          {Key: key, Value: []byte{}},
		"a later offset version":  {Key: key, Value: []byte{0, 5}},
		"a later group version":   {Key: groupKey, Value: []byte{0, 5}},
		"a short group":           {Key: groupKey, Value: encodeMetadata(exampleMetadata())[:40]},
		"a long group":            {Key: groupKey, Value: append(encodeMetadata(exampleMetadata()), 0)},
		"too many members":        {Key: groupKey, Value: []byte{0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff}},
		"a topic id of 2 bytes":   {Key: key, Value: append(encodeOffset(&Offset{ExpireTime: -1})[:23], 1, 0, 2, 0, 0)},
		"a null compact string":   {Key: key, Value: append([]byte{0, 4}, make([]byte, 21)...)},
		"an endless varint":       {Key: key, Value: append(append([]byte{0, 4}, make([]byte, 12)...), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)},
		"a tag beyond the record": {Key: key, Value: append(encodeOffset(&Offset{ExpireTime: -1})[:23], 1, 0, 100)},
	}
	for name, r := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(r); !errors.Is(err, field.ErrMalformed) {
				t.Fatalf("error %v", err)
			}
			m := New(DefaultOptions())
			if err := m.Replay(r); !errors.Is(err, field.ErrMalformed) {
				t.Fatalf("error %v", err)
			}
			m.Commit(1)
		})
	}
}

func TestUnknownTypesAreSkipped(t *testing.T) {
	for _, kind := range []byte{3, 8, 17, 99} {
		m := New(DefaultOptions())
		if err := m.Replay(machine.Record{Key: []byte{0, kind, 1}, Value: []byte("later")}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSubscribedTopics(t *testing.T) {
	tests := map[string]struct {
		in   []byte
		want []string
		ok   bool
	}{
		"topics":                     {subscription("a", "b"), []string{"a", "b"}, true},
		"none":                       {subscription(), []string{}, true},
		"fields of later":            {append(subscription("a"), 1, 2, 3), []string{"a"}, true},
		"empty":                      {nil, nil, false},
		"a negative number":          {[]byte{0, 0, 0xff, 0xff, 0xff, 0xff}, nil, false},
		"too many":                   {[]byte{0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 1, 'a'}, nil, false},
		"a negative number of bytes": {[]byte{0, 0, 0, 0, 0, 1, 0xff, 0xfe}, nil, false},
		"a negative version":         {[]byte{0xff, 0xff, 0, 0, 0, 0}, nil, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := subscribedTopics(test.in)
			if ok != test.ok || (ok && !cmp.Equal(got, test.want)) {
				t.Fatalf("got %q, %v", got, ok)
			}
		})
	}
}

// FuzzParse feeds any bytes to the codecs. What can be read is written and read again the same.
func FuzzParse(f *testing.F) {
	f.Add(encodeOffsetKey(offsetKey{"g", "t", 1}), encodeOffset(&Offset{Offset: 1, ExpireTime: -1, TopicID: [16]byte{1}}))
	f.Add(encodeOffsetKey(offsetKey{"g", "t", 1}), encodeOffset(&Offset{Offset: 1, ExpireTime: 3}))
	f.Add(encodeMetadataKey("g"), encodeMetadata(exampleMetadata()))
	g := kmsg.GroupMetadataValue{Version: 4, Members: []kmsg.GroupMetadataValueMember{{MemberID: "m"}}}
	f.Add(encodeMetadataKey("g"), g.AppendTo(nil))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if topics, ok := subscribedTopics(value); ok && len(topics) > len(value) {
			t.Fatalf("%d topics in %d bytes", len(topics), len(value))
		}
		p, err := parse(machine.Record{Key: key, Value: value})
		if err != nil || p.metadata == nil {
			return
		}
		again, err := readMetadata(encodeMetadata(p.metadata))
		if err != nil {
			return // strings that only a flexible version holds
		}
		if diff := cmp.Diff(p.metadata, again, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}
