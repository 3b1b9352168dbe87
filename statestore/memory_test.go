package statestore_test

import (
	"testing"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/statestore/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, storetest.Suite{
		Engine: func(*testing.T) statestore.Engine { return statestore.Memory() },
		Dir:    func(t *testing.T) string { return t.TempDir() },
	})
}
