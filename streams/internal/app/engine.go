//go:build !wasip1

package app

import (
	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/statestore/pebble"
)

// defaultEngine keeps persistent stores in Pebble.
func defaultEngine() statestore.Engine { return pebble.New(pebble.Options{}) }
