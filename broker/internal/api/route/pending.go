package route

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// Pending is an answer that is still owed. The handler that made it completes it
// exactly once, from any goroutine; a second completion is a bug and ignored. The
// zero value is owed.
type Pending struct {
	mu     sync.Mutex
	waiter Waiter
	done   bool
	err    error
}

// Waiter is told that a Pending is complete. Ready must not block.
type Waiter interface {
	Ready()
}

// NewPending returns an answer that is owed.
func NewPending() *Pending { return &Pending{} }

// Complete says that the response is filled and may be written. It does not block.
func (p *Pending) Complete() { p.finish(nil) }

// Fail says that there will be no response; the server logs err and closes the
// connection.
func (p *Pending) Fail(err error) { p.finish(err) }

func (p *Pending) finish(err error) {
	p.mu.Lock()
	if p.done {
		p.mu.Unlock()
		return
	}
	p.done, p.err = true, err
	w := p.waiter
	p.mu.Unlock() // from here on p may be used again
	if w != nil {
		w.Ready()
	}
}

// Wait makes the Pending call w.Ready once it is complete, at once when it already
// is. It is called at most once.
func (p *Pending) Wait(w Waiter) {
	p.mu.Lock()
	p.waiter = w
	done := p.done
	p.mu.Unlock()
	if done {
		w.Ready()
	}
}

// Err returns what Fail was given; valid once the waiter was told.
func (p *Pending) Err() error { return p.err }

// Reset makes a completed Pending, whose response was written, owed again.
func (p *Pending) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiter, p.done, p.err = nil, false, nil
}

// Go runs f on a goroutine of its own and completes the returned Pending when f
// returns. It is for work that blocks, such as a proposal to the metadata log; the
// server bounds the answers a connection may owe, and thereby these goroutines. A
// panic in f closes the connection alone. f must return when ctx ends.
func Go(ctx context.Context, _ *Session, f func(ctx context.Context)) *Pending {
	p := NewPending()
	go func() {
		defer func() {
			if r := recover(); r != nil {
				p.Fail(fmt.Errorf("%w: %v\n%s", ErrPanic, r, debug.Stack()))
			}
		}()
		f(ctx)
		p.Complete()
	}()
	return p
}
