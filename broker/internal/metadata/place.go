package metadata

import "github.com/twmb/franz-go/pkg/kerr"

// Place spreads the replicas of new partitions over the registered brokers: the
// leaders go round from broker number start on, the followers take the next
// brokers in turn. It returns a *RefusalError with INVALID_REPLICATION_FACTOR where
// there are not enough brokers.
func (i *Image) Place(partitions, factor int32, start uint32) ([][]int32, error) {
	n := len(i.brokers)
	if factor <= 0 || int(factor) > n {
		return nil, Refuse(kerr.InvalidReplicationFactor,
			"replication factor %d cannot be met: %d brokers are registered", factor, n)
	}
	if partitions <= 0 {
		return nil, Refuse(kerr.InvalidPartitions, "number of partitions %d is not above zero", partitions)
	}
	out := make([][]int32, partitions)
	for p := range out {
		replicas := make([]int32, factor)
		for r := range replicas {
			replicas[r] = i.brokers[(int(start%uint32(n))+p+r)%n].ID
		}
		out[p] = replicas
	}
	return out, nil
}
