package group

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/group"
)

// ListGroups answers ListGroups (16): the groups that this broker coordinates, sorted by id.
//
// Versions: 3 flexible; 4 filter by state (KIP-518); 5 filter by type (KIP-848).
func ListGroups(c Coordinator, a route.Authorizer) route.Route {
	return route.New(0, 5, func(_ context.Context, s *route.Session, req *kmsg.ListGroupsRequest, resp *kmsg.ListGroupsResponse) *route.Pending {
		n := int(c.Partitions())
		found := make([][]kmsg.ListGroupsResponseGroup, n)
		failed := make([]error, n)
		p := route.NewPending()
		all := newParts(n)
		for i := range n {
			submitTo(c, int32(i), &group.List{States: req.StatesFilter, Types: req.TypesFilter},
				func(groups []kmsg.ListGroupsResponseGroup, err error) {
					found[i], failed[i] = groups, err
					all.done()
				})
		}
		all.pending.Wait(ready(func() {
			fillList(resp, s, a, found, failed)
			p.Complete()
		}))
		return p
	})
}

type ready func()

// Ready calls the function.
func (f ready) Ready() { f() }

// fillList joins what the partitions answered. One that this broker does not coordinate has no groups
// to show.
func fillList(resp *kmsg.ListGroupsResponse, s *route.Session, a route.Authorizer, found [][]kmsg.ListGroupsResponseGroup, failed []error) {
	for _, err := range failed {
		if err != nil && !errors.Is(err, kerr.NotCoordinator) {
			resp.ErrorCode = route.Code(err)
			return
		}
	}
	groups := slices.Concat(found...)
	if !a.Authorize(s, route.Describe, route.Cluster, route.ClusterName) {
		groups = slices.DeleteFunc(groups, func(g kmsg.ListGroupsResponseGroup) bool {
			return !a.Authorize(s, route.Describe, route.Group, g.Group)
		})
	}
	slices.SortFunc(groups, func(x, y kmsg.ListGroupsResponseGroup) int { return cmp.Compare(x.Group, y.Group) })
	resp.Groups = groups
}
