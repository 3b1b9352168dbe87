package storetest

import (
	"iter"
	"testing"

	"github.com/weirstream/weir/statestore"
)

// windowHeld: the rows of a held store expire when they are told to, however far
// the store's time is ahead, and not before that is applied; a restore does not
// move it either.
func windowHeld(t *testing.T, s Suite) {
	db := s.open(t)
	spec := statestore.Spec{Name: "w", RetentionMs: minute, Held: true, SegmentMs: minute, Logged: true}
	ws := openWindows(t, db, spec)
	for at := range int64(4) {
		equal(t, "stored", ws.put(t, "a", at*minute, at), true)
	}
	commit(t, db, ws)
	ws.put(t, "a", 100*minute, 100)
	bothWays(t, "fetch all", func(o statestore.Order) iter.Seq2[statestore.Row[string, int64], error] {
		return ws.w.FetchAll(minute, 3*minute-1, o)
	}, "a[60000,60000]=1", "a[120000,120000]=2")
	must(t, ws.w.Expire(2*minute+1))
	must(t, ws.w.Expire(minute)) // never back
	bothWays(t, "all", ws.w.All, "a[180000,180000]=3", "a[6000000,6000000]=100")
	equal(t, "expired put", ws.put(t, "a", 2*minute, 2), false)
	equal(t, "rows before the apply", rowsIn(t, db), 4)
	ws.Discard()
	bothWays(t, "all after a discard", ws.w.All, "a=0", "a[60000,60000]=1", "a[120000,120000]=2", "a[180000,180000]=3")
	must(t, ws.w.Expire(2*minute))
	ws.put(t, "a", 100*minute, 100)
	commit(t, db, ws)
	equal(t, "rows after the apply", rowsIn(t, db), 3)
	ws = openWindows(t, db, spec)
	equal(t, "opened where it was", ws.put(t, "a", 2*minute-1, 0), false)
	spec.Name = "restored"
	restored := openWindows(t, db, spec)
	for _, at := range []byte{100, 1} {
		must(t, restored.Restore([]byte{'a', 0, 0, 0, 0, 0, 0, at, 0, 0, 0, 0, 0}, []byte{0, 0, 0, 0, 0, 0, 0, at}, 0))
	}
	bothWays(t, "restored", restored.w.All, "a[256,256]=1", "a[25600,25600]=100")
}

// sessionHeld is windowHeld for sessions, by their ends.
func sessionHeld(t *testing.T, s Suite) {
	db := s.open(t)
	ss := openSessions(t, db, statestore.Spec{Name: "s", RetentionMs: 500, Held: true})
	ss.put(t, "a", 0, 15, 1)
	ss.put(t, "b", 600, 600, 2)
	ss.put(t, "c", 300, 90*minute, 3)
	bothWays(t, "fetch all", func(o statestore.Order) iter.Seq2[statestore.Row[string, int64], error] {
		return ss.s.FetchAll(15, 600, o)
	}, "a[0,15]=1", "b[600,600]=2")
	must(t, ss.s.Expire(601))
	bothWays(t, "all", ss.s.All, "c[300,5400000]=3")
	open := openSessions(t, db, statestore.Spec{Name: "open", RetentionMs: 500})
	wantErr(t, "not held", open.s.Expire(1), statestore.ErrKind)
}
