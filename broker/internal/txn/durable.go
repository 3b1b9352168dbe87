package txn

import (
	"github.com/weirstream/weir/broker/internal/machine"
)

// durable is what the log says: a transaction for each transactional id. Only replay changes it.
type durable map[string]*transaction

// replay takes over one record. One that was written in a transaction, as no coordinator does, is
// skipped.
func (d durable) replay(r machine.Record) error {
	id, x, known, err := parse(r)
	switch {
	case err != nil:
		return err
	case !known || r.Txn != nil:
	case x == nil:
		delete(d, id)
	default:
		d[id] = x
	}
	return nil
}
