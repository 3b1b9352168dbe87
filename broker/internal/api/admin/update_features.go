package admin

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
)

// UpdateFeatures answers key 57, versions 0 to 2 (KIP-584): it raises or lowers
// the levels of the cluster's features, all that are named or none.
//
// Versions: 1 upgrade type and validation only; 2 one error for all.
func UpdateFeatures(d Deps) route.Route {
	return route.New(0, 2, func(ctx context.Context, s *route.Session, req *kmsg.UpdateFeaturesRequest, resp *kmsg.UpdateFeaturesResponse) *route.Pending {
		if err := route.AuthorizeCluster(d.Authorizer, s, route.Alter); err != nil {
			d.fill(err, &resp.ErrorCode, &resp.ErrorMessage)
			return nil
		}
		return route.Go(ctx, s, func(ctx context.Context) { d.updateFeatures(ctx, req, resp) })
	})
}

func (d *Deps) updateFeatures(ctx context.Context, req *kmsg.UpdateFeaturesRequest, resp *kmsg.UpdateFeaturesResponse) {
	c, err := planFeatures(d.Image(), req)
	if err == nil && !req.ValidateOnly && len(c.Features) > 0 {
		var r metadata.Result
		r, err = d.propose(ctx, req.TimeoutMillis, c)
		err = proposed(r, err, 0)
	}
	d.fill(err, &resp.ErrorCode, &resp.ErrorMessage)
	if err != nil || req.Version >= 2 {
		return
	}
	for i := range req.FeatureUpdates {
		r := kmsg.NewUpdateFeaturesResponseResult()
		r.Feature = req.FeatureUpdates[i].Feature
		resp.Results = append(resp.Results, r)
	}
}

// planFeatures checks every update, because one that is refused refuses all.
func planFeatures(img *metadata.Image, req *kmsg.UpdateFeaturesRequest) (metadata.SetFeatures, error) {
	c := metadata.SetFeatures{Features: map[string]int16{}}
	for i := range req.FeatureUpdates {
		u := &req.FeatureUpdates[i]
		change := metadata.FeatureChange(u.UpgradeType)
		if req.Version < 1 {
			change = metadata.Upgrade
			if u.AllowDowngrade {
				change = metadata.SafeDowngrade
			}
		}
		if err := img.CheckFeature(u.Feature, u.MaxVersionLevel, change); err != nil {
			if req.Version >= 2 {
				err = metadata.Refuse(kerr.InvalidUpdateVersion, "The update failed for all features since the following feature had an error: %v", err)
			}
			return c, err
		}
		c.Features[u.Feature] = u.MaxVersionLevel
	}
	return c, nil
}
