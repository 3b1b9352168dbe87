package metadata_test

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/metadata"
)

func TestFeaturesOfANewCluster(t *testing.T) {
	img, r := metadata.ApplyCommand(metadata.Empty(), 1, metadata.NewFeatures())
	if r.Err != nil || img.Features()[metadata.TransactionVersion] != 2 || img.Features()[metadata.MetadataVersion] != 30 {
		t.Fatalf("%v, %v", img.Features(), r.Err)
	}
	rows := []struct {
		name   string
		level  int16
		change metadata.FeatureChange
		ok     bool
	}{
		{"transaction.version", 2, metadata.Upgrade, true}, // no change
		{"transaction.version", 2, metadata.SafeDowngrade, true},
		{"transaction.version", 1, metadata.SafeDowngrade, true},
		{"transaction.version", 0, metadata.UnsafeDowngrade, true},
		{"transaction.version", 1, metadata.Upgrade, false},
		{"transaction.version", 3, metadata.Upgrade, false},
		{"transaction.version", -1, metadata.UnsafeDowngrade, false},
		{"transaction.version", 1, 0, false},
		{"transaction.version", 1, 4, false},
		{"group.version", 1, metadata.Upgrade, false},
		{"metadata.version", 29, metadata.SafeDowngrade, false},
		{"metadata.version", 30, metadata.Upgrade, true},
		{"metadata.version", 31, metadata.Upgrade, false},
	}
	for _, row := range rows {
		err := img.CheckFeature(row.name, row.level, row.change)
		if (err == nil) != row.ok || err != nil && !errors.Is(err, kerr.InvalidUpdateVersion) {
			t.Errorf("%s to %d by %d: %v", row.name, row.level, row.change, err)
		}
	}
	lower, _ := metadata.ApplyCommand(img, 2, metadata.SetFeatures{Features: map[string]int16{metadata.TransactionVersion: 0}})
	if _, there := lower.Features()[metadata.TransactionVersion]; there {
		t.Error("a feature at level 0 is in force")
	}
	if err := lower.CheckFeature(metadata.TransactionVersion, 1, metadata.SafeDowngrade); err == nil {
		t.Error("a downgrade raised a level")
	}
}
