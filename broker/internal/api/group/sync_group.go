package group

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/group"
)

// SyncGroup answers SyncGroup (14): it hands the leader's assignments over to the members. The answer
// comes when these are in the log.
//
// Versions: 3 static members (KIP-345); 4 flexible; 5 protocol type and name (KIP-559).
func SyncGroup(c Coordinator, a route.Authorizer) route.Route {
	return route.New(0, 5, func(_ context.Context, s *route.Session, req *kmsg.SyncGroupRequest, resp *kmsg.SyncGroupResponse) *route.Pending {
		if err := admit(a, s, req.Group); err != nil {
			resp.ErrorCode = route.Code(err)
			return nil
		}
		p := route.NewPending()
		submit(c, req.Group, &group.Sync{
			Group: req.Group, MemberID: req.MemberID, InstanceID: req.InstanceID, Generation: req.Generation,
			ProtocolType: req.ProtocolType, Protocol: req.Protocol, Assignments: req.GroupAssignment,
		}, func(v group.Synced, err error) {
			if resp.ErrorCode = route.Code(err); err == nil {
				resp.ProtocolType, resp.Protocol, resp.MemberAssignment = &v.ProtocolType, &v.Protocol, v.Assignment
			}
			p.Complete()
		})
		return p
	})
}
