package broker_test

import (
	"slices"
	"strconv"
	"strings"
)

// txnOutcome is what was asked about a transaction, and answered.
type txnOutcome int

const (
	txnOpen       txnOutcome = iota
	txnAborted               // its abort was asked for, by whatever means
	txnCommitting            // its commit was asked for: all of it may be there, or nothing
	txnCommitted
)

// txnPromise is one transaction: records in the ledger, rows of the table, and the
// offset of the producer's own group.
type txnPromise struct {
	id      string
	outcome txnOutcome
	records []txnRecord
	rows    []tableRow // a value once was the newest of its key, or still is
	offset  int64      // -1 if none
}

type txnRecord struct {
	at     tp
	value  string
	offset int64 // -1 until acknowledged
}

type tableRow struct{ key, value string }

// txnGroup is the group whose offsets a producer commits.
func txnGroup(id string) string { return "of-" + id }

func (x *txnPromise) clone() *txnPromise {
	own := *x
	own.records, own.rows = slices.Clone(x.records), slices.Clip(x.rows)
	return &own
}

// begin notes a transaction that is about to begin and returns which it is.
func (p *promises) begin(id string) int {
	p.txns = append(p.txns, &txnPromise{id: id, offset: -1})
	return len(p.txns) - 1
}

// of returns the transaction that a value was written in, or nil.
func (p *promises) of(value string) *txnPromise {
	id, rest, ok := strings.Cut(value, "/")
	end := strings.IndexAny(rest, "./")
	if !ok || end < 0 {
		return nil
	}
	at, err := strconv.Atoi(rest[:end])
	if err != nil || at >= len(p.txns) || p.txns[at].id != id {
		return nil
	}
	return p.txns[at]
}

// last returns the newest committed transaction of a producer that has something.
func (p *promises) last(id string, has func(*txnPromise) bool) *txnPromise {
	for _, x := range slices.Backward(p.txns) {
		if x.id == id && x.outcome == txnCommitted && has(x) {
			return x
		}
	}
	return nil
}

// row returns the promise of a key that is written without transactions.
func (p *promises) row(key string) *told {
	if p.rows[key] == nil {
		p.rows[key] = &told{}
	}
	return p.rows[key]
}
