package group

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/group"
)

// DescribeGroups answers DescribeGroups (15): state and members of groups.
//
// Versions: 3 authorized operations (KIP-430); 4 instance ids (KIP-345); 5 flexible; 6
// GROUP_ID_NOT_FOUND (KIP-1043), before which an unknown group is a Dead one.
func DescribeGroups(c Coordinator, a route.Authorizer) route.Route {
	return route.New(0, 6, func(_ context.Context, s *route.Session, req *kmsg.DescribeGroupsRequest, resp *kmsg.DescribeGroupsResponse) *route.Pending {
		resp.Groups = make([]kmsg.DescribeGroupsResponseGroup, len(req.Groups))
		all := newParts(len(req.Groups))
		for i, id := range req.Groups {
			out := &resp.Groups[i]
			*out = kmsg.NewDescribeGroupsResponseGroup()
			out.Group = id
			if err := route.AuthorizeGroup(a, s, route.Describe, id); err != nil {
				out.ErrorCode = route.Code(err)
				all.done()
				continue
			}
			submit(c, id, &group.Describe{Group: id}, func(g *kmsg.DescribeGroupsResponseGroup, err error) {
				switch {
				case err == nil:
					*out = *g
					if req.IncludeAuthorizedOperations {
						out.AuthorizedOperations = authorizedOperations(a, s, id)
					}
				case errors.Is(err, kerr.GroupIDNotFound):
					out.State = group.Dead.String()
					if req.Version >= 6 {
						message := "group " + id + " not found"
						out.ErrorCode, out.ErrorMessage = route.Code(err), &message
					}
				default:
					out.ErrorCode = route.Code(err)
				}
				all.done()
			})
		}
		return all.pending
	})
}

// authorizedOperations is the set of what the caller may do with a group, one bit for each operation.
func authorizedOperations(a route.Authorizer, s *route.Session, id string) int32 {
	var bits int32
	for _, op := range []route.Operation{route.Read, route.Delete, route.Describe, route.DescribeConfigs, route.AlterConfigs} {
		if a.Authorize(s, op, route.Group, id) {
			bits |= 1 << op
		}
	}
	return bits
}
