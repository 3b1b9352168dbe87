package op

import (
	"encoding/hex"
	"errors"
	"testing"

	"github.com/weirstream/weir/streams/serde"
)

// The vectors of this file were written by Kafka Streams 4.3.1.

func TestMurmur3IsKafkas(t *testing.T) {
	for text, want := range map[string][2]int64{
		"":                               {-7122613646888064702, -8341524471658347240},
		"hello":                          {3512725192710940516, 6227047293690958278},
		"The quick brown fox jumps over": {-6445373246293940166, -2179140979403463130},
	} {
		if h := murmur3([]byte(text)); int64(h[0]) != want[0] || int64(h[1]) != want[1] {
			t.Errorf("%q: %d %d, want %v", text, int64(h[0]), int64(h[1]), want)
		}
	}
}

// bothWays checks the bytes of a message.
func bothWays[T comparable](t *testing.T, s serde.Serde[T], v T, want string) {
	t.Helper()
	b, err := s.Append(nil, "t", v)
	if err != nil || hex.EncodeToString(b) != want {
		t.Errorf("%v: %x, want %s (%v)", v, b, want, err)
	}
	if back, err := s.Decode("t", b); err != nil || back != v {
		t.Errorf("%s: %v, want %v (%v)", want, back, v, err)
	}
}

func TestMessagesAreKafkas(t *testing.T) {
	bothWays(t, SubscriptionSerde(serde.String()),
		Subscription[string]{hash: hash128{1, 2}, hasHash: true, instruction: tellAnyway, key: "p", partition: 3},
		"0102000000000000000100000000000000027000000003")
	bothWays(t, SubscriptionSerde(serde.String()),
		Subscription[string]{instruction: unsubscribeAndTell, key: "p", partition: 3}, "81017000000003")
	bothWays(t, AnswerSerde(serde.String()),
		Answer[string]{hash: hash128{1, 2}, hasHash: true, value: "val", hasValue: true},
		"000000000000000001000000000000000276616c")
	bothWays(t, AnswerSerde(serde.String()), Answer[string]{}, "80")
	bothWays(t, SwapSerde(serde.String()), Swap[string]{New: "n", HasNew: true}, "6e01")
	bothWays(t, SwapSerde(serde.String()), Swap[string]{Old: "o", HasOld: true}, "6f00")
	bothWays(t, SwapSerde(serde.String()), Swap[string]{New: "n", HasNew: true, Old: "o", HasOld: true}, "026e6f02")
}

func TestMessagesThatAreNotKafkas(t *testing.T) {
	for _, text := range []string{"", "01", "0104", "0202", "0102000000", "81010000"} {
		b, _ := hex.DecodeString(text)
		if _, err := SubscriptionSerde(serde.String()).Decode("t", b); !errors.Is(err, errSubscription) {
			t.Errorf("subscription %s: %v", text, err)
		}
	}
	for _, text := range []string{"", "01", "0000"} {
		b, _ := hex.DecodeString(text)
		if _, err := AnswerSerde(serde.String()).Decode("t", b); !errors.Is(err, errSubscription) {
			t.Errorf("answer %s: %v", text, err)
		}
	}
	for _, text := range []string{"", "6e03", "0102", "ff02", "056e02"} {
		b, _ := hex.DecodeString(text)
		if _, err := SwapSerde(serde.String()).Decode("t", b); !errors.Is(err, errSwap) {
			t.Errorf("swap %s: %v", text, err)
		}
	}
	if _, err := SwapSerde(serde.String()).Append(nil, "t", Swap[string]{}); !errors.Is(err, errSwap) {
		t.Error(err)
	}
}
