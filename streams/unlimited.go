package streams

import (
	"time"

	"github.com/weirstream/weir/streams/internal/window"
)

// Unlimited returns one window that begins at a time and never ends; what is
// earlier is in none. Nothing is late, and no row expires.
//
//	in                  --(a,x)@1--(a,y)@8--(a,z)@99--->
//	Count, Unlimited 5  -----------a[5,∞):1--a[5,∞):2-->
func Unlimited(start time.Time) Windows { return window.Unlimited(start) }
