package runtime

import (
	"errors"
	"fmt"

	"github.com/weirstream/weir/statestore"
)

// Flush is the first step of a commit: stores hand their changes to the
// changelogs and, if they are cached, to the operators after them, upstream
// first and until none has changes left.
func (t *Task) Flush() error {
	t.asked = false
	for dirty := true; dirty; {
		dirty = false
		for _, s := range t.stores {
			if !s.store.Dirty() {
				continue
			}
			dirty = true
			if err := s.store.Flush(); err != nil {
				return fmt.Errorf("task %s: flush store %s: %w", t.id, s.desc.Name, err)
			}
		}
	}
	if t.broken != nil {
		return fmt.Errorf("task %s: %w", t.id, t.broken)
	}
	return nil
}

// Touched reports whether anything happened since the last commit.
func (t *Task) Touched() bool {
	if t.touched {
		return true
	}
	for _, q := range t.queues {
		if p := q.position(); p >= 0 && p != q.committed {
			return true
		}
	}
	return false
}

// Offsets returns what to commit: for every partition that moved since the last
// commit, the offset of the first message that was not processed, with the time
// of the partition and what operators remember, as Kafka Streams writes it. If none moved it is all of them:
// what punctuations sent must not be committed by a worker that lost the task,
// and only a commit of offsets asks the group.
func (t *Task) Offsets() []Offset {
	var moved, still []Offset
	for _, q := range t.queues {
		p := q.position()
		if p < 0 {
			continue
		}
		o := Offset{TP: q.tp, Offset: p, Metadata: Metadata{q.time, t.marks}.encode()}
		if p == q.committed {
			still = append(still, o)
		} else {
			moved = append(moved, o)
		}
	}
	if len(moved) > 0 {
		return moved
	}
	return still
}

// Applied is the last step of a commit, once the log has it: flushed changes
// and changelog positions reach the databases. acked holds, by changelog topic,
// the offset of the last record of this task that was acknowledged; topics
// without a new one are missing.
func (t *Task) Applied(acked map[string]int64) error {
	for _, s := range t.stores {
		if last, ok := acked[s.topic]; ok && s.desc.Logged {
			s.position = max(s.position, last+1)
		}
	}
	if err := t.apply(statestore.DB.Apply); err != nil {
		return err
	}
	for _, q := range t.queues {
		if p := q.position(); p >= 0 {
			q.committed = p
		}
	}
	t.touched = false
	delete(t.o.Trials, nowhere())
	return nil
}

// apply moves every flushed change into its database.
func (t *Task) apply(into func(statestore.DB, *statestore.Batch, map[string]int64) error) error {
	return errors.Join(t.applyTo(t.o.Disk, true, into), t.applyTo(t.o.Memory, false, into))
}

func (t *Task) applyTo(db statestore.DB, persistent bool, into func(statestore.DB, *statestore.Batch, map[string]int64) error) error {
	if db == nil {
		return nil
	}
	batch := t.o.Batch
	batch.Reset()
	positions := map[string]int64{}
	for _, s := range t.stores {
		if s.desc.Persistent != persistent {
			continue
		}
		s.store.Pending(batch)
		if s.desc.Logged && s.position >= 0 {
			positions[s.key] = s.position
		}
	}
	if batch.Len() == 0 && len(positions) == 0 {
		return nil
	}
	if err := into(db, batch, positions); err != nil {
		return fmt.Errorf("task %s: apply: %w", t.id, err)
	}
	return nil
}

// PendingBytes returns the memory that changes of the stores take until they
// are applied.
func (t *Task) PendingBytes() int {
	total := 0
	for _, s := range t.stores {
		total += s.store.PendingBytes()
	}
	return total
}
