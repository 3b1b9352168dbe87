package streams

import (
	"time"

	"github.com/weirstream/weir/streams/internal/window"
)

// Sliding returns windows that hold what lies at most diff apart, both ends
// included: one ends at each record, and one starts right after it if there are
// later records to hold. They have no grace. Records with a null value are
// dropped.
//
//	in                 --(a,x)@10---(a,y)@15---------------->
//	Count, Sliding 10  --a[0,10]:1--a[11,21]:1--a[5,15]:2-->
func Sliding(diff time.Duration) Windows { return window.Sliding(diff) }
