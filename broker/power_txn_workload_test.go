package broker_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/weirstream/weir/broker/internal/record"
)

// txnIDs are the transactional ids of the workload.
func txnIDs() []string { return []string{"tx-0", "tx-1", "tx-2"} }

// transactional is what clients do with transactions: producers of both protocols, one
// without, and a reader of committed records, on a ledger and a table that is compacted
// all the while.
func transactional() script {
	s := script{prepare: (*workload).prepareTransactions}
	for n := range txnIDs() {
		s.clients = append(s.clients, func(w *workload, c *wireClient, rng *rand.Rand) error { return w.transact(n, c, rng) })
	}
	s.clients = append(s.clients, (*workload).beside, (*workload).tabulate, (*workload).audit)
	return s
}

func ledger() []tp { return []tp{{"ledger", 0}, {"ledger", 1}} }

var table = tp{"table", 0}

func (w *workload) prepareTransactions(c *wireClient) error {
	err := errors.Join(
		w.create(c, "ledger", 2, map[string]string{"segment.bytes": "1500"}),
		w.create(c, "table", 1, map[string]string{"segment.bytes": "1024", "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "1"}),
	)
	w.promise(func(m *promises) { m.topics["ledger"].gapped, m.topics["table"].gapped = true, true })
	return err
}

// txnClient is a transactional producer with its connection and what it was promised.
type txnClient struct {
	*txnProducer
	c       *wireClient
	promise func(func(m *promises))
	rng     *rand.Rand
}

func newTxnClient(n int, c *wireClient, rng *rand.Rand, promise func(func(m *promises))) *txnClient {
	return &txnClient{&txnProducer{id: txnIDs()[n], modern: n != 1}, c, promise, rng}
}

// introduce fences who used the id before, and with that aborts what is open.
func (x *txnClient) introduce() error {
	x.promise(func(m *promises) {
		for _, other := range m.txns {
			if other.id == x.id && other.outcome == txnOpen {
				other.outcome = txnAborted
			}
		}
	})
	if err := x.c.initTxn(x.txnProducer); err != nil {
		return err
	}
	x.promise(func(m *promises) { m.pids[x.pid] = true })
	return nil
}

// transact does transaction after transaction. Some are left to the next life of the
// producer, which aborts them.
func (w *workload) transact(n int, c *wireClient, rng *rand.Rand) error {
	x := newTxnClient(n, c, rng, w.promise)
	err := errors.Join(c.coordinate(ofTransactions, x.id), c.coordinate(ofGroup, txnGroup(x.id)), x.introduce())
	for range w.steps {
		if err != nil {
			return err
		}
		var at int
		if at, err = x.work(); err != nil {
			return err
		}
		switch end := rng.IntN(6); end {
		case 0:
			err = x.introduce()
		case 1:
			err = x.end(at, false)
		default:
			err = x.end(at, true)
		}
	}
	return err
}

// work begins a transaction and does all but end it.
func (x *txnClient) work() (at int, err error) {
	x.promise(func(m *promises) { at = m.begin(x.id) })
	for n := range 1 + x.rng.IntN(3) {
		if err := x.record(at, n); err != nil {
			return at, err
		}
	}
	if x.rng.IntN(2) == 0 {
		r := tableRow{fmt.Sprintf("%s/%d", x.id, x.rng.IntN(3)), fmt.Sprintf("%s/%d/%s", x.id, at, strings.Repeat("y", x.rng.IntN(150)))}
		if x.rng.IntN(4) == 0 {
			r.value = ""
		}
		x.promise(func(m *promises) { m.txns[at].rows = append(m.txns[at].rows, r) })
		if _, err := x.c.produceIn(x.txnProducer, table, r.key, r.value); err != nil {
			return at, err
		}
	}
	if x.rng.IntN(2) == 0 {
		x.promise(func(m *promises) { m.txns[at].offset = int64(at) })
		if err := x.c.commitIn(x.txnProducer, txnGroup(x.id), tp{"ledger", 0}, int64(at)); err != nil {
			return at, err
		}
	}
	return at, nil
}

// record produces one to the ledger.
func (x *txnClient) record(at, n int) error {
	r := txnRecord{ledger()[x.rng.IntN(2)], fmt.Sprintf("%s/%d.%d/%s", x.id, at, n, strings.Repeat("x", x.rng.IntN(150))), -1}
	index := 0
	x.promise(func(m *promises) {
		index = len(m.txns[at].records)
		m.txns[at].records = append(m.txns[at].records, r)
	})
	offset, err := x.c.produceIn(x.txnProducer, r.at, "k", r.value)
	if err == nil {
		x.promise(func(m *promises) { m.txns[at].records[index].offset = offset })
	}
	return err
}

func (x *txnClient) end(at int, commit bool) error {
	asked, answered := txnAborted, txnAborted
	if commit {
		asked, answered = txnCommitting, txnCommitted
	}
	x.promise(func(m *promises) { m.txns[at].outcome = asked })
	if err := x.c.endTxn(x.txnProducer, commit); err != nil {
		return err
	}
	x.promise(func(m *promises) { m.txns[at].outcome = answered })
	return nil
}

// beside produces to the ledger without transactions.
func (w *workload) beside(c *wireClient, rng *rand.Rand) error {
	for range w.steps {
		at := ledger()[rng.IntN(2)]
		values := w.values(at, 1+rng.IntN(3))
		w.promise(func(m *promises) { asked(m, at, -1, 0, values) })
		base, err := c.produce(at, -1, batchOf(nil, values))
		if err != nil {
			return err
		}
		w.promise(func(m *promises) { kept(m, at, base, values) })
	}
	return nil
}

// tabulate writes rows of the table, and takes some away, without transactions.
func (w *workload) tabulate(c *wireClient, rng *rand.Rand) error {
	for range 2 * w.steps {
		key, value := fmt.Sprintf("plain/%d", rng.IntN(5)), w.values(table, 1)[0]
		if rng.IntN(4) == 0 {
			value = ""
		}
		w.promise(func(m *promises) { m.row(key).ask(value) })
		if _, err := c.produce(table, -1, rowOf(record.Options{}, key, value)); err != nil {
			return err
		}
		w.promise(func(m *promises) { m.row(key).ack() })
	}
	return nil
}

// audit reads the ledger on as a reader of committed records.
func (w *workload) audit(c *wireClient, rng *rand.Rand) error {
	next := map[tp]int64{}
	for range 2 * w.steps {
		at := ledger()[rng.IntN(2)]
		rows, to, err := c.fetchCommitted(at, next[at])
		if err != nil {
			return err
		}
		next[at] = to
		w.promise(func(m *promises) {
			for _, r := range rows {
				m.part(at).read = append(m.part(at).read, seen{r.offset, r.value})
				if x := m.of(r.value); x != nil && x.outcome != txnCommitting && x.outcome != txnCommitted {
					err = fmt.Errorf("aborted-seen: %s offset %d holds %.40q", at, r.offset, r.value)
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}
