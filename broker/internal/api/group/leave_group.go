package group

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/group"
)

// LeaveGroup answers LeaveGroup (13): members leave, or an operator removes them.
//
// Versions: 3 several members, by id or instance id (KIP-345); 4 flexible; 5 reason (KIP-800).
func LeaveGroup(c Coordinator, a route.Authorizer) route.Route {
	return route.New(0, 5, func(_ context.Context, s *route.Session, req *kmsg.LeaveGroupRequest, resp *kmsg.LeaveGroupResponse) *route.Pending {
		if err := admit(a, s, req.Group); err != nil {
			resp.ErrorCode = route.Code(err)
			return nil
		}
		members := []group.LeavingMember{{MemberID: req.MemberID}}
		if req.Version >= 3 {
			members = make([]group.LeavingMember, len(req.Members))
			for i, m := range req.Members {
				members[i] = group.LeavingMember{MemberID: m.MemberID, InstanceID: m.InstanceID}
			}
		}
		p := route.NewPending()
		submit(c, req.Group, &group.Leave{Group: req.Group, Members: members}, func(errs []error, err error) {
			fillLeave(resp, members, errs, err)
			p.Complete()
		})
		return p
	})
}

// fillLeave answers for each member since version 3, for the request before. A group that does not
// exist has none of the members.
func fillLeave(resp *kmsg.LeaveGroupResponse, members []group.LeavingMember, errs []error, err error) {
	if errors.Is(err, kerr.UnknownMemberID) {
		errs, err = make([]error, len(members)), nil
		for i := range errs {
			errs[i] = kerr.UnknownMemberID
		}
	}
	if err != nil {
		resp.ErrorCode = route.Code(err)
		return
	}
	if resp.Version < 3 {
		resp.ErrorCode = route.Code(errs[0])
		return
	}
	for i, m := range members {
		r := kmsg.NewLeaveGroupResponseMember()
		r.MemberID, r.InstanceID, r.ErrorCode = m.MemberID, m.InstanceID, route.Code(errs[i])
		resp.Members = append(resp.Members, r)
	}
}
