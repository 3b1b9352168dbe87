package group

import (
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/machine"
)

// joining are offsets of a transaction that wait until its coordinator has said that this partition
// is part of it (KIP-890). It is soft state.
type joining struct {
	ask     *JoinTransaction
	void    bool // a marker came since: the answer is about a transaction that has ended
	waiting []waitingCommit
}

type waitingCommit struct {
	token machine.Token
	event *CommitInTransaction
}

// commitInTransaction decides on a TxnOffsetCommit request. The first one of a transaction has to be
// known to the transaction's coordinator before anything is written, or nothing would ever end it.
func (t *turn) commitInTransaction(e *CommitInTransaction) {
	if err := t.validateInTransaction(e); err != nil {
		t.refuse(err)
		return
	}
	if open := t.durable.txns[e.ProducerID]; open != nil && open.epoch >= e.ProducerEpoch {
		if open.epoch > e.ProducerEpoch {
			t.refuse(kerr.InvalidProducerEpoch)
			return
		}
		t.writeInTransaction(t.token, e)
		return
	}
	waits := waitingCommit{t.token, e}
	for _, j := range t.joining[e.ProducerID] {
		if !j.void && j.ask.TransactionalID == e.TransactionalID && j.ask.ProducerEpoch == e.ProducerEpoch && j.ask.Group == e.Group {
			j.waiting = append(j.waiting, waits)
			return
		}
	}
	ask := &JoinTransaction{
		TransactionalID: e.TransactionalID, ProducerID: e.ProducerID, ProducerEpoch: e.ProducerEpoch, Group: e.Group, Add: e.Add,
	}
	t.joining[e.ProducerID] = append(t.joining[e.ProducerID], &joining{ask: ask, waiting: []waitingCommit{waits}})
	t.effects.Sends = append(t.effects.Sends, machine.Send{Broker: -1, Request: ask})
}

// answered takes what a transaction's coordinator says.
func (t *turn) answered(a machine.Answered) {
	ask, ok := a.Send.Request.(*JoinTransaction)
	if !ok {
		return
	}
	all := t.joining[ask.ProducerID]
	i := slices.IndexFunc(all, func(j *joining) bool { return j.ask == ask })
	if i < 0 {
		return
	}
	j := all[i]
	if all = slices.Delete(all, i, i+1); len(all) == 0 {
		delete(t.joining, ask.ProducerID)
	} else {
		t.joining[ask.ProducerID] = all
	}
	err := notJoined(a.Err)
	if err == nil && j.void {
		err = kerr.InvalidTxnState
	}
	for _, w := range j.waiting {
		if err != nil {
			t.reply(w.token, nil, err)
		} else if invalid := t.validateInTransaction(w.event); invalid != nil {
			t.reply(w.token, nil, invalid)
		} else {
			t.writeInTransaction(w.token, w.event)
		}
	}
}

// notJoined turns what a transaction's coordinator answers into what somebody understands who speaks
// to a group's: it would look for the wrong coordinator.
func notJoined(err error) error {
	switch {
	case errors.Is(err, kerr.ProducerFenced):
		return kerr.InvalidProducerEpoch
	case errors.Is(err, kerr.NotCoordinator), errors.Is(err, kerr.CoordinatorNotAvailable), errors.Is(err, kerr.ConcurrentTransactions):
		return kerr.CoordinatorLoadInProgress
	}
	return err
}

// validateInTransaction decides whether a transaction may commit offsets of a group (KIP-447). Clients
// that do not say who they are may, as those before version 3 cannot.
func (t *turn) validateInTransaction(e *CommitInTransaction) *kerr.Error {
	g := t.find(e.Group)
	switch {
	case g == nil && e.Generation >= 0:
		return kerr.IllegalGeneration
	case g == nil, e.Generation < 0 && (g.state == Empty || e.MemberID == "" && e.InstanceID == nil):
		return nil
	}
	if _, err := g.validate(e.MemberID, e.InstanceID); err != nil {
		return err
	}
	if e.Generation != g.generation {
		return kerr.IllegalGeneration
	}
	return nil
}

func (t *turn) writeInTransaction(to machine.Token, e *CommitInTransaction) {
	first := len(t.effects.Records)
	errs, err := t.writeOffsets(e.Group, e.Offsets, -1)
	if err != nil {
		t.effects.Records = t.effects.Records[:first]
		t.reply(to, nil, err)
		return
	}
	by := &machine.Txn{ProducerID: e.ProducerID, ProducerEpoch: e.ProducerEpoch}
	for i := range t.effects.Records[first:] {
		t.effects.Records[first+i].Txn = by
	}
	t.reply(to, errs, nil)
}
