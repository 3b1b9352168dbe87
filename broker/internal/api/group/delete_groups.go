package group

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/group"
)

// DeleteGroups answers DeleteGroups (42): it removes groups without members, and their offsets.
//
// Versions: 2 flexible.
func DeleteGroups(c Coordinator, a route.Authorizer) route.Route {
	return route.New(0, 2, func(_ context.Context, s *route.Session, req *kmsg.DeleteGroupsRequest, resp *kmsg.DeleteGroupsResponse) *route.Pending {
		var ids []string
		for _, id := range req.Groups {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		resp.Groups = make([]kmsg.DeleteGroupsResponseGroup, len(ids))
		all := newParts(len(ids))
		for i, id := range ids {
			out := &resp.Groups[i]
			*out = kmsg.NewDeleteGroupsResponseGroup()
			out.Group = id
			finish := func(_ any, err error) {
				out.ErrorCode = route.Code(err)
				all.done()
			}
			if err := route.AuthorizeGroup(a, s, route.Delete, id); err != nil {
				finish(nil, err)
				continue
			}
			submit(c, id, &group.DeleteGroup{Group: id}, finish)
		}
		return all.pending
	})
}
