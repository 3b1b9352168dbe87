package txn_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/api/txn"
	"github.com/weirstream/weir/broker/internal/auth"
	"github.com/weirstream/weir/broker/internal/metadata"
)

// allocator is the metadata log without raft. It counts proposals and fails them
// with fail while it is set.
type allocator struct {
	mu        sync.Mutex
	img       *metadata.Image
	proposals int
	fail      error
	refuse    error
}

func (a *allocator) propose(_ context.Context, c metadata.Command) (metadata.Result, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.proposals++
	if a.fail != nil {
		return metadata.Result{}, a.fail
	}
	if a.refuse != nil {
		return metadata.Result{Err: a.refuse}, nil
	}
	var r metadata.Result
	a.img, r = metadata.ApplyCommand(a.img, a.img.Version()+1, c)
	return r, nil
}

func newAllocator() *allocator { return &allocator{img: metadata.Empty()} }

func deps(a *allocator) txn.Deps {
	return txn.Deps{ProducerIDs: txn.NewProducerIDs(1, a.propose), Authorizer: auth.AllowAll{}, Logger: slog.New(slog.DiscardHandler)}
}

type waiter chan struct{}

func (w waiter) Ready() { close(w) }

func ask(t *testing.T, d txn.Deps, req *kmsg.InitProducerIDRequest) *kmsg.InitProducerIDResponse {
	t.Helper()
	answer, pending, err := txn.InitProducerID(d).Start(t.Context(), &route.Session{}, req.Version, req.AppendTo(nil))
	if err != nil {
		t.Fatal(err)
	}
	if pending != nil {
		done := make(waiter)
		pending.Wait(done)
		<-done
	}
	out, _ := route.Kmsg(answer)
	resp, ok := out.(*kmsg.InitProducerIDResponse)
	if !ok {
		t.Fatalf("answer is %T", out)
	}
	return resp
}

func request(version int16) *kmsg.InitProducerIDRequest {
	return &kmsg.InitProducerIDRequest{Version: version, ProducerID: -1, ProducerEpoch: -1}
}

func TestEveryProducerGetsItsOwnID(t *testing.T) {
	a := newAllocator()
	d := deps(a)
	for want := range int64(2500) {
		resp := ask(t, d, request(int16(want%6)))
		if resp.ErrorCode != 0 || resp.ProducerID != want || resp.ProducerEpoch != 0 {
			t.Fatalf("producer %d: %+v", want, resp)
		}
	}
	if a.proposals != 3 {
		t.Fatalf("%d blocks for 2,500 ids", a.proposals)
	}
	if resp := ask(t, deps(a), request(5)); resp.ProducerID != 3000 {
		t.Fatalf("the next life of the node begins with %d", resp.ProducerID)
	}
}

func TestProducersThatComeTogetherShareABlock(t *testing.T) {
	a := newAllocator()
	ids := txn.NewProducerIDs(1, a.propose)
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[int64]bool{}
	for range 8 {
		wg.Go(func() {
			for range 300 {
				id, err := ids.Next(t.Context())
				mu.Lock()
				if err != nil || seen[id] {
					t.Errorf("id %d twice, or %v", id, err)
				}
				seen[id] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != 2400 || a.proposals != 3 {
		t.Fatalf("%d ids from %d blocks", len(seen), a.proposals)
	}
}

func TestAFailedAllocationIsTriedAgain(t *testing.T) {
	a := newAllocator()
	d := deps(a)
	for _, step := range []struct {
		fail, refuse error
		want         *kerr.Error
	}{
		{fail: kerr.NotController, want: kerr.NotController},
		{refuse: kerr.PolicyViolation, want: kerr.PolicyViolation},
		{fail: errors.New("boom"), want: kerr.UnknownServerError},
	} {
		a.fail, a.refuse = step.fail, step.refuse
		if resp := ask(t, d, request(5)); resp.ErrorCode != step.want.Code || resp.ProducerID != -1 || resp.ProducerEpoch != -1 {
			t.Fatalf("%+v", resp)
		}
	}
	a.fail, a.refuse = nil, nil
	if resp := ask(t, d, request(5)); resp.ErrorCode != 0 || resp.ProducerID != 0 {
		t.Fatalf("%+v", resp)
	}
}

func TestAWaiterGivesUpWithItsContext(t *testing.T) {
	proposing, release := make(chan struct{}), make(chan struct{})
	ids := txn.NewProducerIDs(1, func(context.Context, metadata.Command) (metadata.Result, error) {
		close(proposing)
		<-release
		return metadata.Result{}, nil
	})
	done := make(chan error)
	go func() {
		_, err := ids.Next(t.Context())
		done <- err
	}()
	<-proposing
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ids.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestRequestsWithoutAnID(t *testing.T) {
	garbage, empty := "\xff", ""
	for what, tc := range map[string]struct {
		change func(*kmsg.InitProducerIDRequest)
		want   *kerr.Error
	}{
		"an id that is no text":       {func(r *kmsg.InitProducerIDRequest) { r.TransactionalID = &garbage }, kerr.InvalidRequest},
		"an empty transactional id":   {func(r *kmsg.InitProducerIDRequest) { r.TransactionalID = &empty }, kerr.InvalidRequest},
		"a producer without an epoch": {func(r *kmsg.InitProducerIDRequest) { r.ProducerID = 7 }, kerr.InvalidRequest},
		"an epoch without a producer": {func(r *kmsg.InitProducerIDRequest) { r.ProducerEpoch = 7 }, kerr.InvalidRequest},
	} {
		req := request(5)
		tc.change(req)
		a := newAllocator()
		if resp := ask(t, deps(a), req); resp.ErrorCode != tc.want.Code || resp.ProducerID != -1 || a.proposals != 0 {
			t.Errorf("%s: %+v", what, resp)
		}
	}
	d := deps(newAllocator())
	d.Authorizer = nobody{}
	if resp := ask(t, d, request(5)); resp.ErrorCode != kerr.ClusterAuthorizationFailed.Code {
		t.Errorf("%+v", resp)
	}
	brings := request(5)
	brings.ProducerID, brings.ProducerEpoch = 7, 3
	if resp := ask(t, deps(newAllocator()), brings); resp.ErrorCode != 0 || resp.ProducerID != 0 || resp.ProducerEpoch != 0 {
		t.Errorf("a producer that brings an id: %+v", resp)
	}
}

type nobody struct{}

func (nobody) Authorize(*route.Session, route.Operation, route.ResourceType, string) bool {
	return false
}
