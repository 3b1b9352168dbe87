package streams

import "github.com/weirstream/weir/streams/internal/window"

// EmitStrategy says when the rows of windows go on.
type EmitStrategy = window.EmitStrategy

// The strategies.
const (
	// OnWindowUpdate lets every change of a row go on.
	OnWindowUpdate = window.OnWindowUpdate
	// OnWindowClose lets each row go on once, after its window has closed: when
	// stream time has passed its end and grace. Rows come by time and then by key,
	// a second apart at most by the wall clock. They are never cached.
	OnWindowClose = window.OnWindowClose
)

// EmitStrategy says when the rows of the windows go on; on every update if
// nobody says so.
//
//	in                           --(a,x)@1--(a,y)@8--(a,z)@12-->
//	Count, Tumbling 10, onClose  -------------------a[0,10):2@8->
func (t *TimeWindowed[K, V]) EmitStrategy(e EmitStrategy) *TimeWindowed[K, V] {
	if t.failed() || t.g.s.b.wrong("EmitStrategy of "+t.g.s.out.Name, window.CheckEmit(e, window.Grace(t.w) == Forever)) {
		return &TimeWindowed[K, V]{}
	}
	return &TimeWindowed[K, V]{g: t.g, w: t.w, emit: e}
}

// EmitStrategy says when the rows of the sessions go on; on every update if
// nobody says so.
//
//	in                         --(a,x)@1--(a,y)@8--(b,z)@19---->
//	Count, Sessions 5, onClose -----------a[1,1]:1--a[8,8]:1-->
func (t *SessionWindowed[K, V]) EmitStrategy(e EmitStrategy) *SessionWindowed[K, V] {
	if t.failed() || t.g.s.b.wrong("EmitStrategy of "+t.g.s.out.Name, window.CheckEmit(e, window.GraceOfSessions(t.w) == Forever)) {
		return &SessionWindowed[K, V]{}
	}
	return &SessionWindowed[K, V]{g: t.g, w: t.w, emit: e}
}
