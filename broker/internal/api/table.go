// Package api is the list of everything this broker answers, and nothing else.
package api

import (
	"context"
	"io"
	"log/slog"

	"github.com/weirstream/weir/broker/internal/api/admin"
	"github.com/weirstream/weir/broker/internal/api/data"
	"github.com/weirstream/weir/broker/internal/api/group"
	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/api/txn"
)

// Deps are what the handlers ask. Nothing of it is touched before a request comes,
// so a table made of zero Deps still tells what is served.
type Deps struct {
	Data        data.Deps
	Admin       admin.Deps
	Txn         txn.Deps
	Coordinator group.Coordinator
	// EnsureTopic makes an internal topic and returns once it is served.
	EnsureTopic func(ctx context.Context, name string) error
	Random      io.Reader // ids of group members
	Logger      *slog.Logger
}

// ensure is the group.Topics made of a function.
type ensure func(ctx context.Context, name string) error

// EnsureTopic creates an internal topic.
func (f ensure) EnsureTopic(ctx context.Context, name string) error { return f(ctx, name) }

// transactionPartition is where a transactional id is kept.
func (d *Deps) transactionPartition(id string) int32 { return d.Txn.Coordinator.Partition(id) }

// Table lists the routes in the order of their keys. The version range of each
// stands with its handler.
func Table(d Deps) []route.Route {
	groups, images, may := d.Coordinator, d.Data.Image, d.Data.Authorizer
	var table []route.Route
	table = []route.Route{
		data.Produce(d.Data),
		data.Fetch(d.Data),
		data.ListOffsets(d.Data),
		admin.Metadata(d.Admin),
		group.OffsetCommit(groups, images, may),
		group.OffsetFetch(groups, images, may),
		group.FindCoordinator(groups, d.transactionPartition, images, ensure(d.EnsureTopic), may, d.Logger),
		group.JoinGroup(groups, may, d.Random),
		group.Heartbeat(groups, may),
		group.LeaveGroup(groups, may),
		group.SyncGroup(groups, may),
		group.DescribeGroups(groups, may),
		group.ListGroups(groups, may),
		data.APIVersions(func() []route.Route { return table }, images),
		admin.CreateTopics(d.Admin),
		admin.DeleteTopics(d.Admin),
		data.DeleteRecords(d.Data),
		txn.InitProducerID(d.Txn),
		data.OffsetForLeaderEpoch(d.Data),
		txn.AddPartitionsToTxn(d.Txn),
		txn.AddOffsetsToTxn(d.Txn),
		txn.EndTxn(d.Txn),
		data.WriteTxnMarkers(d.Data),
		group.TxnOffsetCommit(groups, images, may),
		admin.DescribeConfigs(d.Admin),
		admin.AlterConfigs(d.Admin),
		admin.DescribeLogDirs(d.Admin),
		admin.CreatePartitions(d.Admin),
		group.DeleteGroups(groups, may),
		admin.IncrementalAlterConfigs(d.Admin),
		group.OffsetDelete(groups, images, may),
		admin.UpdateFeatures(d.Admin),
		admin.DescribeCluster(d.Admin),
		data.DescribeProducers(d.Data),
		txn.DescribeTransactions(d.Txn),
		txn.ListTransactions(d.Txn),
		admin.DescribeTopicPartitions(d.Admin),
	}
	return table
}
