package broker_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirstream/weir/internal/env"
)

// checkTransactions looks at what a reader of committed records is shown as the node
// comes up. Then it ends what is open, by time where the clock is late and else by
// fencing, and wants all of every committed transaction and nothing of any other.
func (i *inspection) checkTransactions() {
	if len(i.made.txns) == 0 || !i.made.topics["ledger"].live() || !i.made.topics["table"].live() {
		return
	}
	for _, at := range ledger() {
		i.audit(at)
	}
	if !i.late && !i.ok(i.fenceAll()) {
		return
	}
	for _, at := range append(ledger(), table) {
		if !i.settled(at) {
			return
		}
	}
	i.checkOutcomes()
	i.checkTable()
	i.checkTxnOffsets()
}

// fenceAll begins a new life of every producer.
func (i *inspection) fenceAll() error {
	for n := range txnIDs() {
		if _, err := i.producer(n); err != nil {
			return err
		}
	}
	return nil
}

func (i *inspection) producer(n int) (*txnClient, error) {
	x := newTxnClient(n, i.c, rand.New(rand.NewPCG(uint64(n), uint64(len(i.made.txns)))), func(f func(*promises)) { f(i.made) })
	if err := i.c.coordinate(ofTransactions, x.id); err != nil {
		return nil, err
	}
	return x, x.introduce()
}

// settled waits until no transaction holds back the last stable offset.
func (i *inspection) settled(at tp) bool {
	for deadline := time.Now().Add(patience); ; {
		stable, err := i.c.edgeOf(at, -1, 1)
		if !i.ok(err) {
			return false
		}
		end, err := i.c.edge(at, -1)
		if !i.ok(err) {
			return false
		}
		if stable == end {
			return true
		}
		if time.Now().After(deadline) {
			i.violate("held-back", "%s is stable up to offset %d of %d", at, stable, end)
			return false
		}
		<-time.After(time.Millisecond)
	}
}

// readCommitted reads a partition as a reader of committed records does, to the end.
func (i *inspection) readCommitted(at tp) (all []row, ok bool) {
	for next := int64(0); ; {
		rows, to, err := i.c.fetchCommitted(at, next)
		if !i.ok(err) {
			return nil, false
		}
		all = append(all, rows...)
		if to == next {
			return all, true
		}
		next = to
	}
}

// audit reads a partition of the ledger and holds it to what was said of its records.
// It returns where each value is.
func (i *inspection) audit(at tp) map[string]int64 {
	rows, ok := i.readCommitted(at)
	if !ok {
		return nil
	}
	p, found, there := i.made.part(at), map[string]int64{}, map[int64]string{}
	known := map[string]bool{}
	for _, s := range p.sent {
		known[s.value] = true
	}
	for _, r := range rows {
		if before, twice := found[r.value]; twice {
			i.violate("duplicate", "%s offset %d holds what offset %d does", at, r.offset, before)
		}
		found[r.value], there[r.offset] = r.offset, r.value
		x := i.made.of(r.value)
		if x == nil && !known[r.value] {
			i.violate("foreign-data", "%s offset %d holds %.40q", at, r.offset, r.value)
		}
		if x != nil && x.outcome != txnCommitting && x.outcome != txnCommitted {
			i.violate("aborted-seen", "%s offset %d holds %.40q", at, r.offset, r.value)
		}
	}
	for _, s := range p.read {
		if there[s.offset] != s.value {
			i.violate("read-then-lost", "%s offset %d holds %.40q, was %.40q", at, s.offset, there[s.offset], s.value)
			break
		}
	}
	return found
}

// checkOutcomes wants all of what was committed. What was being committed is decided now.
func (i *inspection) checkOutcomes() {
	found := map[tp]map[string]int64{}
	for _, at := range ledger() {
		if found[at] = i.audit(at); found[at] == nil {
			return
		}
		for _, s := range i.made.part(at).acked {
			if offset, ok := found[at][s.value]; !ok || offset != s.offset {
				i.violate("acked-lost", "%s lost offset %d", at, s.offset)
				break
			}
		}
	}
	for _, x := range i.made.txns {
		visible := 0
		for _, r := range x.records {
			offset, ok := found[r.at][r.value]
			if !ok {
				continue
			}
			if visible++; r.offset >= 0 && r.offset != offset {
				i.violate("acked-lost", "%s offset %d is at offset %d", r.at, r.offset, offset)
			}
		}
		switch {
		case visible == len(x.records) && x.outcome == txnCommitting:
			x.outcome = txnCommitted
		case visible == 0 && x.outcome != txnCommitted:
			x.outcome = txnAborted
		case x.outcome == txnCommitting:
			i.violate("half-seen", "%d of %d records of %s", visible, len(x.records), x.records[0].value)
		case x.outcome == txnCommitted && visible < len(x.records):
			i.violate("acked-lost", "%s-%d lost %d of %d records of committed %.20q", x.records[0].at.topic, x.records[0].at.index, len(x.records)-visible, len(x.records), x.records[0].value)
		}
	}
}

