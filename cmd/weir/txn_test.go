package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
)

// TestHanging: a transaction hangs where no coordinator has its partition in a transaction of its
// producer.
func TestHanging(t *testing.T) {
	var topics kadm.TopicsSet
	topics.Add("t", 0)
	known := kadm.DescribedTransactions{"tx": {TxnID: "tx", State: "Ongoing", ProducerID: 1, Topics: topics}}
	open := []kadm.DescribedProducer{
		{Topic: "t", Partition: 0, ProducerID: 1, CurrentTxnStartOffset: 5},
		{Topic: "t", Partition: 1, ProducerID: 1, ProducerEpoch: 3, CurrentTxnStartOffset: 6, LastTimestamp: 9},
		{Topic: "t", Partition: 0, ProducerID: 2, CurrentTxnStartOffset: 7},
	}
	want := []hangingRow{
		{Topic: "t", Partition: 1, Start: 6, ProducerID: 1, Epoch: 3, LastMs: 9},
		{Topic: "t", Partition: 0, Start: 7, ProducerID: 2},
	}
	if diff := cmp.Diff(want, hanging(open, known)); diff != "" {
		t.Error(diff)
	}
	if got := hanging(nil, known); len(got) != 0 {
		t.Errorf("nothing is open: %v", got)
	}
}
