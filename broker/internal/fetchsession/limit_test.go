package fetchsession

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// TestSessionsDoNotFillTheMemory: whoever goes on adding partitions loses the session, and whoever
// goes on making sessions gets none.
func TestSessionsDoNotFillTheMemory(t *testing.T) {
	id := int32(0)
	c := NewCache(DefaultSlots, DefaultSettle, func() int32 { id++; return id })
	const step = 1 << 17
	request := func(id, epoch, from int32) Request {
		r := Request{ID: id, Epoch: epoch, Fetch: make([]Partition, step)}
		for i := range r.Fetch {
			r.Fetch[i].Key = Key{Topic: "t", Index: from + int32(i)}
		}
		return r
	}
	now := time.Unix(0, 0)
	grown, err := begun(c, now, request(0, NewSession, 0))
	if err != nil || grown.ID == 0 {
		t.Fatalf("session %d, %v", grown.ID, err)
	}
	epoch := int32(1)
	for from := int32(step); err == nil && from <= MaxPartitions; from += step {
		_, err = begun(c, now, request(grown.ID, epoch, from))
		epoch++
	}
	if !errors.Is(err, kerr.FetchSessionIDNotFound) || c.Partitions() != 0 || c.Len() != 0 {
		t.Errorf("%v with %d partitions in %d sessions", err, c.Partitions(), c.Len())
	}
	for range 9 {
		if _, err := begun(c, now, request(0, NewSession, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if c.Partitions() > MaxPartitions {
		t.Errorf("%d partitions are held", c.Partitions())
	}
}
