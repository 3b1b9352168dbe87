package streams

import (
	"io"

	"github.com/weirstream/weir/streams/internal/op"
)

// Print writes each record to w as a line "[label]: key, value" and ends the
// stream. The label is the name of the operator before, unless [Label] says
// otherwise. Tasks write from different goroutines, each line with one Write; an
// error of w is one of the record. Options: [Named], [Label].
//
//	in     --(a,1)--(b,~)-->
//	Print  ([in]: a, 1  [in]: b, null)
func (s *Stream[K, V]) Print(w io.Writer, opts ...Option) {
	sp := same(s, "KSTREAM-PRINTER", w == nil, opts)
	sp.allowed = setLabel
	label := collect(opts).label
	if label == "" && !s.failed() {
		label = s.out.Name
	}
	add(s, sp, func(e *op.Env, name string, _ op.Next[K, V]) op.Next[K, V] {
		return op.Print[K, V](e, name, label, w)
	})
}
