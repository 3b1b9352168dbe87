package group

import (
	"context"
	"encoding/hex"
	"io"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/group"
)

// JoinGroup answers JoinGroup (11): it makes the caller a member of the next generation. The answer
// comes when that generation begins. Member ids get their uniqueness from random.
//
// Versions: 1 rebalance timeout (KIP-62); 4 ids first (KIP-394); 5 static members (KIP-345); 6
// flexible; 7 protocol type (KIP-559); 8 reason (KIP-800); 9 skip assignment (KIP-814).
func JoinGroup(c Coordinator, a route.Authorizer, random io.Reader) route.Route {
	return route.New(0, 9, func(_ context.Context, s *route.Session, req *kmsg.JoinGroupRequest, resp *kmsg.JoinGroupResponse) *route.Pending {
		resp.Generation, resp.MemberID = -1, req.MemberID
		unique, err := newUUID(random)
		if err == nil {
			err = admit(a, s, req.Group)
		}
		if err == nil && req.InstanceID != nil && !utf8.ValidString(*req.InstanceID) {
			err = kerr.InvalidRequest
		}
		if err != nil {
			resp.ErrorCode = route.Code(err)
			return nil
		}
		p := route.NewPending()
		submit(c, req.Group, joinEvent(s, req, unique), func(j group.Joined, err error) {
			fillJoin(resp, j, err)
			p.Complete()
		})
		return p
	})
}

func joinEvent(s *route.Session, req *kmsg.JoinGroupRequest, unique string) *group.Join {
	e := &group.Join{
		Version: req.Version, Group: req.Group, MemberID: req.MemberID, InstanceID: req.InstanceID,
		ClientID: s.ClientID, ClientHost: "/" + s.ClientAddr, Random: unique,
		SessionTimeout:   time.Duration(req.SessionTimeoutMillis) * time.Millisecond,
		RebalanceTimeout: time.Duration(req.RebalanceTimeoutMillis) * time.Millisecond,
		ProtocolType:     req.ProtocolType, Protocols: req.Protocols,
	}
	if req.Version == 0 {
		e.RebalanceTimeout = e.SessionTimeout
	}
	return e
}

func fillJoin(resp *kmsg.JoinGroupResponse, j group.Joined, err error) {
	resp.ErrorCode = route.Code(err)
	if j.MemberID != "" {
		resp.MemberID = j.MemberID
	}
	if err != nil {
		return
	}
	resp.Generation, resp.LeaderID, resp.Members, resp.SkipAssignment = j.Generation, j.Leader, j.Members, j.SkipAssignment
	resp.ProtocolType, resp.Protocol = &j.ProtocolType, &j.Protocol
}

// newUUID returns a random UUID in its usual form.
func newUUID(random io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", err
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
}
