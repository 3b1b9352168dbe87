package admin

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
)

// IncrementalAlterConfigs answers key 44, versions 0 and 1 (KIP-339): it sets and
// deletes single keys and adds to and takes from lists, and leaves what it does
// not name.
func IncrementalAlterConfigs(d Deps) route.Route {
	return route.New(0, 1, func(ctx context.Context, s *route.Session, req *kmsg.IncrementalAlterConfigsRequest, resp *kmsg.IncrementalAlterConfigsResponse) *route.Pending {
		return route.Go(ctx, s, func(ctx context.Context) {
			asked := make([]alteration, len(req.Resources))
			for i, r := range req.Resources {
				asked[i] = alteration{kind: r.ResourceType, name: r.ResourceName}
				for _, c := range r.Configs {
					asked[i].steps = append(asked[i].steps, step{key: c.Name, op: metadata.Op(c.Op), value: c.Value})
				}
			}
			for i, err := range d.alter(ctx, s, asked, req.ValidateOnly) {
				out := kmsg.NewIncrementalAlterConfigsResponseResource()
				out.ResourceType, out.ResourceName = asked[i].kind, asked[i].name
				d.fill(err, &out.ErrorCode, &out.ErrorMessage)
				resp.Resources = append(resp.Resources, out)
			}
		})
	})
}
