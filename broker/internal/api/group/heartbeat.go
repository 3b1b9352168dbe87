package group

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/group"
)

// Heartbeat answers Heartbeat (12): the member is alive, and learns whether its group rebalances.
// While the group is being loaded all is well, so that nobody rejoins because a coordinator moved.
//
// Versions: 3 static members (KIP-345); 4 flexible.
func Heartbeat(c Coordinator, a route.Authorizer) route.Route {
	return route.New(0, 4, func(_ context.Context, s *route.Session, req *kmsg.HeartbeatRequest, resp *kmsg.HeartbeatResponse) *route.Pending {
		if err := admit(a, s, req.Group); err != nil {
			resp.ErrorCode = route.Code(err)
			return nil
		}
		p := route.NewPending()
		submit(c, req.Group, &group.Heartbeat{
			Group: req.Group, MemberID: req.MemberID, InstanceID: req.InstanceID, Generation: req.Generation,
		}, func(_ any, err error) {
			if !errors.Is(err, kerr.CoordinatorLoadInProgress) {
				resp.ErrorCode = route.Code(err)
			}
			p.Complete()
		})
		return p
	})
}
