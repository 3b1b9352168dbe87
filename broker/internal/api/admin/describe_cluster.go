package admin

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
)

// The types of endpoints a client of DescribeCluster may ask for.
const (
	brokerEndpoints     = 1
	controllerEndpoints = 2
)

// DescribeCluster answers key 60, versions 0 to 2 (KIP-700; v1 endpoint types,
// KIP-919; v2 fenced brokers, of which there are none).
func DescribeCluster(d Deps) route.Route {
	return route.New(0, 2, func(_ context.Context, s *route.Session, req *kmsg.DescribeClusterRequest, resp *kmsg.DescribeClusterResponse) *route.Pending {
		img := d.Image()
		resp.EndpointType, resp.ControllerID, resp.ClusterAuthorizedOperations = brokerEndpoints, -1, notAsked
		if req.Version >= 1 && req.EndpointType != brokerEndpoints {
			err := metadata.Refuse(kerr.UnsupportedEndpointType, "endpoint type %d is not known", req.EndpointType)
			if req.EndpointType == controllerEndpoints {
				err = metadata.Refuse(kerr.MismatchedEndpointType, "this listener is one of brokers, the request is for controllers")
			}
			d.fill(err, &resp.ErrorCode, &resp.ErrorMessage)
			return nil
		}
		resp.ClusterID, resp.ControllerID = img.ClusterID(), d.NodeID
		if req.IncludeClusterAuthorizedOperations {
			resp.ClusterAuthorizedOperations = d.clusterOperations(s)
		}
		for i := range img.Brokers() {
			b := &img.Brokers()[i]
			if e, ok := endpoint(b, s.Listener); ok {
				out := kmsg.NewDescribeClusterResponseBroker()
				out.NodeID, out.Host, out.Port, out.Rack = b.ID, e.Host, e.Port, rack(b)
				resp.Brokers = append(resp.Brokers, out)
			}
		}
		return nil
	})
}
