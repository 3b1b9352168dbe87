package metadata

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// ErrSnapshot is what Restore says of bytes that are no snapshot.
var ErrSnapshot = errors.New("unreadable metadata snapshot")

const snapshotVersion = 0

// snapshot is an image on disk, everything in a fixed order, so that equal images
// have equal snapshots.
type snapshot struct {
	Version      int              `json:"v"`
	Index        int64            `json:"index"`
	ClusterID    string           `json:"cluster_id"`
	NextProducer int64            `json:"next_producer_id"`
	Features     map[string]int16 `json:"features,omitempty"`
	Brokers      []Broker         `json:"brokers,omitempty"`
	Configs      []overrides      `json:"configs,omitempty"`
	Topics       []*Topic         `json:"topics,omitempty"`
}

type overrides struct {
	Resource Resource          `json:"resource"`
	Values   map[string]string `json:"values"`
}

// Snapshot returns the bytes of the image; equal images have equal bytes.
func Snapshot(img *Image) ([]byte, error) {
	s := snapshot{
		Version: snapshotVersion, Index: img.version, ClusterID: img.clusterID, NextProducer: img.nextProducer,
		Features: img.features, Brokers: img.brokers, Topics: img.Topics(),
	}
	for _, r := range slices.SortedFunc(maps.Keys(img.configs), compareResource) {
		s.Configs = append(s.Configs, overrides{r, img.configs[r]})
	}
	return json.Marshal(s)
}

// Restore reads what Snapshot wrote. Its errors wrap ErrSnapshot.
func Restore(b []byte) (*Image, error) {
	var s snapshot
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	if s.Version != snapshotVersion {
		return nil, fmt.Errorf("%w: version %d", ErrSnapshot, s.Version)
	}
	img := Empty()
	img.version, img.clusterID, img.nextProducer, img.features = s.Index, s.ClusterID, s.NextProducer, s.Features
	img.brokers = s.Brokers
	if !slices.IsSortedFunc(s.Brokers, func(a, b Broker) int { return int(a.ID) - int(b.ID) }) {
		return nil, fmt.Errorf("%w: brokers out of order", ErrSnapshot)
	}
	for _, o := range s.Configs {
		if img.configs == nil {
			img.configs = map[Resource]map[string]string{}
		}
		img.configs[o.Resource] = o.Values
	}
	for _, t := range s.Topics {
		if t == nil || CheckName(t.Name) != nil || len(t.Partitions) == 0 {
			return nil, fmt.Errorf("%w: a topic without name or partitions", ErrSnapshot)
		}
		if _, taken := img.TopicByID(t.ID); taken || img.checkFree(t.Name) != nil {
			return nil, fmt.Errorf("%w: topic %s stands twice", ErrSnapshot, t.Name)
		}
		img.put(t)
	}
	return img, nil
}