// checkTable wants the newest committed row of each key, once outcomes are known.
func (i *inspection) checkTable() {
	rows, ok := i.readCommitted(table)
	if !ok {
		return
	}
	newest, kept, written := map[string]string{}, 0, 0
	for _, r := range rows {
		if x := i.made.of(r.value); x != nil && x.outcome != txnCommitted {
			i.violate("aborted-seen", "%s offset %d holds %.40q", table, r.offset, r.value)
		}
		newest[r.key] = r.value
		if strings.HasPrefix(r.key, "tx-") {
			kept++
		}
	}
	for key, promise := range i.made.rows {
		if !promise.allows(newest[key]) {
			i.violate("acked-lost", "the table has %s=%.20q, want %.20q or one of %.80q", key, newest[key], promise.acked, promise.asked)
		}
	}
	for _, id := range txnIDs() {
		for n := range 3 {
			key, want := fmt.Sprintf("%s/%d", id, n), ""
			has := func(r tableRow) bool { return r.key == key }
			if x := i.made.last(id, func(x *txnPromise) bool { return slices.ContainsFunc(x.rows, has) }); x != nil {
				want = x.rows[slices.IndexFunc(x.rows, has)].value
			}
			if newest[key] != want {
				i.violate("half-seen", "the table has %s=%.20q, want %.20q", key, newest[key], want)
			}
		}
	}
	for _, x := range i.made.txns {
		if x.outcome == txnCommitted {
			written += len(x.rows)
		}
	}
	if kept < written {
		i.v.mu.Lock()
		i.v.compacted++
		i.v.mu.Unlock()
	}
}

// checkTxnOffsets wants the offsets of the newest committed transactions. The markers of a group
// come as late as they like, but the group knows that they are missing.
func (i *inspection) checkTxnOffsets() {
	for _, id := range txnIDs() {
		if !i.ok(i.c.coordinate(ofGroup, txnGroup(id))) {
			return
		}
		at := ledger()[0]
		committed, err := i.c.committed(txnGroup(id), at)
		if !i.ok(err) {
			return
		}
		want := int64(-1)
		if x := i.made.last(id, func(x *txnPromise) bool { return x.offset >= 0 }); x != nil {
			want = x.offset
		}
		offset, told := committed[at]
		if !told || offset != want {
			i.violate("half-seen", "group %s has offset %d, want %d", txnGroup(id), offset, want)
		}
	}
}

// carryOnTransactions has every producer do one more transaction and commit it.
func (i *inspection) carryOnTransactions() error {
	if len(i.made.txns) == 0 || !i.made.topics["ledger"].live() || !i.made.topics["table"].live() {
		return nil
	}
	for n := range txnIDs() {
		x, err := i.producer(n)
		if err != nil {
			return err
		}
		at, err := x.work()
		if err != nil {
			return err
		}
		if err := x.end(at, true); err != nil {
			return err
		}
	}
	i.checkTransactions()
	return nil
}

func TestNoPowerCutOfTheNodeBreaksATransaction(t *testing.T) {
	want, steps := 1000, 16
	if testing.Short() {
		want, steps = 40, 8
	}
	v := cutNodes(t, transactional(), want, steps, func(disk *env.MemFS) env.FS { return disk })
	v.report(t)
	t.Logf("%d cuts with transactions open, %d between a commit and its answer; %d tables were found compacted", v.open, v.deciding, v.compacted)
	if v.cuts < want && !t.Failed() {
		t.Errorf("%d power cuts, want %d", v.cuts, want)
	}
	if !testing.Short() && (v.open == 0 || v.deciding == 0 || v.compacted == 0) {
		t.Error("no transaction open, none being decided, or no table compacted")
	}
}

// TestBrokenPromisesOfTransactionsAreFoundOut tells the inspection something else than
// what clients did to the node.
func TestBrokenPromisesOfTransactionsAreFoundOut(t *testing.T) {
	images := runWorkload(t, transactional(), 1, 16, 25, func(disk *env.MemFS) env.FS { return disk })
	cut := images[len(images)-1]
	cut.seed |= 1 // producers are fenced
	with := func(made *promises, o txnOutcome, has func(*txnPromise) bool) *txnPromise {
		for _, x := range slices.Backward(made.txns) {
			if x.outcome == o && has(x) {
				return x
			}
		}
		t.Fatalf("no transaction of outcome %d", o)
		return nil
	}
	anything := func(*txnPromise) bool { return true }
	for want, plant := range map[string]func(made *promises){
		"acked-lost: ledger-":     func(made *promises) { with(made, txnAborted, anything).outcome = txnCommitted },
		"aborted-seen: ledger-":   func(made *promises) { with(made, txnCommitted, anything).outcome = txnAborted },
		"foreign-data: ledger-":   func(made *promises) { with(made, txnCommitted, anything).id = "somebody" },
		"read-then-lost: ledger-": func(made *promises) { made.part(ledger()[0]).read = []seen{{0, "else"}} },
		"acked-lost: the table":   func(made *promises) { made.row("plain/0").acked, made.row("plain/0").asked = "else", nil },
		"half-seen: 1 of ": func(made *promises) {
			x := with(made, txnCommitted, func(x *txnPromise) bool { return len(x.records) == 1 })
			x.outcome, x.records = txnCommitting, append(x.records, txnRecord{at: ledger()[0], value: "else", offset: -1})
		},
		// All of one producer's: the inspection finds out which of them is the last that was committed.
		"half-seen: group of-": func(made *promises) {
			id := with(made, txnCommitted, func(x *txnPromise) bool { return x.offset >= 0 }).id
			for _, x := range made.txns {
				if x.id == id && x.offset >= 0 {
					x.offset++
				}
			}
		},
		"half-seen: the table": func(made *promises) {
			id := with(made, txnCommitted, func(x *txnPromise) bool { return len(x.rows) > 0 }).id
			for _, x := range made.txns {
				if x.id == id && len(x.rows) > 0 {
					x.rows = []tableRow{{x.rows[0].key, "else"}}
				}
			}
		},
	} {
		v := &verdicts{lossy: map[uint64]bool{}}
		planted := cut
		planted.disk, _ = cut.disk.Crash(env.KeepAll, 0)
		planted.made = cut.made.clone()
		plant(planted.made)
		v.inspect(planted, 0)
		if !slices.ContainsFunc(v.violations, func(text string) bool { return strings.HasPrefix(text, want) }) {
			t.Errorf("no %q among %q", want, v.violations)
		}
	}
}
