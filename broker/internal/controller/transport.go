package controller

import (
	"context"
	"errors"
	"io"

	"github.com/hashicorp/raft"
)

var errNoPeers = errors.New("this node is the only controller")

// solo is the transport of a cluster with one voter: it reaches nobody, and its
// only message is the one with which the node makes itself leader.
type solo struct {
	id    raft.ServerID
	addr  raft.ServerAddress
	inbox chan raft.RPC
}

var (
	_ raft.Transport   = (*solo)(nil)
	_ raft.WithPreVote = (*solo)(nil)
)

func newSolo(id raft.ServerID, addr raft.ServerAddress) *solo {
	return &solo{id: id, addr: addr, inbox: make(chan raft.RPC)}
}

// elect tells the own node to stand for election now. It returns before the
// election is over.
func (t *solo) elect(ctx context.Context) error {
	reply := make(chan raft.RPCResponse, 1)
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(t.id), Addr: []byte(t.addr)}
	select {
	case t.inbox <- raft.RPC{Command: &raft.TimeoutNowRequest{RPCHeader: header}, RespChan: reply}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case r := <-reply:
		return r.Error
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *solo) Consumer() <-chan raft.RPC { return t.inbox }

func (t *solo) LocalAddr() raft.ServerAddress { return t.addr }

func (t *solo) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, errNoPeers
}

func (t *solo) AppendEntries(raft.ServerID, raft.ServerAddress, *raft.AppendEntriesRequest, *raft.AppendEntriesResponse) error {
	return errNoPeers
}

func (t *solo) RequestVote(raft.ServerID, raft.ServerAddress, *raft.RequestVoteRequest, *raft.RequestVoteResponse) error {
	return errNoPeers
}

func (t *solo) RequestPreVote(raft.ServerID, raft.ServerAddress, *raft.RequestPreVoteRequest, *raft.RequestPreVoteResponse) error {
	return errNoPeers
}

func (t *solo) InstallSnapshot(raft.ServerID, raft.ServerAddress, *raft.InstallSnapshotRequest, *raft.InstallSnapshotResponse, io.Reader) error {
	return errNoPeers
}

func (t *solo) EncodePeer(_ raft.ServerID, addr raft.ServerAddress) []byte { return []byte(addr) }

func (t *solo) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

func (t *solo) SetHeartbeatHandler(func(raft.RPC)) {}

func (t *solo) TimeoutNow(raft.ServerID, raft.ServerAddress, *raft.TimeoutNowRequest, *raft.TimeoutNowResponse) error {
	return errNoPeers
}
