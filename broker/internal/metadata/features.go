package metadata

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Feature is a feature of the cluster (KIP-584) and the levels of it that this
// program supports; level 0 is the feature not in force. A feature whose server
// side is not served must not be one: clients act on it.
type Feature struct {
	Name     string
	Min, Max int16
}

// The names of features, as Kafka's tools spell them.
const (
	MetadataVersion    = "metadata.version"
	TransactionVersion = "transaction.version" // 2 is KIP-890: an epoch for every transaction
)

// Features are the features that this program supports. A new cluster has all of
// them at their highest level.
func Features() []Feature {
	return []Feature{{MetadataVersion, 7, 30}, {TransactionVersion, 0, 2}}
}

// NewFeatures is the command that puts the features of a new cluster in force.
func NewFeatures() SetFeatures {
	c := SetFeatures{Features: map[string]int16{}}
	for _, f := range Features() {
		c.Features[f.Name] = f.Max
	}
	return c
}

// FeatureChange says how a level may move.
type FeatureChange int8

// The changes that UpdateFeatures asks for, with Kafka's numbers. No change loses
// anything here, so that an unsafe downgrade is as good as a safe one.
const (
	Upgrade         FeatureChange = 1
	SafeDowngrade   FeatureChange = 2
	UnsafeDowngrade FeatureChange = 3
)

// CheckFeature returns a *RefusalError with INVALID_UPDATE_VERSION where a feature
// may not be brought to a level.
func (i *Image) CheckFeature(name string, level int16, change FeatureChange) error {
	refuse := func(why string) error {
		return Refuse(kerr.InvalidUpdateVersion, "Invalid update version %d for feature %s. %s", level, name, why)
	}
	at := slices.IndexFunc(Features(), func(f Feature) bool { return f.Name == name })
	now := i.features[name]
	switch {
	case level < 0:
		return refuse("A feature version cannot be less than 0.")
	case at < 0:
		return refuse("This broker does not know the feature.")
	case change < Upgrade || change > UnsafeDowngrade:
		return refuse("There is no such upgrade type.")
	case level < Features()[at].Min || level > Features()[at].Max:
		return refuse("This broker does not support the version.")
	case level < now && change == Upgrade:
		return refuse("Lowering a version takes a downgrade.")
	case level > now && change != Upgrade:
		return refuse("Raising a version takes an upgrade.")
	case level < now && name == MetadataVersion:
		return refuse("The metadata version is never lowered.")
	}
	return nil
}
