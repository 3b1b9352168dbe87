package partition

import (
	"sort"

	"github.com/twmb/franz-go/pkg/kerr"
)

// The timestamps of ListOffsets that ask for a place and not for a time (KIP-79, 734, 405, 1005).
const (
	TimeLatest         int64 = -1
	TimeEarliest       int64 = -2
	TimeMax            int64 = -3
	TimeEarliestLocal  int64 = -4
	TimeLatestTiered   int64 = -5
	TimeEarliestUpload int64 = -6
)

// OffsetForTime answers ListOffsets: the first record whose timestamp is at least ts, in
// milliseconds, among those that a reader may see, or one of the special places above. It
// returns -1, -1, -1 when there is no such record. The error is one of fencing, or the log's.
func (p *Partition) OffsetForTime(ts int64, readCommitted bool, currentEpoch int32) (offset, timestamp int64, epoch int32, err error) {
	if err := p.fence(currentEpoch); err != nil {
		return -1, -1, -1, err
	}
	limit := p.hw.Load()
	if readCommitted {
		limit = p.LastStable()
	}
	switch ts {
	case TimeLatest:
		epoch, _ := p.leadership()
		return limit, -1, epoch, nil
	case TimeEarliest, TimeEarliestLocal:
		start := p.log.StartOffset()
		return start, -1, p.epochAt(start), nil
	case TimeLatestTiered, TimeEarliestUpload:
		return -1, -1, -1, nil // nothing is ever tiered
	case TimeMax:
		found, ok, err := p.log.MaxTimestamp()
		if err != nil || !ok || found.Offset >= limit {
			return -1, -1, -1, err
		}
		return found.Offset, found.Timestamp, found.Epoch, nil
	}
	if ts < 0 {
		return -1, -1, -1, kerr.UnsupportedVersion
	}
	found, ok, err := p.log.OffsetForTime(ts, limit)
	if err != nil || !ok || found.Offset >= limit {
		return -1, -1, -1, err
	}
	return found.Offset, found.Timestamp, found.Epoch, nil
}

// epochAt is the leader epoch that the record at an offset was, or will be, appended in; -1 when
// the log knows of none. The ends of epochs grow with the epochs, so it is the first that ends
// behind the offset.
func (p *Partition) epochAt(offset int64) int32 {
	latest, ok := p.log.LatestEpoch()
	if !ok {
		return -1
	}
	epoch := sort.Search(int(latest), func(e int) bool {
		found, end := p.log.EpochEnd(int32(e))
		return found >= 0 && end > offset
	})
	if found, end := p.log.EpochEnd(int32(epoch)); end > offset {
		return found
	}
	return latest
}

// EpochEnd answers OffsetForLeaderEpoch: the largest epoch not above the given one that has
// data, and the offset at which it ends; -1 and -1 when none is known. The error is one of
// fencing.
func (p *Partition) EpochEnd(currentEpoch, epoch int32) (int32, int64, error) {
	if err := p.fence(currentEpoch); err != nil {
		return -1, -1, err
	}
	found, end := p.log.EpochEnd(epoch)
	return found, end, nil
}

// DeleteRecords moves the log start up to an offset, -1 for the high watermark, and returns the
// new start. POLICY_VIOLATION tells that the topic does not delete, OFFSET_OUT_OF_RANGE that the
// offset lies above the high watermark. A lower offset than the start changes nothing.
func (p *Partition) DeleteRecords(offset int64) (low int64, err error) {
	if err := p.fence(-1); err != nil {
		return -1, err
	}
	if !p.config.Load().Delete {
		return -1, kerr.PolicyViolation
	}
	hw := p.hw.Load()
	if offset == -1 {
		offset = hw
	}
	if offset < 0 || offset > hw {
		return -1, kerr.OffsetOutOfRange
	}
	if err := p.log.SetStartOffset(offset); err != nil {
		return -1, err
	}
	p.watch.notify(p)
	return p.log.StartOffset(), nil
}
