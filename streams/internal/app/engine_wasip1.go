package app

import "github.com/weirstream/weir/statestore"

// defaultEngine keeps everything in memory, where no other engine compiles.
func defaultEngine() statestore.Engine { return statestore.Memory() }
