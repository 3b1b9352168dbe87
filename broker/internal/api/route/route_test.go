package route

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/auth"
	"github.com/weirstream/weir/broker/internal/quota"
	"github.com/weirstream/weir/broker/internal/wire"
)

func TestARouteKnowsItsKeyAndVersions(t *testing.T) {
	r := New(0, 3, func(_ context.Context, s *Session, req *kmsg.DeleteGroupsRequest, resp *kmsg.DeleteGroupsResponse) *Pending {
		for _, g := range req.Groups {
			resp.Groups = append(resp.Groups, kmsg.DeleteGroupsResponseGroup{Group: s.ClientID + g})
		}
		return nil
	})
	if r.Key != 42 || r.Name != "DeleteGroups" || r.Serves(-1) || !r.Serves(3) || r.Serves(4) || r.Flexible(1) || !r.FlexibleHeader(2) {
		t.Errorf("%+v", r)
	}
	req := kmsg.NewPtrDeleteGroupsRequest()
	req.Version, req.Groups = 2, []string{"g"}
	resp, pending, err := r.Start(t.Context(), &Session{ClientID: "me-"}, 2, req.AppendTo(nil))
	if err != nil || pending != nil {
		t.Fatal(pending, err)
	}
	answer, ok := Kmsg(resp)
	if !ok || answer.GetVersion() != 2 {
		t.Fatal(answer, ok)
	}
	var out wire.Out
	if err := resp.Respond(&out); err != nil {
		t.Fatal(err)
	}
	var got kmsg.DeleteGroupsResponse
	got.Version = 2
	if err := got.ReadFrom(out.Buf); err != nil || got.Groups[0].Group != "me-g" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, _, err := r.Start(t.Context(), &Session{}, 2, []byte{200}); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("garbage: %v", err)
	}
}

func TestALenientRouteServesEveryVersionWithAnOldHeader(t *testing.T) {
	r := NewRaw[*kmsg.ApiVersionsRequest](0, 4, nil).Lenient()
	if !r.Serves(99) || !r.Serves(-1) || !r.Flexible(99) || r.FlexibleHeader(3) || r.Max != 4 {
		t.Errorf("%+v", r)
	}
}

type waiter struct{ told atomic.Int32 }

func (w *waiter) Ready() { w.told.Add(1) }

func TestAPendingTellsItsWaiterOnce(t *testing.T) {
	for name, do := range map[string]func(p *Pending, w *waiter){
		"completed before": func(p *Pending, w *waiter) { p.Complete(); p.Wait(w) },
		"completed after":  func(p *Pending, w *waiter) { p.Wait(w); p.Complete() },
		"completed twice":  func(p *Pending, w *waiter) { p.Wait(w); p.Complete(); p.Fail(errors.New("late")) },
	} {
		var w waiter
		p := NewPending()
		do(p, &w)
		if w.told.Load() != 1 || p.Err() != nil {
			t.Errorf("%s: told %d times, %v", name, w.told.Load(), p.Err())
		}
	}
}

func TestAPendingAndItsWaiterMayRace(t *testing.T) {
	for range 1000 {
		var w waiter
		p := NewPending()
		done := make(chan struct{})
		go func() { p.Complete(); close(done) }()
		p.Wait(&w)
		<-done
		if w.told.Load() != 1 {
			t.Fatalf("told %d times", w.told.Load())
		}
	}
}

func TestGoRunsOffTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var w waiter
		Go(ctx, nil, func(ctx context.Context) { <-ctx.Done() }).Wait(&w)
		synctest.Wait()
		if w.told.Load() != 0 {
			t.Error("completed while it runs")
		}
		cancel()
		synctest.Wait()
		if w.told.Load() != 1 {
			t.Error("not completed")
		}
		p := Go(ctx, nil, func(context.Context) { panic("bug: on purpose") })
		p.Wait(&w)
		synctest.Wait()
		if !errors.Is(p.Err(), ErrPanic) || !strings.Contains(p.Err().Error(), "on purpose") {
			t.Errorf("after a panic: %v", p.Err())
		}
	})
}

type denyAll struct{}

func (denyAll) Authorize(*Session, Operation, ResourceType, string) bool { return false }

type slow struct{}

func (slow) Charge(string, string, quota.Kind, float64) time.Duration { return 1500 * time.Millisecond }

func TestDenialsAndThrottles(t *testing.T) {
	s := &Session{}
	for _, c := range []struct {
		err  error
		want *kerr.Error
	}{
		{AuthorizeTopic(denyAll{}, s, Read, "t"), kerr.TopicAuthorizationFailed},
		{AuthorizeGroup(denyAll{}, s, Read, "g"), kerr.GroupAuthorizationFailed},
		{AuthorizeCluster(denyAll{}, s, Alter), kerr.ClusterAuthorizationFailed},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("got %v, want %v", c.err, c.want)
		}
	}
	all := auth.AllowAll{}
	if err := errors.Join(AuthorizeTopic(all, s, Read, "t"), AuthorizeGroup(all, s, Read, "g"), AuthorizeCluster(all, s, Alter)); err != nil {
		t.Error(err)
	}
	if ThrottleMillis(slow{}, s, quota.FetchBytes, 1) != 1500 || ThrottleMillis(quota.Unlimited{}, s, quota.FetchBytes, 1) != 0 {
		t.Error("throttle times are wrong")
	}
	var c auth.Client
	if name, version := c.Software(); name+version != "" {
		t.Error(name, version)
	}
	c.Identify("kgo", "1")
	if name, version := c.Software(); name != "kgo" || version != "1" {
		t.Error(name, version)
	}
}
