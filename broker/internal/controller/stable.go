package controller

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/weirstream/weir/internal/env"
)

// quorumFormat marks a quorum-state of ours; Kafka's has no such field.
const quorumFormat = "weir"

var errQuorumState = errors.New("unreadable quorum-state")

// quorumState is the content of the file quorum-state: what raft must never
// forget.
type quorumState struct {
	Format   string `json:"format"`
	Version  int    `json:"v"`
	Term     uint64 `json:"term"`
	VoteTerm uint64 `json:"vote_term"`
	Vote     string `json:"vote"`
}

// stable is raft's StableStore. A write that fails leaves the old file whole. The
// current term may be in memory alone for a while, as raft would panic on the
// failure: then no vote and no entry is stored before the file is written, so
// nobody ever sees a term that a crash could take back. A full disk is tried
// again; after any other failure the store is broken and says so to failed.
type stable struct {
	fs     env.FS
	name   string
	failed chan<- error

	mu      sync.Mutex
	state   quorumState
	pending bool // the file is behind the state
	broken  error
}

var _ raft.StableStore = (*stable)(nil)

// openStable reads the file; found says whether there was one.
func openStable(fsys env.FS, name string, failed chan<- error) (s *stable, found bool, err error) {
	s = &stable{fs: fsys, name: name, failed: failed, state: quorumState{Format: quorumFormat}}
	data, err := env.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read %s: %w", name, err)
	}
	s.state, err = parseQuorumState(data)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", name, err)
	}
	return s, true, nil
}

func parseQuorumState(data []byte) (quorumState, error) {
	var q quorumState
	if err := json.Unmarshal(data, &q); err != nil {
		return q, fmt.Errorf("%w: %w", errQuorumState, err)
	}
	if q.Format != quorumFormat || q.Version != 0 {
		return q, fmt.Errorf("%w: format %q version %d", errQuorumState, q.Format, q.Version)
	}
	return q, nil
}

// The keys under which raft stores what it must not forget.
const (
	keyTerm     = "CurrentTerm"
	keyVoteTerm = "LastVoteTerm"
	keyVote     = "LastVoteCand"
)

// Set stores the vote, and with it the term of the vote that was set before.
func (s *stable) Set(key, value []byte) error {
	if string(key) != keyVote {
		return fmt.Errorf("quorum-state has no %s", key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Vote = string(value)
	return s.write()
}

// Get returns the vote, empty where there is none.
func (s *stable) Get(key []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if string(key) != keyVote || s.state.Vote == "" {
		return nil, nil
	}
	return []byte(s.state.Vote), nil
}

// SetUint64 stores the current term. The term of a vote waits for the vote: raft
// sets both before it answers anyone, and half a vote is no vote.
func (s *stable) SetUint64(key []byte, value uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch string(key) {
	case keyVoteTerm:
		s.state.VoteTerm = value
		return s.broken
	case keyTerm:
		if s.state.Term == value {
			return nil
		}
		s.state.Term = value
		_ = s.write() // see the type; whole tries again
		return nil
	}
	return fmt.Errorf("quorum-state has no %s", key)
}

// GetUint64 returns a term, 0 where there is none.
func (s *stable) GetUint64(key []byte) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch string(key) {
	case keyTerm:
		return s.state.Term, nil
	case keyVoteTerm:
		return s.state.VoteTerm, nil
	}
	return 0, nil
}

// whole returns nil once everything that was set is durable; it writes what an
// earlier failure left behind.
func (s *stable) whole() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.pending {
		return s.broken
	}
	return s.write()
}

func (s *stable) write() error {
	if s.broken != nil {
		return s.broken
	}
	s.pending = true
	data, err := json.Marshal(s.state)
	if err == nil {
		err = env.WriteFileAtomic(s.fs, s.name, append(data, '\n'))
	}
	if err == nil {
		s.pending = false
		return nil
	}
	err = fmt.Errorf("write %s: %w", s.name, err)
	if env.IsNoSpace(err) {
		return err
	}
	s.broken = err
	select {
	case s.failed <- err:
	default: // somebody reported before us
	}
	return err
}
