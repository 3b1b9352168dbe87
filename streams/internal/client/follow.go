package client

import (
	"context"
	"time"

	"github.com/weirstream/weir/streams/internal/runtime"
)

// Follower is a [runtime.Follower]. It is used from one goroutine.
type Follower struct {
	runtime.Reader

	o Options
	r *restorer // nil before Follow
}

// NewFollower returns a follower with the brokers, id, guarantee and logger of
// o, which asks r for offsets. It connects when it follows.
func NewFollower(o Options, r runtime.Reader) *Follower { return &Follower{Reader: r, o: o} }

// Follow implements runtime.Follower: it begins anew each time.
func (f *Follower) Follow(ctx context.Context, from map[runtime.TP]int64) error {
	f.Close()
	var err error
	if f.r, err = newRestorer(ctx, &f.o, ""); err != nil {
		return err
	}
	f.r.begin(from)
	return nil
}

// Followed implements runtime.Follower.
func (f *Follower) Followed(ctx context.Context, wait time.Duration, limit int) ([]runtime.Fetched, error) {
	return f.r.poll(ctx, wait, limit)
}

// Close ends the connections.
func (f *Follower) Close() {
	if f.r != nil {
		f.r.cl.Close()
		f.r = nil
	}
}

var _ runtime.Follower = (*Follower)(nil)
