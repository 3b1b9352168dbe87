package pebble_test

import (
	"testing"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/statestore/pebble"
	"github.com/weirstream/weir/statestore/storetest"
)

func TestEngine(t *testing.T) {
	storetest.Run(t, storetest.Suite{
		Engine:  func(*testing.T) statestore.Engine { return pebble.New(pebble.Options{MemTableBytes: 1 << 20}) },
		Dir:     func(t *testing.T) string { return t.TempDir() },
		Durable: true,
	})
}
