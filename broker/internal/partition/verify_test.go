package partition_test

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/record"
)

// inTxn is a transactional batch of one record.
func inTxn(id int64, epoch int16, sequence int32) []byte {
	return produced(record.Options{Producer: &record.Producer{ID: id, Epoch: epoch, Sequence: sequence}, Transactional: true}, 1)
}

// marker ends the transaction of producer 5.
func marker(epoch int16, t record.ControlType) []byte {
	return record.NewEndTxn(5, epoch, record.Control{Type: t}, 0)
}

// verified appends as Produce does.
func (r *rig) verified(b []byte, token int, to *answers) *partition.Verification {
	return r.p.AppendVerified(b, partition.AppendRequest{Acks: 1, CurrentEpoch: -1, ProduceVersion: 9, Token: token}, to)
}

// end writes a marker.
func (r *rig) end(b []byte) {
	r.t.Helper()
	var got answers
	r.p.Append(b, partition.AppendRequest{Acks: 1, Internal: true, CurrentEpoch: -1}, &got)
	if a := got.only(r.t); a.err != nil {
		r.t.Fatalf("marker: %v", a.err)
	}
}

func (a *answers) errs() []error {
	var out []error
	for _, got := range a.all() {
		out = append(out, got.err)
	}
	return out
}

// expectErrs compares the outcomes by token.
func expectErrs(t *testing.T, a *answers, want ...error) {
	t.Helper()
	got := make([]error, len(want))
	if a.len() != len(want) {
		t.Fatalf("%d answers, want %d: %v", a.len(), len(want), a.errs())
	}
	for _, one := range a.all() {
		got[one.token] = one.err
	}
	for i := range want {
		if !errors.Is(got[i], want[i]) {
			t.Errorf("batch %d: %v, want %v", i, got[i], want[i])
		}
	}
}

func TestFirstBatchOfTransactionWaits(t *testing.T) {
	r := newRig(t, nil)
	var got answers
	first := inTxn(5, 0, 0)
	ask := r.verified(first, 0, &got)
	if ask == nil || ask.ProducerID != 5 || ask.ProducerEpoch != 0 {
		t.Fatalf("to ask: %+v", ask)
	}
	clear(first) // the caller's bytes are its own again
	if r.verified(inTxn(5, 0, 1), 1, &got) != nil {
		t.Error("the second batch is asked about too")
	}
	var other answers
	if r.verified(inTxn(6, 0, 0), 0, &other) == nil {
		t.Error("another producer's transaction is not asked about")
	}
	if got.len() != 0 || r.log.EndOffset() != 0 {
		t.Fatalf("%d answers, log end %d before the coordinator's", got.len(), r.log.EndOffset())
	}
	ask.Answer(nil)
	expectErrs(t, &got, nil, nil)
	if r.verified(inTxn(5, 0, 2), 2, &got) != nil {
		t.Error("a later batch of the open transaction is asked about")
	}
	expectErrs(t, &got, nil, nil, nil)
	if got.all()[2].r.BaseOffset != 2 {
		t.Errorf("offset %d, want 2", got.all()[2].r.BaseOffset)
	}
	if r.verified(inTxn(5, 0, 1), 3, &got) != nil { // repeated
		t.Error("a repeated batch is asked about")
	}
	if a := got.all()[3]; a.err != nil || a.r.BaseOffset != 1 {
		t.Errorf("repeated: offset %d, %v", a.r.BaseOffset, a.err)
	}
}

func TestRefusedVerification(t *testing.T) {
	r := newRig(t, nil)
	var got answers
	ask := r.verified(inTxn(5, 0, 0), 0, &got)
	r.verified(inTxn(5, 0, 1), 1, &got)
	ask.Answer(kerr.NotEnoughReplicas)
	expectErrs(t, &got, kerr.NotEnoughReplicas, kerr.NotEnoughReplicas)

	// What was in flight behind the refused batches must not be taken before them.
	if r.verified(inTxn(5, 0, 2), 2, &got) != nil || got.len() != 3 || !errors.Is(got.all()[2].err, kerr.OutOfOrderSequenceNumber) {
		t.Fatalf("a batch behind refused ones: %v", got.errs())
	}
	again := r.verified(inTxn(5, 0, 0), 3, &got)
	if again == nil {
		t.Fatal("the first batch again is not asked about")
	}
	again.Answer(nil)
	if got.all()[3].err != nil || r.log.EndOffset() != 1 {
		t.Errorf("again: %v, log end %d", got.errs(), r.log.EndOffset())
	}

	// A final refusal leaves nothing behind.
	r.verified(inTxn(7, 0, 4), 4, &got).Answer(kerr.InvalidTxnState)
	if r.verified(inTxn(7, 0, 9), 5, &got) == nil {
		t.Error("nothing is asked after a final refusal")
	}
}

