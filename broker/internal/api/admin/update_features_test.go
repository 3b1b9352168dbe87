package admin_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/admin"
	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/metadata"
)

func featureUpdate(version int16, name string, level int16, kind int8) *kmsg.UpdateFeaturesRequest {
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.Version = version
	u := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	u.Feature, u.MaxVersionLevel, u.UpgradeType, u.AllowDowngrade = name, level, kind, kind > 1
	req.FeatureUpdates = append(req.FeatureUpdates, u)
	return req
}

func TestUpdateFeatures(t *testing.T) {
	for version := range int16(3) {
		c := newCluster(t)
		c.must(metadata.NewFeatures())
		r := admin.UpdateFeatures(c.Deps)
		level := func() int16 { return c.image().Features()[metadata.TransactionVersion] }

		only := featureUpdate(version, "transaction.version", 1, 2)
		if only.ValidateOnly = version >= 1; only.ValidateOnly {
			if got := ask[*kmsg.UpdateFeaturesResponse](t, r, client(), only); got.ErrorCode != 0 || level() != 2 {
				t.Errorf("version %d, validation only: %+v, level %d", version, got, level())
			}
		}
		for _, step := range []struct {
			level int16
			kind  int8
		}{{1, 2}, {0, 3}, {2, 1}, {2, 1}} {
			got := ask[*kmsg.UpdateFeaturesResponse](t, r, client(), featureUpdate(version, "transaction.version", step.level, step.kind))
			if got.ErrorCode != 0 || level() != step.level || (len(got.Results) == 1) != (version < 2) {
				t.Errorf("version %d, to %d: %+v, level %d", version, step.level, got, level())
			}
		}
		both := featureUpdate(version, "transaction.version", 1, 2)
		both.FeatureUpdates = append(both.FeatureUpdates, featureUpdate(version, "group.version", 1, 1).FeatureUpdates...)
		got := ask[*kmsg.UpdateFeaturesResponse](t, r, client(), both)
		if got.ErrorCode != kerr.InvalidUpdateVersion.Code || level() != 2 || got.ErrorMessage == nil ||
			!strings.Contains(*got.ErrorMessage, "group.version") || strings.HasPrefix(*got.ErrorMessage, "The update failed") != (version >= 2) {
			t.Errorf("version %d, one of two is not supported: %+v, level %d", version, got, level())
		}
	}
}

func TestUpdateFeaturesIsForAdministrators(t *testing.T) {
	c := newCluster(t)
	c.Authorizer = denied(func(op route.Operation, k route.ResourceType, _ string) bool {
		return op == route.Alter && k == route.Cluster
	})
	got := ask[*kmsg.UpdateFeaturesResponse](t, admin.UpdateFeatures(c.Deps), client(), featureUpdate(2, "transaction.version", 1, 2))
	if got.ErrorCode != kerr.ClusterAuthorizationFailed.Code {
		t.Errorf("%+v", got)
	}
}