// TestLateBatchDoesNotReopen: rule 81. The question was asked before the marker and answered after it.
func TestLateBatchDoesNotReopen(t *testing.T) {
	for name, epoch := range map[string]int16{"same epoch": 0, "bumped epoch": 1} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			var got answers
			ask := r.verified(inTxn(5, 0, 0), 0, &got)
			r.end(marker(epoch, record.Abort))
			ask.Answer(nil)
			want := error(kerr.InvalidTxnState)
			if epoch > 0 {
				want = kerr.InvalidProducerEpoch
			}
			expectErrs(t, &got, want)
			if s := r.p.Status(); s.End != 1 || s.LastStable != s.HighWatermark {
				t.Errorf("log end %d, last stable %d of %d", s.End, s.LastStable, s.HighWatermark)
			}
			next := r.verified(inTxn(5, epoch, 0), 1, &got)
			if next == nil {
				t.Fatal("the next transaction is not asked about")
			}
			next.Answer(nil)
			if got.all()[1].err != nil {
				t.Errorf("next transaction: %v", got.all()[1].err)
			}
		})
	}
}

func TestVerificationOfAnotherEpoch(t *testing.T) {
	r := newRig(t, nil)
	var got answers
	r.verified(inTxn(5, 0, 0), 0, &got).Answer(nil)
	// A new epoch may not join the transaction of the old one without being asked about.
	ask := r.verified(inTxn(5, 1, 0), 1, &got)
	if ask == nil {
		t.Fatal("a new epoch joins the open transaction")
	}
	// Nor does a question about an epoch that nobody has given out keep the producer from going on.
	if r.verified(inTxn(5, 0, 1), 2, &got) != nil || got.all()[1].err != nil {
		t.Error("the open transaction is held up")
	}
	ask.Answer(kerr.InvalidProducerEpoch)
	expectErrs(t, &got, nil, kerr.InvalidProducerEpoch, nil)
}

func TestVerificationRefusals(t *testing.T) {
	tests := map[string]struct {
		prepare func(r *rig)
		bytes   []byte
		want    error
	}{
		"garbage":         {bytes: append(inTxn(5, 0, 0), 1), want: kerr.InvalidRecord},
		"no producer":     {bytes: produced(record.Options{Transactional: true}, 1), want: kerr.InvalidRecord},
		"not leading":     {prepare: func(r *rig) { r.p.Follow(9) }, bytes: inTxn(5, 0, 0), want: kerr.NotLeaderForPartition},
		"an older epoch":  {prepare: func(r *rig) { r.end(marker(3, record.Abort)) }, bytes: inTxn(5, 2, 0), want: kerr.InvalidProducerEpoch},
		"a sequence gap":  {prepare: func(r *rig) { r.end(marker(3, record.Abort)) }, bytes: inTxn(5, 3, 7), want: kerr.OutOfOrderSequenceNumber},
		"a plain batch":   {prepare: func(r *rig) { r.append(inTxn(5, 0, 0)) }, bytes: produced(record.Options{Producer: &record.Producer{ID: 5, Sequence: 1}}, 1), want: kerr.InvalidTxnState},
		"a marker":        {bytes: marker(0, record.Commit), want: kerr.InvalidRecord},
		"nothing at all":  {want: kerr.InvalidRecord},
		"a short message": {bytes: make([]byte, 20), want: kerr.CorruptMessage},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			if test.prepare != nil {
				test.prepare(r)
			}
			end := r.log.EndOffset()
			var got answers
			if r.verified(test.bytes, 0, &got) != nil {
				t.Error("it is asked about")
			}
			expectErrs(t, &got, test.want)
			if r.log.EndOffset() != end {
				t.Error("it was appended")
			}
		})
	}
}

func TestVerificationOnClosedPartition(t *testing.T) {
	r := newRig(t, nil)
	var got answers
	ask := r.verified(inTxn(5, 0, 0), 0, &got)
	r.verified(inTxn(5, 0, 1), 1, &got)
	r.p.Close(kerr.UnknownTopicOrPartition)
	ask.Answer(nil)
	expectErrs(t, &got, kerr.UnknownTopicOrPartition, kerr.UnknownTopicOrPartition)
}

func TestHeldBatchesAreBounded(t *testing.T) {
	r := newRig(t, nil)
	var got answers
	ask := r.verified(inTxn(5, 0, 0), 0, &got)
	for i := range int32(80) {
		r.verified(inTxn(5, 0, i+1), int(i+1), &got)
	}
	if got.len() != 17 || !errors.Is(got.all()[0].err, kerr.NotEnoughReplicas) {
		t.Fatalf("%d of 81 are refused: %v", got.len(), got.errs())
	}
	ask.Answer(nil)
	if r.log.EndOffset() != 64 {
		t.Errorf("log end %d, want 64", r.log.EndOffset())
	}
}
